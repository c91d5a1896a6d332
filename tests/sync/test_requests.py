"""What a thread asks that has the connection for itself, the answer, and what comes beside it."""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import signal
import socket
import threading
import weakref
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, Iterator
from functools import partial
from typing import Any

import pytest

import leveret
from leveret import wire
from leveret.sync import engine, exchange, requests
from leveret.sync.leading import IO_THREAD, NOBODY
from leveret.sync.transport import Core

from ..support.scripted import CONSUMER, LIMITED_STEPS, ScriptedBroker, scripted_broker
from ..support.signals import alarm, handling
from ..support.threads import Signal, eventually, start

SECONDS = 10.0
AT_ONCE = {
    wire.ConfirmSelect.key: wire.ConfirmSelectOk().encode(1),
    wire.ChannelClose.key: wire.ChannelCloseOk().encode(1),
    wire.ConnectionClose.key: wire.ConnectionCloseOk().encode(0),
}
NO_PROPERTIES = wire.Properties().encode()


def delivery(tag: int) -> bytes:
    content = wire.encode_deliver(1, CONSUMER, tag, False, "", "q", NO_PROPERTIES, b"body", 0)
    assert isinstance(content, bytes)
    return content


class Answers:
    """Answers a client: its n-th request with n as the message count, its n-th publish with n as
    the tag.

    Attributes:
        count: how many requests have come.
        published, acked: how many publishes and acks have come.
        held: how many of both have to come before they are answered, all at once.
        pieces: makes the pieces of an answer out of the ordinary one; the client waits for each
            before it is sent.
    """

    def __init__(self, broker: ScriptedBroker, core: Core) -> None:
        self.count = self.published = self.acked = 0
        self.held = 1
        self.pieces: Callable[[bytes], Iterable[bytes]] = lambda answer: [answer]
        self._broker = broker
        self._core = core
        start(self._serve)

    def _serve(self) -> None:
        waiting: list[bytes] = []
        with contextlib.suppress(OSError):
            while True:
                frame = self._broker.read()
                key = int.from_bytes(frame[7:11], "big")
                if frame[0] != wire.FrameType.METHOD:
                    continue
                if key in AT_ONCE:
                    self._broker.peer.sendall(AT_ONCE[key])
                elif key == wire.QueueDeclare.key:
                    self.count += 1
                    waiting.append(wire.QueueDeclareOk("q", self.count, 0).encode(1))
                elif key == wire.BasicPublish.key:
                    self.published += 1
                    waiting.append(wire.BasicAck(self.published, False).encode(1))
                elif key == wire.BasicAck.key:
                    self.acked += 1
                if not waiting or len(waiting) < self.held:
                    continue
                pieces, waiting = self.pieces(b"".join(waiting)), []
                for piece in pieces:
                    eventually(lambda: self._core._resting or self._core.reading == IO_THREAD)
                    self._broker.peer.sendall(piece)


class Asking:
    """A client of a scripted broker.

    Attributes:
        answers: the broker's part.
        broker, channel, consumer, core: the client's.
    """

    def __init__(self, broker: ScriptedBroker, connection: leveret.Connection) -> None:
        self.broker = broker
        self.channel = connection.channel(timeout=SECONDS)
        self.core: Core = self.channel.core
        self.consumer = self.channel.consume("q", timeout=SECONDS)
        self.answers = Answers(broker, self.core)

    def ask(self, timeout: float = SECONDS) -> int:
        """The number of the request, as its answer says it."""
        return self.channel.queue_declare("q", passive=True, timeout=timeout).message_count

    def publish(self, timeout: float = SECONDS) -> None:
        """A publish that is confirmed."""
        self.channel.publish(b"body", routing_key="q", timeout=timeout)

    def lead(self) -> None:
        """Have this thread read what it asks for."""

        def stands_by() -> bool:
            assert self.ask() == self.answers.count
            return self.core.reading == NOBODY

        eventually(stands_by)


@pytest.fixture
def asking() -> Iterator[Asking]:
    """A client that has asked, and would lead."""
    with (
        scripted_broker(script=LIMITED_STEPS) as broker,
        leveret.connect(f"amqp://{broker.address}", timeout=SECONDS) as connection,
    ):
        asking = Asking(broker, connection)
        asking.lead()
        yield asking


@pytest.fixture
def idle_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The I/O thread stands by for ever, once it does."""
    for name in ("STANDBY", "STANDBY_MAX", "WATCH"):
        monkeypatch.setattr(engine, name, 10 * SECONDS)


@pytest.mark.parametrize(
    ("pieces", "deliveries"),
    [
        pytest.param(lambda answer: [answer], 0, id="alone"),
        pytest.param(lambda answer: [answer[:1], answer[1:]], 0, id="cut in its head"),
        pytest.param(lambda answer: [answer[:-1], answer[-1:]], 0, id="cut before its end"),
        pytest.param(lambda answer: [bytes([each]) for each in answer], 0, id="byte by byte"),
        pytest.param(lambda answer: [wire.HEARTBEAT_FRAME + answer], 0, id="after a heartbeat"),
        pytest.param(lambda answer: [answer + wire.HEARTBEAT_FRAME], 0, id="before a heartbeat"),
        pytest.param(lambda answer: [delivery(1) + answer], 1, id="after a delivery"),
        pytest.param(lambda answer: [delivery(1), answer], 1, id="after a delivery apart"),
        pytest.param(lambda answer: [answer + delivery(1)], 1, id="before a delivery"),
        pytest.param(
            lambda answer: [answer + delivery(1)[:9], delivery(1)[9:]], 1, id="before half of one"
        ),
        pytest.param(
            lambda answer: [delivery(1)[:30], delivery(1)[30:] + answer], 1, id="within a delivery"
        ),
    ],
)
def test_the_reply_and_what_comes_with_it(
    asking: Asking, pieces: Callable[[bytes], list[bytes]], deliveries: int
) -> None:
    before = asking.answers.count
    asking.answers.pieces = pieces
    assert asking.ask() == before + 1
    for _ in range(deliveries):
        assert asking.consumer.get(timeout=SECONDS).body == b"body"
    asking.answers.pieces = lambda answer: [answer]
    for count in range(before + 2, before + 6):
        assert asking.ask() == count


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (wire.ChannelClose(404, "NOT_FOUND", 50, 10).encode(1), leveret.NotFound),
        (wire.ConnectionClose(541, "INTERNAL_ERROR").encode(0), leveret.PeerError),
        (wire.QueueBindOk().encode(1), leveret.RemoteProtocolError),
        (wire.QueueDeclareOk("q", 0, 0).encode(2), leveret.RemoteProtocolError),
        (wire.QueueDeclareOk("q", 0, 0).encode(1)[:-1] + b"\0", leveret.RemoteProtocolError),
        (b"\1\0\1\0\0\0\3abc\xce", leveret.RemoteProtocolError),
    ],
    ids=["channel.close", "connection.close", "other reply", "other channel", "end", "short"],
)
def test_what_is_no_reply(asking: Asking, answer: bytes, error: type[Exception]) -> None:
    asking.answers.pieces = lambda _: [answer]
    with pytest.raises(error):
        asking.ask()
    with pytest.raises((leveret.ChannelClosedError, leveret.ConnectionClosedError)):
        asking.ask()


@pytest.mark.parametrize("end", ["close", "reset"])
def test_a_connection_that_is_cut(asking: Asking, end: str) -> None:
    def cut(_: bytes) -> list[bytes]:
        eventually(lambda: asking.core._resting)
        asking.broker.peer.close() if end == "close" else asking.broker.reset()
        return []

    asking.answers.pieces = cut
    with pytest.raises(leveret.ConnectionLost):
        asking.ask()


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


ANY = [Raised, KeyboardInterrupt, TimeoutError, BlockingIOError, ValueError, leveret.LeveretError]


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


class Arguments(dict[str, Any]):
    """What is called when they are encoded."""

    called: Callable[[], object]

    def items(self) -> ItemsView[str, Any]:
        self.called()
        return super().items()


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


@pytest.mark.usefixtures("idle_thread")
def test_what_another_thread_queues_meanwhile(asking: Asking) -> None:
    """It leaves at once, by the one that waits."""
    asking.publish()
    asking.lead()
    asking.answers.held = 2

    def publish() -> None:
        eventually(lambda: asking.core._resting)
        asking.channel.publish_nowait(b"body", routing_key="q")

    publishing = start(publish)
    asking.ask()
    publishing.result()


@pytest.mark.usefixtures("idle_thread")
def test_what_another_thread_acks_meanwhile(asking: Asking) -> None:
    """It leaves with the request, before or after it, though nobody was to be woken for it."""
    asking.answers.pieces = lambda answer: [delivery(1) + answer]
    asking.ask()
    asking.answers.pieces = lambda answer: [answer]
    acks = asking.consumer.get(timeout=SECONDS).ack
    asking.lead()
    arguments = Arguments(key="value")
    arguments.called = lambda: start(acks).result()

    def after_the_ack(answer: bytes) -> list[bytes]:
        if not asking.answers.acked:
            frame = asking.broker.read()
            assert int.from_bytes(frame[7:11], "big") == wire.BasicAck.key
        return [answer]

    asking.answers.pieces = after_the_ack
    asking.channel.queue_declare("q", arguments=arguments, timeout=SECONDS / 2)


def test_what_the_socket_does_not_take_meanwhile(asking: Asking) -> None:
    """The I/O thread is called to send it when the answer is there, and does not look later."""
    core: Any = asking.core
    call, called = core._call_thread, Signal()
    core._call_thread = lambda: (called(), call())

    def left(answer: bytes) -> list[bytes]:
        eventually(lambda: core._resting)
        core._sending = True  # as another thread would, that has sent a part
        core._stream.unsent = [memoryview(wire.HEARTBEAT_FRAME)]
        return [answer]

    asking.answers.pieces = left
    asking.ask()
    called.next()
    core._sending = False
    eventually(lambda: not core._stream.unsent)


def test_another_thread_asks_meanwhile(asking: Asking) -> None:
    asking.answers.held = 2
    begun = asking.answers.count

    def ask_too() -> int:
        eventually(lambda: asking.core._resting)
        return asking.ask()

    other = start(ask_too)
    assert asking.ask() == begun + 1
    assert other.result() == begun + 2


def test_a_reply_that_does_not_come(asking: Asking) -> None:
    """The deadline holds; the late reply is nobody else's."""
    asking.answers.held = 2
    begun = asking.answers.count
    with pytest.raises(leveret.DeadlineExceeded, match=r"queue\.declare did not end within 0\.1 s"):
        asking.ask(timeout=0.1)
    assert asking.ask() == begun + 2


def test_threads_that_take_turns(asking: Asking) -> None:
    """Each gets an answer, and no two the same."""
    begun = asking.answers.count
    counts: list[int] = []
    lock = threading.Lock()

    def ask_often() -> None:
        for _ in range(200):
            count = asking.ask()
            with lock:
                counts.append(count)

    for thread in [start(ask_often) for _ in range(4)]:
        thread.result(30.0)
    assert sorted(counts) == list(range(begun + 1, begun + 801))


@pytest.fixture
def publishing(asking: Asking) -> Asking:
    """One that has published with a confirm."""
    asking.publish()
    asking.lead()
    return asking


RETURNED = wire.encode_return(1, 312, "NO_ROUTE", "", "q", b"\x10\0\2", b"body", 0)


@pytest.mark.parametrize(
    ("pieces", "error"),
    [
        pytest.param(lambda ack: [ack], None, id="alone"),
        pytest.param(lambda ack: [bytes([each]) for each in ack], None, id="byte by byte"),
        pytest.param(lambda ack: [wire.HEARTBEAT_FRAME + ack], None, id="after a heartbeat"),
        pytest.param(lambda ack: [ack + wire.HEARTBEAT_FRAME], None, id="before a heartbeat"),
        pytest.param(lambda _: [wire.BasicAck(2, True).encode(1)], None, id="multiple"),
        pytest.param(lambda _: [wire.BasicAck(0, True).encode(1)], None, id="all"),
        pytest.param(lambda _: [wire.BasicNack(2).encode(1)], leveret.PublishNacked, id="nack"),
        pytest.param(lambda ack: [RETURNED + ack], leveret.PublishReturned, id="after a return"),
        pytest.param(lambda ack: [RETURNED, ack], leveret.PublishReturned, id="return apart"),
        pytest.param(
            lambda _: [wire.BasicAck(3).encode(1)], leveret.PublishUnknown, id="of no publish"
        ),
        pytest.param(
            lambda _: [wire.BasicAck(2).encode(2)], leveret.PublishUnknown, id="other channel"
        ),
        pytest.param(
            lambda _: [wire.ChannelClose(404, "NOT_FOUND - no exchange ''", 60, 40).encode(1)],
            leveret.PublishNacked,
            id="channel.close",
        ),
    ],
)
def test_the_confirm_and_what_comes_with_it(
    publishing: Asking, pieces: Callable[[bytes], list[bytes]], error: type[Exception] | None
) -> None:
    publishing.answers.pieces = pieces
    with contextlib.nullcontext() if error is None else pytest.raises(error):
        publishing.publish()
    publishing.answers.pieces = lambda ack: [ack]
    if publishing.channel.is_open:
        for _ in range(3):
            publishing.publish()
        assert publishing.answers.published == 5


def test_a_confirm_that_does_not_come(publishing: Asking) -> None:
    """The outcome is not known; the late confirm is nobody else's."""
    publishing.answers.held = 2
    with pytest.raises(leveret.PublishUnknown):
        publishing.publish(timeout=0.1)
    publishing.publish()
    publishing.answers.held = 1
    publishing.publish()


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


def test_one_waits_for_all_confirms_meanwhile(publishing: Asking) -> None:
    """`wait_for_confirms` of another thread ends with the only open publish."""
    publishing.answers.held = 2

    def wait() -> None:
        eventually(lambda: publishing.core._resting)
        others = start(publishing.channel.wait_for_confirms)
        eventually(lambda: publishing.core.unanswered == 2)
        publishing.answers.held = 1
        publishing.broker.peer.sendall(wire.BasicAck(2).encode(1))
        others.result()

    waiting = start(wait)
    publishing.publish()
    waiting.result()


def test_threads_that_publish_and_ask_in_turn(publishing: Asking) -> None:
    """Each gets its own answers."""
    begun, published = publishing.answers.count, publishing.answers.published

    def use() -> None:
        for _ in range(100):
            publishing.publish()
            publishing.ask()

    for thread in [start(use) for _ in range(4)]:
        thread.result(30.0)
    assert publishing.answers.count == begun + 400
    assert publishing.answers.published == published + 400


@pytest.mark.usefixtures("idle_thread")
def test_a_publish_that_the_socket_refuses(publishing: Asking) -> None:
    """No byte of it has left. In Python a signal handler may have raised that, after the send."""
    core = publishing.core

    def cut_after(ack: bytes) -> Iterator[bytes]:
        yield ack
        eventually(lambda: core.reading == NOBODY)
        publishing.broker.reset()

    publishing.answers.pieces = cut_after
    publishing.publish()
    eventually(core._stream.has_come)
    error = leveret.PublishUnknown if requests._twin is exchange else leveret.PublishNotSent
    with pytest.raises(error):
        publishing.publish()
