"""The broker's side that costs nothing, with Leveret's blocking client on it."""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pytest

import leveret
from bench import memory, peer

SECONDS = 10.0


@pytest.fixture
def feeds() -> list[int]:
    return [5, 4]


@pytest.fixture
def connection(feeds: list[int]) -> Iterator[leveret.sync.Connection]:
    with (
        peer.listening(feeds, body=300_000) as port,
        leveret.connect(f"amqp://127.0.0.1:{port}", timeout=SECONDS) as connection,
    ):
        yield connection


def test_each_passive_declaration_starts_a_feed(connection: leveret.sync.Connection) -> None:
    channel = connection.channel()
    consumer = channel.consume("q", prefetch=0)
    for tags in (range(1, 6), range(6, 10)):
        channel.queue_declare("q", passive=True)
        deliveries = list(islice(consumer, len(tags)))
        assert [each.delivery_tag for each in deliveries] == list(tags)
        assert {each.body for each in deliveries} == {b"x" * 300_000}
    channel.queue_declare("q", passive=True)
    with pytest.raises(leveret.DeadlineExceeded):
        consumer.get(timeout=0.01)


def test_consumers_get_their_deliveries_in_turn(connection: leveret.sync.Connection) -> None:
    channels = [connection.channel() for _ in range(3)]
    consumers = [channel.consume("q") for channel in channels]
    channels[0].queue_declare("q", passive=True)
    tags = [next(consumers[number % 3]).delivery_tag for number in range(5)]
    assert tags == [1, 1, 1, 2, 2]


def test_a_prefetch_holds_the_feed_until_there_are_acks(
    connection: leveret.sync.Connection,
) -> None:
    channel = connection.channel()
    consumer = channel.consume("q", prefetch=2)
    channel.queue_declare("q", passive=True)
    first, second = islice(consumer, 2)
    with pytest.raises(leveret.DeadlineExceeded):
        consumer.get(timeout=0.01)
    second.ack(multiple=True)
    assert [each.delivery_tag for each in islice(consumer, 2)] == [3, 4]
    assert first.delivery_tag == 1


@pytest.mark.parametrize("body", [b"", b"small", b"x" * 3_000_000])
def test_publishes_are_confirmed(connection: leveret.sync.Connection, body: bytes) -> None:
    channel = connection.channel()
    channel.publish(body, routing_key="q")
    with channel.publisher(max_in_flight=100) as publisher:
        publications = [publisher.publish(body, routing_key="q") for _ in range(10)]
    assert {each.outcome for each in publications} == {leveret.Outcome.CONFIRMED}


def test_the_peer_runs_in_a_process_of_its_own() -> None:
    with peer.running([3], 100) as port, leveret.connect(f"amqp://127.0.0.1:{port}") as connection:
        channel = connection.channel()
        consumer = channel.consume("q", no_ack=True)
        channel.queue_declare("q", passive=True)
        assert sum(len(each.body) for each in islice(consumer, 3)) == 300


@pytest.mark.skipif(not memory.STATUS.exists(), reason="no /proc")
def test_growth_is_that_of_the_peak() -> None:
    growth = memory.Growth()
    with mmap.mmap(-1, 32 * 1024 * 1024) as data:  # what malloc gives may have been there before
        for at in range(0, len(data), mmap.PAGESIZE):
            data[at] = 1
    peak = growth.peak()
    assert peak is not None
    assert 31 < peak / 2**20 < 40
    again = memory.Growth().peak()
    assert again is not None
    assert again < peak / 2


def test_a_system_without_proc_tells_no_growth(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(memory, "CLEAR", tmp_path / "none" / "clear_refs")
    assert memory.Growth().peak() is None
