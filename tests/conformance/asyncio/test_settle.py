"""Getting and settling: ack, nack, reject, recover, and what cannot be settled."""

from __future__ import annotations

import pytest

from leveret import (
    ChannelClosedError,
    DeadlineExceeded,
    DeliverySettledError,
)

from ...support.brokers import BrokerUnderTest
from ...support.tasks import eventually
from .helpers import (
    connect,
    count,
    exclusive_queue,
    get,
    has,
    open_channel,
    open_connection,
    shared_queue,
    take,
)


async def test_get(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        assert await channel.get(queue) is None
        assert await channel.basic_get(queue) is None
        await channel.publish(b"1", routing_key=queue)
        await channel.publish(b"2", routing_key=queue)
        first = await get(channel, queue)
        assert first.body == b"1"
        assert first.message_count == 1
        assert first.consumer_tag is None
        assert first.delivery_tag == 1
        assert not first.lost
        second = await get(channel, queue, no_ack=True)
        assert second.message_count == 0
        first.ack()
        with pytest.raises(DeliverySettledError, match="no_ack"):
            second.ack()
        assert await channel.get(queue) is None


async def test_settling_twice(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2", b"3")
        consumer = await channel.consume(queue)
        first, second, third = await take(consumer, 3)
        first.ack()
        second.nack(requeue=False)
        third.reject(requeue=False)
        for delivery in (first, second, third):
            with pytest.raises(DeliverySettledError, match="settled already"):
                delivery.ack()
            with pytest.raises(DeliverySettledError):
                delivery.nack()
            with pytest.raises(DeliverySettledError):
                delivery.reject(requeue=False)
            assert not delivery.lost
        assert await count(channel, queue) == 0
        assert channel.is_open  # nothing was sent


async def test_out_of_order(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, *[b"%d" % n for n in range(10)]) as queue:
        async with open_channel(broker) as channel:
            consumer = await channel.consume(queue)
            held = await take(consumer, 10)
            for number in (9, 0, 4, 2, 1, 7):
                held[number].ack()
            await channel.basic_qos(0)  # in order behind the acks
        async with open_channel(broker) as channel:
            left = [await get(channel, queue, no_ack=True) for _ in range(4)]
            assert [delivery.body for delivery in left] == [b"3", b"5", b"6", b"8"]
            assert all(delivery.redelivered for delivery in left)
            assert await channel.get(queue) is None


async def test_multiple(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, *[b"%d" % n for n in range(8)]) as queue:
        async with open_channel(broker) as channel:
            consumer = await channel.consume(queue)
            held = await take(consumer, 8)
            held[2].ack(multiple=True)
            held[4].nack(multiple=True, requeue=False)
            held[6].ack()
        async with open_channel(broker) as channel:
            left = [await get(channel, queue, no_ack=True) for _ in range(2)]
            assert [delivery.body for delivery in left] == [b"5", b"7"]
            assert await channel.get(queue) is None


async def test_by_tag(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b"%d" % n for n in range(6)])
        held = [await get(channel, queue) for _ in range(6)]
        channel.basic_ack(held[0].delivery_tag)
        channel.basic_nack(held[2].delivery_tag, multiple=True, requeue=False)
        channel.basic_reject(held[3].delivery_tag, requeue=True)
        back = await get(channel, queue)
        assert back.body == b"3"
        assert back.redelivered
        channel.basic_ack(0, multiple=True)
        await channel.basic_qos(0)
        assert await channel.get(queue) is None
    async with open_channel(broker) as channel:
        channel.basic_ack(0, multiple=True)  # all of none
        await channel.basic_qos(0)


@pytest.mark.parametrize("how", ["nack", "reject"])
async def test_requeue(broker: BrokerUnderTest, how: str) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2")
        delivery = await get(channel, queue)
        assert not delivery.redelivered
        if how == "nack":
            delivery.nack()
        else:
            delivery.reject(requeue=True)
        again = await get(channel, queue)
        assert again.body == b"1"  # to its old place
        assert again.redelivered
        assert again.delivery_tag == 2


@pytest.mark.parametrize("how", ["nack", "reject"])
async def test_refusing_without_requeue_drops_or_dead_letters(
    broker: BrokerUnderTest, how: str
) -> None:
    async with open_channel(broker) as channel:
        dead = await exclusive_queue(channel)
        queue = await exclusive_queue(
            channel,
            b"1",
            **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead},
        )
        delivery = await get(channel, queue)
        if how == "nack":
            delivery.nack(requeue=False)
        else:
            delivery.reject(requeue=False)
        letter = await get(channel, dead)
        assert letter.body == b"1"
        deaths = letter.headers["x-death"]
        assert isinstance(deaths, list)
        assert deaths[0]["reason"] == "rejected"
        assert letter.headers["x-first-death-queue"] == queue


@pytest.mark.parametrize("tag", [0, 42])
async def test_a_tag_that_nobody_has(broker: BrokerUnderTest, tag: int) -> None:
    async with open_channel(broker) as channel:
        for settle in (channel.basic_ack, channel.basic_nack, channel.basic_reject):
            with pytest.raises(DeliverySettledError, match=f"delivery {tag} "):
                settle(tag)
        if tag:
            for settle_all in (channel.basic_ack, channel.basic_nack):
                with pytest.raises(DeliverySettledError, match=f"delivery {tag} "):
                    settle_all(tag, multiple=True)
        await channel.basic_qos(0)  # it lives


async def test_settling_twice_by_another_route_leaves_the_channel_open(
    broker: BrokerUnderTest,
) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b"%d" % n for n in range(7)])
        held = [await get(channel, queue) for _ in range(7)]
        held[1].ack(multiple=True)
        with pytest.raises(DeliverySettledError):
            held[0].ack()
        channel.basic_ack(held[2].delivery_tag)
        with pytest.raises(DeliverySettledError):
            held[2].reject()
        held[4].ack()
        for multiple in (False, True):
            with pytest.raises(DeliverySettledError):
                channel.basic_ack(held[4].delivery_tag, multiple=multiple)
        held[5].nack(multiple=True, requeue=False)
        with pytest.raises(DeliverySettledError):
            held[3].ack(multiple=True)
        await channel.basic_qos(0)
        held[6].ack()
        await channel.basic_qos(0)
        assert await channel.get(queue) is None


async def test_a_rollback_makes_deliveries_unsettled_again(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2")
        await channel.tx_select()
        held = [await get(channel, queue) for _ in range(2)]
        channel.basic_ack(held[0].delivery_tag)
        await channel.tx_rollback()
        channel.basic_ack(held[0].delivery_tag)
        held[1].ack()
        await channel.tx_commit()


async def test_recover(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2", b"3")
        consumer = await channel.consume(queue)
        held = await take(consumer, 3)
        held[1].ack()
        await channel.basic_recover()
        for delivery in (held[0], held[2]):
            assert delivery.lost
            with pytest.raises(DeliverySettledError, match="recover"):
                delivery.ack()
        again = await take(consumer, 2)
        assert [delivery.body for delivery in again] == [b"1", b"3"]
        assert all(delivery.redelivered for delivery in again)
        for delivery in again:
            assert not delivery.lost
            delivery.ack()
        with pytest.raises(DeadlineExceeded):
            await consumer.get(0.05)
        assert await count(channel, queue) == 0


async def test_unsettled_deliveries_go_back_with_their_channel(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        queue = await exclusive_queue(channel, b"1", b"2")
        first = await get(channel, queue)
        await channel.close()
        assert first.lost
        with pytest.raises(ChannelClosedError):
            first.nack()
        other = await connection.channel()
        await has(other, queue, 2)
        again = await get(other, queue)
        assert again.body == b"1"
        assert again.redelivered


async def test_acks_leave_before_the_channel_closes(broker: BrokerUnderTest) -> None:
    for closes_connection in (False, True):
        async with shared_queue(broker, *[b"%d" % n for n in range(5)]) as queue:
            connection = await _ack_three(broker, queue, closes_connection)

            async with open_channel(broker) as channel:
                await has(channel, queue, 2)
                assert (await get(channel, queue)).body == b"3"
            await connection.close()


async def _ack_three(broker, queue, closes_connection):  # type: ignore[no-untyped-def]
    connection = await connect(broker.url)
    channel = await connection.channel()
    for delivery in await take(await channel.consume(queue), 3):
        delivery.ack()
    if closes_connection:
        await connection.close()
    else:
        await channel.close()
    return connection


async def test_acks_leave_by_themselves(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, b"1", b"2") as queue, open_channel(broker) as channel:
        consumer = await channel.consume(queue, prefetch=1)
        (await consumer.get()).ack()
        second = await consumer.get()  # the ack has left though nothing else was sent
        assert second.body == b"2"
        second.ack()

        async def is_empty() -> bool:
            return await channel.queue_purge(queue) == 0

        await eventually(is_empty)
