"""Whose an error is that comes out of decoding.

A signal handler may raise anything, between any two steps, a `DecodeError` included: that is no
fault of the peer's, and not to be lost. It comes out of the handler's frame, or one below it; what
decoding raises comes out of a frame of this library.
"""

from __future__ import annotations

__all__ = ["is_own"]

_LIBRARY = __name__.partition(".")[0]


def is_own(error: BaseException) -> bool:
    """Whether this library, or what is built in, has raised an error that was caught here."""
    trace = error.__traceback__
    assert trace is not None
    while trace.tb_next is not None:
        trace = trace.tb_next
    module: str = trace.tb_frame.f_globals.get("__name__", "")
    return module.partition(".")[0] == _LIBRARY
