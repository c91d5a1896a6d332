"""One thread that waits for one result."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..client.deadline import Deadline

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Waiter"]


class Waiter:
    """One thread that waits for one result. All but `wait` and `outcome` under the engine's lock.

    Attributes:
        done: whether the result is there.
        abandoned: nobody waits any more.
    """

    __slots__ = ("_engine", "_error", "_lock", "_value", "abandoned", "done")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock: threading.Lock | None = None
        self._value: object = None
        self._error: BaseException | None = None
        self.abandoned = False
        self.done = False

    def set_result(self, value: object) -> bool:
        """Wake it with a value; False if it was woken before."""
        if self.done:
            return False
        self._value = value
        self._settle()
        return True

    def set_error(self, error: BaseException) -> None:
        """Wake it with an error."""
        if not self.done:
            self._error = error
            self._settle()

    def _settle(self) -> None:
        self.done = True
        if not self.abandoned:
            self._engine.unanswered -= 1
        if self._lock is not None:
            self._lock.release()
        else:
            self._engine.led_for_is_done()

    def abandon(self) -> None:
        """The caller has given up."""
        if not self.abandoned:
            self.abandoned = True
            if not self.done:
                self._engine.unanswered -= 1

    def result(self) -> object:
        """The value, None where there is none."""
        return self._value

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

    def outcome(self) -> object:
        """The value.

        Raises:
            BaseException: the error, if it is one.
        """
        if self._error is not None:
            raise self._error
        return self._value
