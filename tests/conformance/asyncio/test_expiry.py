"""Time to live: of messages (x-message-ttl, expiration) and of queues (x-expires)."""

from __future__ import annotations

import re

import pytest

import leveret.asyncio as client
from leveret import PublishNacked, PublishReturned

from ...support.brokers import BrokerUnderTest
from ...support.tasks import eventually
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
async def test_messages_expire(
    broker: BrokerUnderTest, arguments: dict[str, object], expiration: str | None
) -> None:
    async with open_channel(broker) as channel:
        queue, dead = await with_grave(channel, **arguments)
        await put(channel, queue, b"old", expiration=expiration)
        delivery = await get(channel, dead, no_ack=True)
        assert delivery.body == b"old"
        assert delivery.properties.expiration is None
        assert await count(channel, queue) == 0


async def test_an_expiration_is_delivered(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        await put(channel, queue, b"1", expiration=str(LONG))
        assert (await get(channel, queue)).properties.expiration == str(LONG)


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
async def test_expirations_that_are_refused(
    broker: BrokerUnderTest, expiration: str, reason: str
) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        words = f"(406) PRECONDITION_FAILED - invalid expiration '{expiration}': {reason}"
        with pytest.raises(PublishNacked, match=re.escape(words)):
            await put(channel, queue, b"1", expiration=expiration)


async def test_messages_expire_at_the_front(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue, dead = await with_grave(channel)
        letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
        other = await exclusive_queue(channel, **letters)
        await put(channel, queue, b"stays", expiration=str(LONG))
        await put(channel, queue, b"waits", expiration=str(SHORT))
        await put(channel, other, b"goes", expiration=str(2 * SHORT))
        assert (await get(channel, dead, no_ack=True)).body == b"goes"
        assert await count(channel, queue) == 2
        assert (await get(channel, queue, no_ack=True)).body == b"stays"
        assert (await get(channel, dead, no_ack=True)).body == b"waits"


async def test_what_comes_back_keeps_its_deadline(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue, dead = await with_grave(channel)
        await put(channel, queue, b"1", expiration=str(10 * SHORT))
        delivery = await get(channel, queue)
        await put(channel, queue, b"2", expiration=str(10 * SHORT))
        assert (await get(channel, dead, no_ack=True)).body == b"2"  # so it is late for both
        delivery.nack(requeue=True)
        assert (await get(channel, dead, no_ack=True)).body == b"1"


async def test_no_time_at_all_is_for_a_consumer_that_waits(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue, dead = await with_grave(channel, **{"x-message-ttl": 0})
        consumer = await channel.consume(queue, prefetch=1)
        await put(channel, queue, b"now")
        await put(channel, queue, b"late")
        delivery = await consumer.get()
        assert delivery.body == b"now"
        assert (await get(channel, dead, no_ack=True)).body == b"late"
        delivery.ack()
        await put(channel, queue, b"now")
        assert (await consumer.get()).body == b"now"


async def test_purged_and_deleted_messages_are_no_dead_letters(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue, dead = await with_grave(channel)
        await put(channel, queue, b"1")
        await has(channel, queue, 1)
        assert await channel.queue_purge(queue) == 1
        await put(channel, queue, b"2")
        await channel.queue_delete(queue)
        assert await count(channel, dead) == 0


async def is_gone(channel: client.Channel, queue: str) -> bool:
    """Whether there is no such queue. A publish is no use of one that is there."""
    try:
        await put(channel, queue, b"?")
    except (PublishReturned, PublishNacked):  # RabbitMQ 4 nacks while it is going
        return True
    return False


async def expiring(channel: client.Channel, milliseconds: int) -> str:
    """A queue that goes when it was not used for so long."""
    queue = unique("queue")
    await channel.queue_declare(queue, durable=True, arguments={"x-expires": milliseconds})
    return queue


async def test_unused_queues_expire(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await expiring(channel, SHORT)
        await put(channel, queue, b"1")
        await eventually(lambda: is_gone(channel, queue))


@pytest.mark.parametrize("use", ["declare", "passive", "get", "consume"])
async def test_queues_that_are_used_do_not_expire(broker: BrokerUnderTest, use: str) -> None:
    """Other queues, with less time, show that time passes."""
    async with open_channel(broker) as channel:
        queue = await expiring(channel, 20 * SHORT)
        for _ in range(3):
            other = await expiring(channel, 8 * SHORT)
            await eventually(lambda other=other: is_gone(channel, other))
            if use == "get":
                await channel.get(queue)
            elif use == "consume":
                await (await channel.consume(queue)).cancel()
            else:
                arguments = {"x-expires": 20 * SHORT}
                await channel.queue_declare(
                    queue, durable=True, passive=use == "passive", arguments=arguments
                )
        await channel.queue_delete(queue)


async def test_publishing_and_settling_is_no_use(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await expiring(channel, 10 * SHORT)
        await put(channel, queue, b"1")
        await put(channel, queue, b"2")
        deliveries = [await get(channel, queue) for _ in range(2)]
        deliveries[0].ack()
        await eventually(lambda: is_gone(channel, queue))
        deliveries[1].nack(requeue=True)


async def test_a_queue_with_a_consumer_does_not_expire(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue, other = [await expiring(channel, 5 * SHORT) for _ in range(2)]
        consumer = await channel.consume(queue)
        later = await expiring(channel, 10 * SHORT)
        for gone in (other, later):
            await eventually(lambda gone=gone: is_gone(channel, gone))
        assert not await is_gone(channel, queue)
        await consumer.cancel()
        await eventually(lambda: is_gone(channel, queue))


async def test_the_messages_of_an_expired_queue_are_no_dead_letters(
    broker: BrokerUnderTest,
) -> None:
    async with open_channel(broker) as channel:
        queue, dead = await with_grave(channel, **{"x-expires": SHORT})
        await put(channel, queue, b"1")
        await eventually(lambda: is_gone(channel, queue))
        assert await count(channel, dead) == 0
