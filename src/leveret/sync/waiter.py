"""One thread that waits for one result."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING

from ..client.deadline import Deadline

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Waiter"]


class Waiter:
    """One thread that waits for one result. All but `wait` under the engine's lock.

    Attributes:
        done: whether the result is there.
        value, error: the result; `error` is to be raised, if it is one.
        abandoned: nobody waits any more.
    """

    __slots__ = ("_engine", "_lock", "abandoned", "done", "error", "value")

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._lock: threading.Lock | None = None
        self.value: object = None
        self.error: BaseException | None = None
        self.abandoned = False
        self.done = False

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
