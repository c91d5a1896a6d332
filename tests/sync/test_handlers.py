"""Whose an error is."""

from __future__ import annotations

import signal
from collections.abc import Callable
from functools import partial

import pytest

from leveret.sync.handlers import is_of_handler

from ..support.signals import handling


def handle(*_: object) -> None:
    raise ValueError


class Handler:
    """What may be called."""

    def __call__(self, *_: object) -> None:
        handle()

    def handle(self, *_: object) -> None:
        handle()


def caught(call: Callable[[], object]) -> bool:
    try:
        call()
    except ValueError as error:
        return is_of_handler(error)
    raise AssertionError("nothing was raised")


@pytest.mark.parametrize(
    "handler",
    [handle, lambda *_: handle(), Handler(), Handler().handle, partial(handle, 1)],
    ids=["function", "lambda", "object", "method", "partial"],
)
def test_what_a_handler_has_raised(handler: Callable[..., None]) -> None:
    with handling(signal.SIGUSR1, handler):
        assert caught(lambda: signal.raise_signal(signal.SIGUSR1))


@pytest.mark.parametrize(
    "call",
    [lambda: int("x"), lambda: signal.Signals(-1), partial(int, "x")],
    ids=["function", "enumeration", "built-in"],
)
def test_what_an_operation_has_raised(call: Callable[[], object]) -> None:
    with handling(signal.SIGUSR1, handle):
        assert not caught(call)


def test_an_operation_of_a_handler() -> None:
    """What it has called itself, and what that raises, is an operation as any other."""
    seen = []
    with handling(signal.SIGUSR1, lambda *_: seen.append(caught(lambda: int("x")))):
        signal.raise_signal(signal.SIGUSR1)
    assert seen == [False]
