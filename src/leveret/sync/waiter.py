"""One thread that waits for one result."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..client.deadline import Deadline
from ..wire import maker

if TYPE_CHECKING:
    from .leading import Leader

__all__ = ["Waiter", "make_waiter"]


class Waiter:
    """One thread that waits for one result. All but `wait` under the engine's lock.

    Attributes:
        done: whether the result is there.
        may_gather: whether so much is still to come that it may be read a little later.
        value, error: the result; `error` is to be raised, if it is one.
        abandoned: nobody waits any more, or not yet: it is not counted as unanswered.
    """

    __slots__ = ("_engine", "_lock", "abandoned", "done", "error", "may_gather", "value")

    _engine: Leader
    _lock: threading.Lock | None
    may_gather: Callable[[], bool] | None
    value: object
    error: BaseException | None
    abandoned: bool
    done: bool

    def set_result(self, value: object) -> bool:
        """Wake it with a value; False if it was woken before."""
        if self.done:
            return False
        self.value = value
        self.done = True
        if not self.abandoned:
            self._engine.unanswered -= 1
        if self._lock is not None:
            self._lock.release()
        elif self._engine.reading != threading.get_ident():
            self._engine.wake_leader()
        return True

    def set_error(self, error: BaseException) -> None:
        """Wake it with an error."""
        if not self.done:
            self.error = error
            self.set_result(None)

    def abandon(self) -> None:
        """The caller has given up."""
        if not self.abandoned:
            self.abandoned = True
            if not self.done:
                self._engine.unanswered -= 1

    def sleeps(self) -> None:
        """Its thread is going to `wait`."""
        if not self.done and self._lock is None:
            self._lock = threading.Lock()
            self._lock.acquire()

    def wait(self, deadline: Deadline | None, operation: str) -> None:
        """Wait for the result, after `sleeps`.

        Args:
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        lock = self._lock
        if lock is not None and not lock.acquire(
            timeout=-1 if deadline is None else deadline.remaining()
        ):
            raise deadline.exceeded(operation)  # type: ignore[union-attr]


make_waiter: Callable[[Leader], Waiter] = maker(
    Waiter,
    ("_engine",),
    {
        "_lock": None,
        "may_gather": None,
        "value": None,
        "error": None,
        "abandoned": True,
        "done": False,
    },
)
