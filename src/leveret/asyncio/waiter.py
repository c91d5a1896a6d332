"""One task that waits for one result, and the deadlines of all that wait on a connection."""

from __future__ import annotations

import asyncio
import math
import time

from ..client.deadline import Deadline

__all__ = ["Deadlines", "Waiter"]

LOOK = 1e-6  # seconds between two looks at the deadlines, a waiter; a look takes a tenth of it


class Waiter:
    """One task that waits for one result.

    Attributes:
        future: what the task awaits.
        abandoned: the task has gone.
    """

    __slots__ = ("abandoned", "future")

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.future: asyncio.Future[object] = loop.create_future()
        self.abandoned = False

    def set_result(self, value: object) -> bool:
        """Wake it with a value; False if it was cancelled or is late, but had no turn since."""
        if self.future.done():
            return False
        self.future.set_result(value)
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
