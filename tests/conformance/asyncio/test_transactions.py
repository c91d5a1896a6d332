"""Transactions, and the prefetch of a whole channel."""

from __future__ import annotations

import pytest

import leveret.asyncio as client
from leveret import (
    ChannelClosedError,
    DeadlineExceeded,
    Delivery,
    NotFound,
    PreconditionFailed,
)

from ...support.brokers import BrokerUnderTest
from ...support.tasks import Signal
from .helpers import (
    count,
    exclusive_queue,
    get,
    open_channel,
    open_connection,
    take,
    unique,
)

# RabbitMQ 4.3 has no limit for channels unless its operator permits it (`global_qos` of the
# deprecated features): each of the two consumers has it for itself
GLOBAL_QOS = {"rabbitmq-3": 2, "rabbitmq-4": 4, "embedded": 2}


async def test_commit(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel, open_channel(broker) as other:
        queue = await exclusive_queue(channel)
        await channel.tx_select()
        await channel.tx_select()
        await channel.basic_publish(b"1", routing_key=queue)
        await channel.basic_publish(b"2", routing_key=queue)
        assert await count(channel, queue) == 0
        await channel.tx_commit()
        assert await count(channel, queue) == 2
        (await get(channel, queue)).ack()
        await channel.tx_commit()
        await channel.tx_commit()
        assert await count(channel, queue) == 1
        assert other.is_open


async def test_rollback(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1")
        await channel.tx_select()
        await channel.basic_publish(b"2", routing_key=queue)
        await channel.tx_rollback()
        await channel.tx_commit()
        assert await count(channel, queue) == 1


async def test_returns_come_with_the_commit(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        returned = Signal()
        channel.on_return = returned
        await channel.tx_select()
        await channel.basic_publish(b"1", routing_key=unique("nobody"), mandatory=True)
        await channel.basic_qos(0)
        assert not returned.calls
        await channel.tx_commit()
        (message,) = await returned.next()
        assert message.body == b"1"


async def test_commit_without_select(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        with pytest.raises(PreconditionFailed, match="channel is not transactional"):
            await channel.tx_commit()
        channel = await connection.channel()
        with pytest.raises(PreconditionFailed, match="channel is not transactional"):
            await channel.tx_rollback()


async def test_a_publish_that_fails_in_a_transaction(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        queue = await exclusive_queue(channel)
        missing = unique("none")
        await channel.tx_select()
        await channel.basic_publish(b"1", routing_key=queue)
        await channel.basic_publish(b"2", missing)
        # the broker's close may come before the commit is sent, or instead of its answer
        with pytest.raises((NotFound, ChannelClosedError), match=f"no exchange '{missing}'"):
            await channel.tx_commit()
        other = await connection.channel()
        assert await count(other, queue) == 0


async def test_global_qos(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        first_queue = await exclusive_queue(channel, *[b"1"] * 4)
        second_queue = await exclusive_queue(channel, *[b"2"] * 4)
        await channel.basic_qos(2, global_=True)
        consumers = [await channel.consume(queue) for queue in (first_queue, second_queue)]
        held = await _all_that_comes(consumers)
        assert len(held) == GLOBAL_QOS[broker.name]
        held[0].ack()
        assert len(await _all_that_comes(consumers)) == 1


async def _all_that_comes(consumers: list[client.Consumer]) -> list[Delivery]:
    held = []
    for consumer in consumers:
        with pytest.raises(DeadlineExceeded):
            while True:
                held.append(await consumer.get(0.1))
    return held


async def test_qos_of_each_consumer(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queues = [await exclusive_queue(channel, *[b""] * 4) for _ in range(2)]
        await channel.basic_qos(1)
        for queue in queues:
            consumer = await channel.consume(queue)
            await take(consumer, 1)
            with pytest.raises(DeadlineExceeded):
                await consumer.get(0.05)
