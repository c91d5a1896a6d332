"""A timeout becomes one deadline at the edge of the library and is passed down as it is."""

from __future__ import annotations

import time

from ..exceptions import ConfigurationError, DeadlineExceeded
from ..wire import maker

__all__ = ["MAX_TIMEOUT", "Deadline", "check_timeout", "make_deadline"]

MAX_TIMEOUT = 7 * 24 * 3600.0  # seconds; what a lock or a selector of any platform can wait
_PLAIN = (float, int)


def check_timeout(timeout: object) -> None:
    """Raise where it is none; for who may not need it, and would take anything then.

    Raises:
        ConfigurationError: not a number of seconds, at least 0.
    """
    if isinstance(timeout, bool) or not isinstance(timeout, int | float):
        kind = type(timeout).__name__
        raise ConfigurationError(f"timeout is of type {kind}: expected int or float (seconds)")
    if not timeout >= 0:
        raise ConfigurationError(f"timeout is {timeout!r}: expected seconds, at least 0")


class Deadline:
    """A point on the monotonic clock.

    Args:
        timeout: seconds from now; more than `MAX_TIMEOUT` counts as `MAX_TIMEOUT`.

    Raises:
        ConfigurationError: not a number of seconds, at least 0.
    """

    __slots__ = ("at", "timeout")

    timeout: float
    at: float

    def __init__(self, timeout: float) -> None:
        if timeout.__class__ not in _PLAIN or not timeout >= 0:
            check_timeout(timeout)
        self.timeout = timeout if timeout < MAX_TIMEOUT else MAX_TIMEOUT
        self.at = time.monotonic() + self.timeout

    def remaining(self) -> float:
        """Seconds left; 0 when it is over."""
        return max(0.0, self.at - time.monotonic())

    def exceeded(self, operation: str) -> DeadlineExceeded:
        """The error that says that `operation` did not end in time."""
        return DeadlineExceeded(f"{operation} did not end within {self.timeout:g} s")


make_deadline = maker(Deadline, ("timeout", "at"), {})
