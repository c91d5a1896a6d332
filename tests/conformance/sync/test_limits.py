# Made by tools/async_to_sync.py from conformance/asyncio/test_limits.py: change it there.
"""Limits of queues: length, bytes, what happens to what is too much; priorities; consumers."""

from __future__ import annotations

import pytest

import leveret as client
from leveret import AccessRefused, PreconditionFailed, PublishNacked

from ...support.brokers import BrokerUnderTest
from .helpers import (
    count,
    drained,
    exclusive_queue,
    get,
    has,
    open_channel,
    open_connection,
    put,
    unique,
    with_grave,
)


def publish(channel: client.Channel, queue: str, *bodies: bytes) -> None:
    """Publish, and go on when the broker has them."""
    for body in bodies:
        channel.publish(body, routing_key=queue, persistent=False)


@pytest.mark.parametrize(
    ("limit", "kept"),
    [
        ({"x-max-length": 2}, [b"2222", b"3333"]),
        ({"x-max-length-bytes": 10}, [b"2222", b"3333"]),
        ({"x-max-length": 3, "x-max-length-bytes": 4}, [b"3333"]),
        ({"x-max-length-bytes": 3}, []),
        ({"x-max-length": 0}, []),
    ],
)
def test_the_oldest_go(
    broker: BrokerUnderTest, limit: dict[str, object], kept: list[bytes]
) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel, **limit)
        bodies = [b"0000", b"1111", b"2222", b"3333"]
        publish(channel, queue, *bodies)
        has(channel, dead, len(bodies) - len(kept))
        assert drained(channel, queue) == kept
        assert drained(channel, dead) == bodies[: len(bodies) - len(kept)]


def test_what_is_handed_out_does_not_count(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel, **{"x-max-length": 1})
        publish(channel, queue, b"0")
        delivery = get(channel, queue)
        publish(channel, queue, b"1")
        has(channel, queue, 1)
        assert count(channel, dead) == 0
        delivery.nack(requeue=True)  # it is in front again
        assert (get(channel, dead)).body == b"0"
        assert drained(channel, queue) == [b"1"]


def test_a_consumer_that_waits_gets_what_a_queue_has_no_room_for(
    broker: BrokerUnderTest,
) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, **{"x-max-length": 0})
        consumer = channel.consume(queue, no_ack=True)
        publish(channel, queue, b"now")
        assert (consumer.get()).body == b"now"


@pytest.mark.parametrize("mode", ["reject-publish", "reject-publish-dlx"])
def test_what_is_new_is_refused(broker: BrokerUnderTest, mode: str) -> None:
    with open_channel(broker) as channel:
        arguments: dict[str, object] = {"x-max-length": 1, "x-overflow": mode}
        queue, dead = with_grave(channel, **arguments)
        publish(channel, queue, b"0")
        with pytest.raises(PublishNacked):
            publish(channel, queue, b"1")
        delivery = get(channel, queue)
        publish(channel, queue, b"2")
        delivery.nack(requeue=True)  # there is always room for what comes back
        has(channel, queue, 2)
        with pytest.raises(PublishNacked):
            publish(channel, queue, b"3")
        assert drained(channel, queue) == [b"0", b"2"]
        refused = [b"1", b"3"] if mode == "reject-publish-dlx" else []
        has(channel, dead, len(refused))
        assert drained(channel, dead) == refused


def test_bytes_are_refused(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        arguments: dict[str, object] = {"x-max-length-bytes": 10, "x-overflow": "reject-publish"}
        queue = exclusive_queue(channel, **arguments)
        publish(channel, queue, b"1" * 6)
        with pytest.raises(PublishNacked):
            publish(channel, queue, b"2" * 5)
        publish(channel, queue, b"3" * 4, b"")
        assert drained(channel, queue) == [b"1" * 6, b"3" * 4, b""]


def test_a_message_that_one_of_two_queues_refuses(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        exchange = unique("exchange")
        channel.exchange_declare(exchange, "fanout", auto_delete=True)
        full = exclusive_queue(channel, **{"x-max-length": 0, "x-overflow": "reject-publish"})
        other = exclusive_queue(channel)
        for queue in (full, other):
            channel.queue_bind(queue, exchange)
        with pytest.raises(PublishNacked):
            channel.publish(b"m", exchange=exchange, mandatory=True, persistent=False)
        has(channel, other, 1)
        assert count(channel, full) == 0


def test_some_of_many_are_refused(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        arguments: dict[str, object] = {"x-max-length": 3, "x-overflow": "reject-publish"}
        queue = exclusive_queue(channel, **arguments)
        refused = []
        sent = [
            channel.publish_nowait(b"%d" % number, routing_key=queue, persistent=False)
            for number in range(10)
        ]
        for number, publication in enumerate(sent):
            try:
                publication.wait()
            except PublishNacked:
                refused.append(number)
        assert refused == [3, 4, 5, 6, 7, 8, 9]
        assert drained(channel, queue) == [b"0", b"1", b"2"]


def test_a_transaction_that_is_refused_in_part(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        arguments: dict[str, object] = {"x-max-length": 1, "x-overflow": "reject-publish"}
        queue = exclusive_queue(channel, **arguments)
        channel.tx_select()
        for body in (b"0", b"1"):
            channel.basic_publish(body, routing_key=queue)
        with pytest.raises(PreconditionFailed) as caught:
            channel.tx_commit()
        assert caught.value.reply_text == "PRECONDITION_FAILED - partial tx completion"


def test_priorities(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, **{"x-max-priority": 5})
        for number, priority in enumerate((None, 1, 5, 0, 200, 3, 5, 2)):
            put(channel, queue, f"{priority}#{number}".encode(), priority=priority)
        deliveries = [get(channel, queue) for _ in range(2)]
        for delivery in reversed(deliveries):
            delivery.nack(requeue=True)
        has(channel, queue, 8)
        assert drained(channel, queue) == [
            b"5#2",
            b"200#4",
            b"5#6",
            b"3#5",
            b"2#7",
            b"1#1",
            b"None#0",
            b"0#3",
        ]


def test_a_full_queue_drops_the_highest_priority(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel, **{"x-max-priority": 5, "x-max-length": 2})
        for priority in (1, 5, 3):
            put(channel, queue, b"%d" % priority, priority=priority)
        assert (get(channel, dead)).body == b"5"
        assert drained(channel, queue) == [b"3", b"1"]


def test_one_consumer_at_a_time(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel, **{"x-single-active-consumer": True})
        channels = [connection.channel() for _ in range(3)]
        consumers = [each.consume(queue) for each in channels]
        declared = channel.queue_declare(queue, passive=True)
        assert declared.consumer_count == 3
        publish(channel, queue, b"0", b"1")
        deliveries = [consumers[0].get() for _ in range(2)]
        assert [delivery.body for delivery in deliveries] == [b"0", b"1"]
        deliveries[0].ack()
        consumers[0].cancel()  # it keeps what it has
        publish(channel, queue, b"2")
        assert (consumers[1].get()).body == b"2"
        channels[1].close()  # and this one does not
        delivery = consumers[2].get()
        assert (delivery.body, delivery.redelivered) == (b"2", True)
        deliveries[1].nack(requeue=True)
        assert (consumers[2].get()).body == b"1"


def test_a_single_active_consumer_cannot_be_exclusive(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, **{"x-single-active-consumer": True})
        with pytest.raises(AccessRefused, match="in exclusive use"):
            channel.consume(queue, exclusive=True)


@pytest.mark.parametrize(
    "arguments",
    [
        {"x-queue-type": "classic"},
        {"x-queue-mode": "lazy"},
        {"x-queue-version": 2},
        {"x-max-priority": 0},
        {"x-overflow": "drop-head"},
        {"x-single-active-consumer": False},
        {"x-expires": 315_360_000_000, "x-message-ttl": 315_360_000_000},
        {"x-unknown": "whatever"},
    ],
)
def test_arguments_that_are_taken(
    broker: BrokerUnderTest, arguments: dict[str, object]
) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, **arguments)
        publish(channel, queue, b"1")
        channel.queue_declare(queue, exclusive=True, arguments=arguments)
        assert drained(channel, queue) == [b"1"]


@pytest.mark.parametrize("kind", ["quorum", "stream"])
@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({}, "invalid property 'non-durable'"),
        ({"durable": True, "exclusive": True}, "invalid property 'exclusive-owner'"),
        ({"durable": True, "auto_delete": True}, "invalid property 'auto-delete'"),
    ],
)
def test_other_types_have_rules_of_their_own(
    broker: BrokerUnderTest, kind: str, options: dict[str, bool], words: str
) -> None:
    with open_channel(broker) as channel:
        with pytest.raises(PreconditionFailed, match=words):
            channel.queue_declare(
                unique("queue"), arguments={"x-queue-type": kind}, **options
            )
