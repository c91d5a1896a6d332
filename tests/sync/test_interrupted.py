"""Signal handlers beside a thread that asks or publishes, and has the connection for itself."""

from __future__ import annotations

import ctypes
import dataclasses
import signal
import socket
import struct
import sys
import threading
import weakref
from collections import deque
from functools import partial
from typing import Any

import pytest

import leveret
from leveret import wire
from leveret.exceptions import DecodeError
from leveret.sync import exchange, requests
from leveret.sync.leading import IO_THREAD

from ..support.asking import SECONDS, Arguments, Asking
from ..support.signals import alarm, handling
from ..support.threads import eventually, start


class Raised(Exception):
    """By a signal handler."""


@pytest.mark.parametrize("kind", [Raised, KeyboardInterrupt, BlockingIOError, ValueError])
def test_what_a_signal_handler_raises(asking: Asking, kind: type[BaseException]) -> None:
    """It comes to the caller as it is; the late reply is nobody else's."""
    asking.answers.held = 2
    begun = asking.answers.count

    def handle(*_: object) -> None:
        assert asking.core._resting
        raise kind("raised by a handler")

    with alarm(handle), pytest.raises(kind, match="raised by a handler"):
        asking.ask()
    assert asking.core._led_for is None
    assert asking.ask() == begun + 2
    asking.answers.held = 1
    assert asking.ask() == begun + 3


class Interrupted(deque[Any]):
    """The open requests of a channel; a signal comes where the first is added."""

    def append(self, request: Any) -> None:
        super().append(request)
        if len(self) == 1:
            signal.raise_signal(signal.SIGUSR1)


ANY = [
    Raised,
    KeyboardInterrupt,
    TimeoutError,
    BlockingIOError,
    ValueError,
    struct.error,
    leveret.LeveretError,
    DecodeError,
]


@pytest.mark.parametrize("kind", ANY)
def test_what_a_signal_handler_raises_halfway(asking: Asking, kind: type[BaseException]) -> None:
    """A request that is noted and was never sent would take the reply to another one."""
    core = asking.core

    def handle(*_: object) -> None:
        assert core.lock._is_owned()  # type: ignore[attr-defined]
        raise kind("raised by a handler")

    asking.channel.protocol._sent.requests = Interrupted()
    with handling(signal.SIGUSR1, handle), pytest.raises(kind, match="raised by a handler"):
        asking.ask()
    with pytest.raises(leveret.LeveretError, match="in the middle of an operation"):
        asking.ask()
    assert not core.unanswered


@pytest.mark.parametrize("kind", ANY)
def test_what_a_signal_handler_raises_while_a_request_is_encoded(
    asking: Asking, kind: type[BaseException]
) -> None:
    """How far that came is not looked at."""

    def handle(*_: object) -> None:
        raise kind("raised by a handler")

    arguments = Arguments(key="value")
    arguments.called = lambda: signal.raise_signal(signal.SIGUSR1)
    with handling(signal.SIGUSR1, handle), pytest.raises(kind, match="raised by a handler"):
        asking.channel.queue_declare("q", arguments=arguments, timeout=SECONDS)
    with pytest.raises(leveret.LeveretError, match="in the middle of an operation"):
        asking.ask()
    assert not asking.core.unanswered


class Compared(int):
    """A limit; a signal comes where the size of an answer is compared with it."""

    armed = threading.Event()

    def __le__(self, other: int) -> bool:
        if self.armed.is_set():
            self.armed.clear()
            signal.raise_signal(signal.SIGUSR1)
        return super().__le__(other)


@pytest.mark.parametrize("kind", ANY)
def test_what_a_signal_handler_raises_when_the_answer_is_read(
    asking: Asking, kind: type[BaseException]
) -> None:
    """What was read is lost: who asks next must not wait for what was in it."""
    core = asking.core
    core.protocol.limits = dataclasses.replace(
        core.protocol.limits, frame_max=Compared(core.protocol.limits.frame_max)
    )

    def handle(*_: object) -> None:
        assert core.lock._is_owned()  # type: ignore[attr-defined]
        raise kind("raised by a handler")

    def arm(answer: bytes) -> list[bytes]:
        eventually(lambda: core._resting)
        Compared.armed.set()
        return [answer]

    asking.answers.pieces = arm
    with handling(signal.SIGUSR1, handle), pytest.raises(kind, match="raised by a handler"):
        asking.ask()
    assert not Compared.armed.is_set()
    with pytest.raises(leveret.LeveretError, match="in the middle of an operation"):
        asking.ask()
    assert not core.unanswered


@pytest.mark.parametrize("kind", [*ANY, IndexError])
def test_what_a_signal_handler_raises_when_more_than_an_answer_is_decoded(
    asking: Asking, kind: type[BaseException]
) -> None:
    """It is none of the peer's faults."""
    core = asking.core
    asking.lead()

    def handle(*_: object) -> None:
        raise kind("raised by a handler")

    def profile(frame: Any, event: str, what: Any) -> None:
        if (what.__name__ if event == "c_call" else frame.f_code.co_name) == "decode_frames":
            sys.setprofile(None)
            signal.raise_signal(signal.SIGUSR1)

    asking.answers.pieces = lambda answer: [answer + wire.HEARTBEAT_FRAME]
    with handling(signal.SIGUSR1, handle), pytest.raises(kind, match="raised by a handler"):
        sys.setprofile(profile)
        try:
            asking.ask()
        finally:
            sys.setprofile(None)
    with pytest.raises(leveret.LeveretError, match="in the middle of an operation"):
        asking.ask()
    assert not core.unanswered


@pytest.mark.skipif(requests._twin is not exchange, reason="compiled, nothing comes in between")
@pytest.mark.parametrize("kind", ANY)
def test_what_a_signal_handler_raises_after_the_send(
    asking: Asking, kind: type[BaseException]
) -> None:
    """It is no word of the socket's that nothing was sent: nothing is sent twice."""
    core: Any = asking.core
    send = core._send_some

    def handle(*_: object) -> None:
        raise kind("raised by a handler")

    def interrupted(data: bytes) -> int:
        count: int = send(data)
        signal.raise_signal(signal.SIGUSR1)
        return count

    core._send_some = interrupted
    with handling(signal.SIGUSR1, handle), pytest.raises(kind, match="raised by a handler"):
        asking.ask()
    assert not core._stream.unsent
    with pytest.raises(leveret.LeveretError, match="in the middle of an operation"):
        asking.ask()


class Dropped(float):
    """A number that can be waited for to be dropped."""

    __slots__ = ("__weakref__",)


def test_a_signal_that_came_before_the_wait(asking: Asking) -> None:
    """Its handler does not wait for the answer."""
    interrupt = ctypes.pythonapi.PyErr_SetInterruptEx
    interrupt.argtypes = (ctypes.c_int, ctypes.py_object)  # a callback of `weakref` takes one more
    handled = threading.Event()
    asking.answers.pieces = lambda answer: [answer] if handled.wait(SECONDS / 2) else []
    asking.core._gather_until = Dropped()  # until something is sent
    reference = weakref.ref(asking.core._gather_until, partial(interrupt, signal.SIGUSR1))
    with handling(signal.SIGUSR1, lambda *_: handled.set()):
        asking.ask()
    assert reference() is None


@pytest.mark.usefixtures("idle_thread")
def test_a_waker_that_is_exchanged_meanwhile(asking: Asking) -> None:
    """Who has to wait for the lock waits for the broker where the others wake it then."""
    core, asks = asking.core, threading.get_ident()
    holds, free = threading.Event(), threading.Event()
    kept: list[socket.socket] = []

    def hold() -> None:
        with core.lock:
            holds.set()
            free.wait(SECONDS)

    def exchange(*_: object) -> None:  # as where a caller was relieved, and has found that out
        left = core._readiness
        core._leave_readiness()
        core._close_left(left)
        kept.extend(socket.socketpair() + socket.socketpair())  # they have its numbers
        free.set()

    def publish() -> None:
        eventually(lambda: core._resting and core.reading == asks)
        asking.channel.publish_nowait(b"body", routing_key="q")

    asking.publish()
    asking.lead()
    holding = start(hold)
    assert holds.wait(SECONDS)
    publishing = start(publish)
    asking.answers.held = 2
    with alarm(exchange):
        asking.ask()
    holding.result()
    publishing.result()
    assert kept
    for each in kept:
        each.close()


def test_a_signal_handler_that_asks(asking: Asking) -> None:
    """Both get their own answers, which come together."""
    asking.answers.held = 2
    begun = asking.answers.count
    inner = []
    with alarm(lambda *_: inner.append(asking.ask())):
        assert asking.ask() == begun + 1
    assert inner == [begun + 2]
    asking.answers.held = 1
    assert asking.ask() == begun + 3


def test_a_signal_handler_that_takes_long(asking: Asking) -> None:
    """Another thread's answer does not wait for it, nor does the interrupted one's get lost."""
    asking.answers.held = 2
    begun = asking.answers.count
    other: list[int] = []

    def handle(*_: object) -> None:
        other.append(start(asking.ask).result())

    with alarm(handle):
        assert asking.ask() == begun + 1
    assert other == [begun + 2]
    assert not asking.core._relieves
    assert not asking.core._left  # where it has waited
    asking.answers.held = 1
    assert asking.ask() == begun + 3


def test_the_end_while_a_signal_handler_takes_long(asking: Asking) -> None:
    """The one that was relieved and interrupted says why it has no answer, as the others do."""
    core = asking.core
    asking.answers.held = 3

    def handle(*_: object) -> None:
        other = start(asking.ask)
        asking.broker.peer.sendall(wire.HEARTBEAT_FRAME)  # which the interrupted one does not read
        eventually(lambda: core.reading == IO_THREAD)
        asking.broker.peer.shutdown(socket.SHUT_RDWR)
        with pytest.raises(leveret.ConnectionLost):
            other.result()
        eventually(lambda: not core._thread.is_alive())

    with alarm(handle), pytest.raises(leveret.ConnectionLost):
        asking.ask()


@pytest.mark.parametrize("kind", [Raised, KeyboardInterrupt, BlockingIOError, ValueError])
def test_what_a_signal_handler_raises_beside_a_confirm(
    publishing: Asking, kind: type[BaseException]
) -> None:
    publishing.answers.held = 2

    def handle(*_: object) -> None:
        assert publishing.core._resting
        raise kind("raised by a handler")

    with alarm(handle), pytest.raises(kind, match="raised by a handler"):
        publishing.publish()
    publishing.publish()
    publishing.answers.held = 1
    publishing.publish()
    assert not publishing.core.unanswered


def test_a_signal_handler_that_publishes(publishing: Asking) -> None:
    publishing.answers.held = 2
    with alarm(lambda *_: publishing.publish()):
        publishing.publish()
    assert publishing.answers.published == 3
    publishing.answers.held = 1
    publishing.publish()
