"""One thread that waits for one result."""

from __future__ import annotations

import threading

from ..client.deadline import Deadline

__all__ = ["Waiter"]


class Waiter:
    """One thread that waits for one result. Results are set under the core's lock."""

    __slots__ = ("_done", "_error", "_lock", "_value", "abandoned")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._done = False
        self._value: object = None
        self._error: BaseException | None = None
        self.abandoned = False

    def set_result(self, value: object) -> bool:
        """Wake it with a value; False if it was woken before."""
        if self._done:
            return False
        self._done = True
        self._value = value
        self._lock.release()
        return True

    def set_error(self, error: BaseException) -> None:
        """Wake it with an error."""
        if not self._done:
            self._done = True
            self._error = error
            self._lock.release()

    def result(self) -> object:
        """The value, None where there is none."""
        return self._value

    def wait(self, deadline: Deadline | None, operation: str) -> object:
        """Wait for the result.

        Args:
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        if not self._lock.acquire(timeout=-1 if deadline is None else deadline.remaining()):
            raise deadline.exceeded(operation)  # type: ignore[union-attr]
        if self._error is not None:
            raise self._error
        return self._value
