"""What a thread asks that has the connection for itself, the answer, and what comes beside it."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

import leveret
from leveret import wire
from leveret.sync import exchange, requests
from leveret.sync.leading import NOBODY

from ..support.asking import SECONDS, Arguments, Asking, delivery
from ..support.threads import Signal, eventually, start


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
