"""Whose an error is: a signal handler may raise anything, between any two steps.

A `BlockingIOError` that comes out of a send may say that nothing was sent, or that a handler has
raised it when all was; a `ValueError` of an operation may have come before the first change, or in
the middle of them. What tells them apart is the handler's frame in the traceback.
"""

from __future__ import annotations

import signal
from functools import partial
from types import CodeType

__all__ = ["is_of_handler"]


def is_of_handler(error: BaseException) -> bool:
    """Whether a signal handler has raised the error, or let it through, below the caller."""
    trace = error.__traceback__
    if trace is None or trace.tb_next is None:  # of a built-in function that the caller has called
        return False
    codes = {_code(signal.getsignal(number)) for number in signal.valid_signals()}
    while (trace := trace.tb_next) is not None:
        if trace.tb_frame.f_code in codes:
            return True
    return False


def _code(handler: object) -> CodeType | None:
    while isinstance(handler, partial):
        handler = handler.func
    if not callable(handler):  # the default, or to be ignored
        return None
    code = getattr(handler, "__code__", None) or getattr(type(handler).__call__, "__code__", None)
    return code if isinstance(code, CodeType) else None
