"""A request of a thread that has the connection for itself, its reply, and what comes beside it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator

import pytest

import leveret
from leveret import wire
from leveret.sync.leading import IO_THREAD, NOBODY
from leveret.sync.transport import Core

from ..support.scripted import CONSUMER, LIMITED_STEPS, ScriptedBroker, scripted_broker
from ..support.threads import eventually, start

SECONDS = 10.0
CLOSES = {
    wire.ChannelClose.key: wire.ChannelCloseOk().encode(1),
    wire.ConnectionClose.key: wire.ConnectionCloseOk().encode(0),
}
NO_PROPERTIES = wire.Properties().encode()


def delivery(tag: int) -> bytes:
    content = wire.encode_deliver(1, CONSUMER, tag, False, "", "q", NO_PROPERTIES, b"body", 0)
    assert isinstance(content, bytes)
    return content


class Answers:
    """Answers the requests of a client: the n-th one with n as the message count.

    Attributes:
        count: how many have come.
        held: how many requests have to come before they are answered, all at once.
        pieces: makes the pieces of an answer out of the ordinary one; the client waits for each
            before it is sent.
    """

    def __init__(self, broker: ScriptedBroker, core: Core) -> None:
        self.count = 0
        self.held = 1
        self.pieces: Callable[[bytes], list[bytes]] = lambda answer: [answer]
        self._broker = broker
        self._core = core
        start(self._serve)

    def _serve(self) -> None:
        waiting: list[bytes] = []
        with contextlib.suppress(OSError):
            while True:
                frame = self._broker.read()
                key = int.from_bytes(frame[7:11], "big")
                if frame[0] == wire.FrameType.METHOD and key in CLOSES:
                    self._broker.peer.sendall(CLOSES[key])
                if frame[0] != wire.FrameType.METHOD or key != wire.QueueDeclare.key:
                    continue
                self.count += 1
                waiting.append(wire.QueueDeclareOk("q", self.count, 0).encode(1))
                if len(waiting) < self.held:
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

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(kind, match="raised by a handler"):
            asking.ask()
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert asking.core._led_for is None
    assert asking.ask() == begun + 2
    asking.answers.held = 1
    assert asking.ask() == begun + 3


def test_a_signal_handler_that_asks(asking: Asking) -> None:
    """Both get their own answers, which come together."""
    asking.answers.held = 2
    begun = asking.answers.count
    inner = []
    before = signal.signal(signal.SIGALRM, lambda *_: inner.append(asking.ask()))
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert asking.ask() == begun + 1
    finally:
        signal.signal(signal.SIGALRM, before)
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

    before = signal.signal(signal.SIGALRM, handle)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        assert asking.ask() == begun + 1
    finally:
        signal.signal(signal.SIGALRM, before)
    assert other == [begun + 2]
    asking.answers.held = 1
    assert asking.ask() == begun + 3


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
