"""Acks of a stream of messages leave together, and what the broker waits for leaves at once."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest

import leveret
from leveret import wire
from leveret.protocol.incoming import Incoming
from leveret.sync import engine, leading, receiving

from ..support.scripted import CONSUMER, LIMITED_STEPS, STEPS, ScriptedBroker, scripted_broker
from ..support.threads import eventually, start

SECONDS = 10.0
NO_PROPERTIES = b"\0\0"
FOREVER = 3600.0


def deliveries(first: int, last: int, body: bytes = b"x") -> bytes:
    frames = b""
    for tag in range(first, last + 1):
        content = wire.encode_deliver(1, CONSUMER, tag, False, "", "q", NO_PROPERTIES, body, 0)
        assert isinstance(content, bytes)
        frames += content
    return frames


def read_ack(broker: ScriptedBroker) -> tuple[int, bool]:
    (ack,), _, _ = wire.decode_frames(broker.read(), 0, 0)
    assert isinstance(ack, wire.BasicAck), ack
    return ack.delivery_tag, ack.multiple


@contextmanager
def acking(prefetch: int) -> Iterator[tuple[ScriptedBroker, list[int]]]:
    """A consumer in a thread that acks what comes, and the tags that it has acked."""
    with scripted_broker(script=LIMITED_STEPS) as broker:
        url = f"amqp://{broker.address}"
        connection = leveret.connect(url, heartbeat=0, timeout=SECONDS)
        tags: list[int] = []

        def consume() -> None:
            for delivery in connection.channel().consume("q", prefetch=prefetch):
                delivery.ack()
                tags.append(delivery.delivery_tag)

        with closing(broker):
            worker = start(consume)
            yield broker, tags
        with pytest.raises(leveret.LeveretError):
            worker.result(SECONDS)


def test_acks_wait_until_a_quarter_of_the_prefetch_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "GATHER", FOREVER)
    with acking(prefetch=40) as (broker, tags):
        for last in (3, 6, 9):
            broker.peer.sendall(deliveries(last - 2, last))
            eventually(lambda last=last: len(tags) == last)
        broker.peer.sendall(deliveries(10, 11))
        assert read_ack(broker) == (11, True)


def test_acks_leave_soon_where_nothing_follows() -> None:
    with acking(prefetch=1000) as (broker, _):
        for tag in range(1, 31):
            broker.peer.sendall(deliveries(tag, tag))
            assert read_ack(broker) == (tag, False)


@pytest.mark.parametrize("prefetch", [1, 3])
def test_a_small_prefetch_is_never_waited_for(
    monkeypatch: pytest.MonkeyPatch, prefetch: int
) -> None:
    monkeypatch.setattr(leading, "GATHER", FOREVER)
    with acking(prefetch=prefetch) as (broker, _):
        for tag in range(1, 31):
            broker.peer.sendall(deliveries(tag, tag))
            assert read_ack(broker) == (tag, False)


def test_a_stream_that_the_prefetch_ends_is_read_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The broker has sent all that it may in less time than the reader would let pass."""
    monkeypatch.setattr(leading, "GATHER", FOREVER)
    monkeypatch.setattr(leading, "COALESCE", 2 * SECONDS)
    monkeypatch.setattr(engine, "STANDBY", FOREVER)  # the I/O thread relieves nobody
    with acking(prefetch=100) as (broker, tags):
        for last in range(4, 25, 4):
            broker.peer.sendall(deliveries(last - 3, last))
            eventually(lambda last=last: len(tags) == last)


def test_a_stream_comes_in_larger_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who waits for the next of a stream lets some gather, and takes them although less come."""
    monkeypatch.setattr(leading, "GATHER", FOREVER)
    monkeypatch.setattr(leading, "COALESCE", 0.3)
    reads = []
    receive = Incoming.receive

    def received(self: Incoming, data: bytes, now: float) -> None:
        reads.append(len(data))
        receive(self, data, now)

    monkeypatch.setattr(Incoming, "receive", received)
    with acking(prefetch=1000) as (broker, tags):
        for last in (4, 8, 12, 16):
            broker.peer.sendall(deliveries(last - 3, last))
            eventually(lambda last=last: len(tags) == last)
        for last in (20, 24):
            broker.peer.sendall(deliveries(last - 3, last))
        eventually(lambda: len(tags) == 24)
        assert reads[-1] == len(deliveries(17, 24))
        broker.peer.sendall(deliveries(25, 25))
        eventually(lambda: len(tags) == 25)


def test_a_stream_that_pauses_is_one_still(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leading, "GATHER", FOREVER)
    monkeypatch.setattr(leading, "COALESCE", 0.0)
    for name in ("STANDBY", "STANDBY_MAX", "WATCH"):
        monkeypatch.setattr(engine, name, FOREVER)  # the I/O thread relieves nobody
    with acking(prefetch=1000) as (broker, tags):
        for last in (4, 8, 12, 16, 17, 21, 25):
            if last == 25:
                monkeypatch.setattr(leading, "COALESCE", 1.0)
            broker.peer.sendall(deliveries(len(tags) + 1, last))
            eventually(lambda last=last: len(tags) == last)
        begun = time.monotonic()
        broker.peer.sendall(deliveries(26, 26))
        eventually(lambda: len(tags) == 26)
        assert time.monotonic() - begun > 0.2


def sizes_of_reads(monkeypatch: pytest.MonkeyPatch, body: bytes) -> list[int]:
    """How many deliveries each read brings of 160 that are there: 4 fill a small one, 16 a large
    one, 8 one between the two.
    """
    size = len(deliveries(1, 1, body))
    monkeypatch.setattr(receiving, "SMALL_READ", 4 * size)
    monkeypatch.setattr(receiving, "CROWDED_READ", 8 * size)
    monkeypatch.setattr(receiving, "LARGE_READ", 16 * size)
    monkeypatch.setattr(leading, "GATHER", FOREVER)
    monkeypatch.setattr(engine, "STANDBY", FOREVER)  # the I/O thread relieves nobody
    reads = []
    receive = Incoming.receive

    def received(self: Incoming, data: bytes, now: float) -> None:
        reads.append(len(data))
        receive(self, data, now)

    with acking(prefetch=1000) as (broker, tags):
        broker.peer.sendall(deliveries(1, 1, body))
        eventually(lambda: len(tags) == 1)
        monkeypatch.setattr(Incoming, "receive", received)
        broker.peer.sendall(deliveries(2, 161, body))
        eventually(lambda: len(tags) == 161)
    return [read // size for read in reads if read >= size]


def test_a_stream_that_is_there_is_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A read that was filled has left some in the socket."""
    monkeypatch.setattr(leading, "COALESCE", 1.0)
    begun = time.monotonic()
    assert len(sizes_of_reads(monkeypatch, b"x")) > 15
    assert time.monotonic() - begun < 8.0  # it would be one second a read


def test_few_small_messages_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """Many of them are a round of the garbage collector."""
    reads = sizes_of_reads(monkeypatch, b"x")
    assert max(reads[2:]) == 8
    reads = sizes_of_reads(monkeypatch, bytes(300))
    assert max(reads[2:]) == 16


def test_room_for_a_stream_stays_while_it_goes_on(monkeypatch: pytest.MonkeyPatch) -> None:
    size = len(deliveries(1, 1))
    monkeypatch.setattr(receiving, "SMALL_READ", 8 * size)
    for name in ("STANDBY", "STANDBY_MAX", "WATCH"):
        monkeypatch.setattr(engine, name, FOREVER)
    reads = []
    receive = Incoming.receive

    def received(self: Incoming, data: bytes, now: float) -> None:
        reads.append(len(data) // size)
        receive(self, data, now)

    with acking(prefetch=1000) as (broker, tags):
        broker.peer.sendall(deliveries(1, 1))
        eventually(lambda: len(tags) == 1)
        monkeypatch.setattr(Incoming, "receive", received)
        for last in (15, 27, 39, 40, 54):
            broker.peer.sendall(deliveries(len(tags) + 1, last))
            eventually(lambda last=last: len(tags) == last)
    assert reads == [8, 6, 12, 12, 1, 8, 6]


PAUSE = 0.3
CONFIRM_STEPS = [*STEPS[:-1], (None, wire.ConfirmSelectOk().encode(1))]


@pytest.mark.parametrize(("in_flight", "together"), [(600, True), (100, False)])
def test_confirms_of_many_publishes_are_read_together(
    monkeypatch: pytest.MonkeyPatch, in_flight: int, together: bool
) -> None:
    """Who waits for the last of many lets some gather; of few, none."""
    monkeypatch.setattr(leading, "CONFIRMS", PAUSE)
    for name in ("STANDBY", "STANDBY_MAX", "WATCH"):
        monkeypatch.setattr(engine, name, FOREVER)
    reads = []
    receive = Incoming.receive

    def received(self: Incoming, data: bytes, now: float) -> None:
        reads.append(len(data))
        receive(self, data, now)

    with (
        scripted_broker(script=CONFIRM_STEPS) as broker,
        leveret.connect(f"amqp://{broker.address}", timeout=SECONDS) as connection,
    ):
        channel = connection.channel()
        channel.confirm_select()
        core = channel.core
        monkeypatch.setattr(Incoming, "receive", received)

        def confirm() -> None:
            for _ in range(3 * in_flight):
                broker.read()
            for tag in range(1, in_flight + 1):
                eventually(lambda: core._resting)
                broker.peer.sendall(wire.BasicAck(tag).encode(1))
                if not together:
                    eventually(lambda tag=tag: len(channel.protocol.confirms) == in_flight - tag)
            broker.read()
            broker.peer.sendall(wire.ChannelCloseOk().encode(1))
            broker.read()
            broker.peer.sendall(wire.ConnectionCloseOk().encode(0))

        confirming = start(confirm)
        eventually(lambda: core.reading == leading.NOBODY)
        began = time.monotonic()
        with channel.publisher(max_in_flight=in_flight) as publisher:
            for _ in range(in_flight):
                publisher.publish(b"x", routing_key="q")
        seconds = time.monotonic() - began
        channel.close()
        connection.close()
        confirming.result()
    if together:
        assert len(reads) < 10, reads
    else:
        assert seconds < PAUSE * in_flight / 2


def test_confirms_that_have_come_are_not_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    """A publisher does not look for them while it has room: when it has none, they are there."""
    monkeypatch.setattr(leading, "CONFIRMS", 2 * SECONDS)
    for name in ("STANDBY", "STANDBY_MAX", "WATCH"):
        monkeypatch.setattr(engine, name, FOREVER)
    with (
        scripted_broker(script=CONFIRM_STEPS) as broker,
        leveret.connect(f"amqp://{broker.address}", timeout=SECONDS) as connection,
        closing(broker),
    ):
        channel = connection.channel()
        channel.confirm_select()
        eventually(lambda: channel.core.reading == leading.NOBODY)
        publisher = channel.publisher(max_in_flight=1000)
        for _ in range(1000):
            publisher.publish(b"x", routing_key="q")
        broker.peer.sendall(wire.BasicAck(250, multiple=True).encode(1))
        eventually(channel.core._stream.has_come)
        begun = time.monotonic()
        publisher.publish(b"x", routing_key="q")
        assert time.monotonic() - begun < SECONDS
        assert publisher.in_flight == 751
