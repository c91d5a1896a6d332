# Made by tools/async_to_sync.py from conformance/asyncio/test_expiry.py: change it there.
"""Time to live: of messages (x-message-ttl, expiration) and of queues (x-expires)."""

from __future__ import annotations

import re

import pytest

import leveret as client
from leveret import PublishNacked, PublishReturned

from ...support.brokers import BrokerUnderTest
from ...support.threads import eventually
from .helpers import (
    count,
    exclusive_queue,
    get,
    has,
    open_channel,
    put,
    unique,
    with_grave,
)

LONG = 60_000  # milliseconds: not in this test
SHORT = 50


@pytest.mark.parametrize(
    ("arguments", "expiration"),
    [
        ({"x-message-ttl": SHORT}, None),
        ({}, str(SHORT)),
        ({"x-message-ttl": SHORT}, str(LONG)),
        ({"x-message-ttl": LONG}, str(SHORT)),
        ({"x-message-ttl": 0}, None),
        ({}, "0"),
        ({"x-message-ttl": LONG}, "+0"),
    ],
)
def test_messages_expire(
    broker: BrokerUnderTest, arguments: dict[str, object], expiration: str | None
) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel, **arguments)
        put(channel, queue, b"old", expiration=expiration)
        delivery = get(channel, dead, no_ack=True)
        assert delivery.body == b"old"
        assert delivery.properties.expiration is None
        assert count(channel, queue) == 0


def test_an_expiration_is_delivered(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        put(channel, queue, b"1", expiration=str(LONG))
        assert (get(channel, queue)).properties.expiration == str(LONG)


@pytest.mark.parametrize(
    ("expiration", "reason"),
    [
        ("abc", "no_integer"),
        ("", "no_integer"),
        (" 5", "no_integer"),
        ("5 ", '{leftover_string," "}'),
        ("1.5", '{leftover_string,".5"}'),
        ("-1", "{value_negative,-1}"),
        ("315360000001", "{value_too_large,315360000001}"),
    ],
)
def test_expirations_that_are_refused(
    broker: BrokerUnderTest, expiration: str, reason: str
) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        words = f"(406) PRECONDITION_FAILED - invalid expiration '{expiration}': {reason}"
        with pytest.raises(PublishNacked, match=re.escape(words)):
            put(channel, queue, b"1", expiration=expiration)


def test_messages_expire_at_the_front(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel)
        letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        other = exclusive_queue(channel, **letters)
        put(channel, queue, b"stays", expiration=str(LONG))
        put(channel, queue, b"waits", expiration=str(SHORT))
        put(channel, other, b"goes", expiration=str(2 * SHORT))
        assert (get(channel, dead, no_ack=True)).body == b"goes"
        assert count(channel, queue) == 2
        assert (get(channel, queue, no_ack=True)).body == b"stays"
        assert (get(channel, dead, no_ack=True)).body == b"waits"


def test_what_comes_back_keeps_its_deadline(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel)
        put(channel, queue, b"1", expiration=str(10 * SHORT))
        delivery = get(channel, queue)
        put(channel, queue, b"2", expiration=str(10 * SHORT))
        assert (get(channel, dead, no_ack=True)).body == b"2"  # so it is late for both
        delivery.nack(requeue=True)
        assert (get(channel, dead, no_ack=True)).body == b"1"


def test_no_time_at_all_is_for_a_consumer_that_waits(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel, **{"x-message-ttl": 0})
        consumer = channel.consume(queue, prefetch=1)
        put(channel, queue, b"now")
        put(channel, queue, b"late")
        delivery = consumer.get()
        assert delivery.body == b"now"
        assert (get(channel, dead, no_ack=True)).body == b"late"
        delivery.ack()
        put(channel, queue, b"now")
        assert (consumer.get()).body == b"now"


def test_purged_and_deleted_messages_are_no_dead_letters(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel)
        put(channel, queue, b"1")
        has(channel, queue, 1)
        assert channel.queue_purge(queue) == 1
        put(channel, queue, b"2")
        channel.queue_delete(queue)
        assert count(channel, dead) == 0


def is_gone(channel: client.Channel, queue: str) -> bool:
    """Whether there is no such queue. A publish is no use of one that is there."""
    try:
        put(channel, queue, b"?")
    except (PublishReturned, PublishNacked):  # RabbitMQ 4 nacks while it is going
        return True
    return False


def expiring(channel: client.Channel, milliseconds: int) -> str:
    """A queue that goes when it was not used for so long."""
    queue = unique("queue")
    channel.queue_declare(queue, durable=True, arguments={"x-expires": milliseconds})
    return queue


def test_unused_queues_expire(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = expiring(channel, SHORT)
        put(channel, queue, b"1")
        eventually(lambda: is_gone(channel, queue))


@pytest.mark.parametrize("use", ["declare", "passive", "get", "consume"])
def test_queues_that_are_used_do_not_expire(broker: BrokerUnderTest, use: str) -> None:
    """Other queues, with less time, show that time passes."""
    with open_channel(broker) as channel:
        queue = expiring(channel, 20 * SHORT)
        for _ in range(3):
            other = expiring(channel, 8 * SHORT)
            eventually(lambda other=other: is_gone(channel, other))
            if use == "get":
                channel.get(queue)
            elif use == "consume":
                (channel.consume(queue)).cancel()
            else:
                arguments = {"x-expires": 20 * SHORT}
                channel.queue_declare(
                    queue, durable=True, passive=use == "passive", arguments=arguments
                )
        channel.queue_delete(queue)


def test_publishing_and_settling_is_no_use(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = expiring(channel, 10 * SHORT)
        put(channel, queue, b"1")
        put(channel, queue, b"2")
        deliveries = [get(channel, queue) for _ in range(2)]
        deliveries[0].ack()
        eventually(lambda: is_gone(channel, queue))
        deliveries[1].nack(requeue=True)


def test_a_queue_with_a_consumer_does_not_expire(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, other = [expiring(channel, 5 * SHORT) for _ in range(2)]
        consumer = channel.consume(queue)
        later = expiring(channel, 10 * SHORT)
        for gone in (other, later):
            eventually(lambda gone=gone: is_gone(channel, gone))
        assert not is_gone(channel, queue)
        consumer.cancel()
        eventually(lambda: is_gone(channel, queue))


def test_the_messages_of_an_expired_queue_are_no_dead_letters(
    broker: BrokerUnderTest,
) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel, **{"x-expires": SHORT})
        put(channel, queue, b"1")
        eventually(lambda: is_gone(channel, queue))
        assert count(channel, dead) == 0
