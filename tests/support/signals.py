"""Signal handlers, for the length of a block."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Callable, Iterator

__all__ = ["alarm", "handling"]


@contextlib.contextmanager
def handling(number: signal.Signals, handle: Callable[..., object]) -> Iterator[None]:
    """Have a signal handled so."""
    before = signal.signal(number, handle)
    try:
        yield
    finally:
        signal.signal(number, before)


@contextlib.contextmanager
def alarm(
    handle: Callable[..., object], seconds: float = 0.1, again: float = 0.0
) -> Iterator[None]:
    """A signal a moment later: in a tenth of a second this thread is at rest.

    Args:
        again: seconds from each to the next; 0 for only one.
    """
    with handling(signal.SIGALRM, handle):
        try:
            signal.setitimer(signal.ITIMER_REAL, seconds, again)
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0)
