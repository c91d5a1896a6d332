"""One task that waits for one result; and of all that wait on a connection, their deadlines and
how they are woken.

A future wakes its task by a callback in the next turn of the loop: another look at the sockets,
between what was received and the task that it is for. So while bytes are received, the tasks that
they wake are kept, and then run at once (`Wakes`), still in the turn that has read: what they send
leaves in it, too, and a round trip is three system calls instead of four.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Callable
from contextvars import Context
from typing import Any

from ..client.deadline import Deadline

__all__ = ["Deadlines", "Waiter", "Wakes"]

LOOK = 1e-6  # seconds between two looks at the deadlines, a waiter; a look takes a tenth of it


_add_done_callback = asyncio.Future.add_done_callback


class _Future(asyncio.Future[object]):
    """A future that knows what wakes the task that awaits it; nothing, as long as none does."""

    wakeup: Any = None
    context: Any = None

    def add_done_callback(
        self, fn: Callable[[Any], object], /, *, context: Context | None = None
    ) -> None:
        """See `asyncio.Future`; a task calls it with what wakes it."""
        if context is not None:
            self.wakeup, self.context = fn, context
        _add_done_callback(self, fn, context=context)


def _raise(error: BaseException) -> None:
    raise error


class Wakes:
    """Tasks that are to be run together.

    Attributes:
        kept: what those await that have their result; None while each is woken by the loop.
    """

    __slots__ = ("_loop", "kept")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.kept: list[_Future] | None = None

    def run(self) -> None:
        """Run the tasks that were kept, one after the other; those that they wake are not kept."""
        kept, self.kept = self.kept, None
        if not kept:
            return
        rest = iter(kept)
        try:
            if asyncio.current_task(self._loop) is None:  # a task cannot run within another
                for future in rest:
                    future.context.run(future.wakeup, future)
        except (KeyboardInterrupt, SystemExit) as error:  # they come through a task, and are for
            self._loop.call_soon(_raise, error)  # who runs the loop: uvloop's transports keep them
        finally:
            for future in rest:
                self._loop.call_soon(future.wakeup, future, context=future.context)


class Waiter:
    """One task that waits for one result.

    Attributes:
        future: what the task awaits.
        abandoned: the task has gone.
    """

    __slots__ = ("_wakes", "abandoned", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop, wakes: Wakes) -> None:
        self.future = _Future(loop=loop)
        self._wakes = wakes
        self.abandoned = False

    def set_result(self, value: object) -> bool:
        """Wake it with a value; False if it was cancelled or is late, but had no turn since."""
        future = self.future
        if future.done():
            return False
        if self._wakes.kept is not None and future.wakeup is not None:
            future.remove_done_callback(future.wakeup)
            self._wakes.kept.append(future)
        future.set_result(value)
        return True

    def set_error(self, error: BaseException) -> None:
        """Wake it with an error."""
        if not self.future.done() and not self.abandoned:
            self.future.set_exception(error)

    def result(self) -> object:
        """The value, None where there is none."""
        future = self.future
        if not future.done() or future.cancelled() or future.exception() is not None:
            return None
        return future.result()


class Deadlines:
    """The deadlines of a connection's waiters, on one timer of the loop.

    A timer for each wait costs more than the request and its reply: almost every wait ends long
    before. So the timer stays at the earliest deadline there was when it was set, and is set
    anew when it goes off, for those that are still there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._waiting: dict[Waiter, tuple[Deadline, str]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._at = math.inf  # when the timer goes off

    def add(self, waiter: Waiter, deadline: Deadline, operation: str) -> None:
        """Have the waiter fail when its deadline is over; `operation` is for the error."""
        self._waiting[waiter] = deadline, operation
        if deadline.at < self._at:
            self._set(deadline.at)

    def remove(self, waiter: Waiter) -> None:
        """It waits no longer."""
        self._waiting.pop(waiter, None)

    def _set(self, at: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._at = at
        self._timer = self._loop.call_later(max(0.0, at - time.monotonic()), self._look)

    def _look(self) -> None:
        now = max(time.monotonic(), self._at)  # the loop's clock may be coarser
        for waiter, (deadline, operation) in self._waiting.items():
            if deadline.at <= now:
                waiter.set_error(deadline.exceeded(operation))
        self.tidy(now + LOOK * len(self._waiting))

    def tidy(self, earliest: float = 0.0) -> None:
        """Set the timer for those that still wait, not before `earliest`; if none do, to never."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None
        self._at = math.inf
        left = [each.at for waiter, (each, _) in self._waiting.items() if not waiter.future.done()]
        if left:
            self._set(max(min(left), earliest))
