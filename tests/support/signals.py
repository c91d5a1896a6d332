"""Signal handlers, for the length of a block."""

from __future__ import annotations

import contextlib
import signal
import sys
from collections.abc import Callable, Iterator
from typing import Any

__all__ = ["alarm", "handling", "interrupted"]


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


def interrupted(
    number: int, kind: type[BaseException], work: Callable[[], object], folder: str
) -> bool:
    """Do `work`; whether a signal handler raised at the `number`th place in it at which it may:
    where a function begins, and after a call of a built-in one. Nothing gets out of a finaliser.

    Args:
        folder: of the modules that are looked at.
    """
    places = iter(range(number))

    def handle(*_: object) -> None:
        raise kind("raised by a handler")

    def profile(frame: Any, event: str, _: object) -> None:
        code = frame.f_code
        here = code.co_filename.startswith(folder) and code.co_name != "__del__"
        if here and event in ("call", "c_return") and next(places, None) is None:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGUSR1)

    with handling(signal.SIGUSR1, handle):
        sys.setprofile(profile)
        try:
            work()
        except kind as error:
            if str(error) != "raised by a handler":
                raise
            return True
        finally:
            sys.setprofile(None)
    return False
