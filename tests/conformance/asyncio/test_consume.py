"""Consuming: iterating, prefetch, the ends that a consumer can come to, callbacks."""

from __future__ import annotations

import gc
import logging

import pytest

from leveret import (
    AccessRefused,
    ChannelClosedError,
    ConfigurationError,
    ConnectionLost,
    ConsumerCancelled,
    DeadlineExceeded,
    Delivery,
    LocalProtocolError,
    NotFound,
    PreconditionFailed,
)

from ...support.brokers import BrokerUnderTest
from ...support.proxy import Proxy
from ...support.tasks import Signal, eventually, start
from .helpers import (
    connect,
    count,
    exclusive_queue,
    fill,
    get,
    has,
    open_channel,
    open_connection,
    shared_queue,
    take,
    unique,
)


async def test_consumers_that_start_at_once_have_their_own_prefetch(
    broker: BrokerUnderTest,
) -> None:
    async with open_channel(broker) as channel:
        queues = [await exclusive_queue(channel, *[b""] * 20) for _ in range(2)]
        starting = [
            start(channel.consume, queue, prefetch=prefetch)
            for queue, prefetch in zip(queues, (1, 10), strict=True)
        ]
        consumers = [await each.result(10) for each in starting]
        for consumer, prefetch in zip(consumers, (1, 10), strict=True):
            await take(consumer, prefetch)
            with pytest.raises(DeadlineExceeded):
                await consumer.get(timeout=0.2)


async def test_iterating(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2", b"3")
        consumer = await channel.consume(queue)
        assert consumer.queue == queue
        assert consumer.consumer_tag.startswith("amq.ctag-")
        assert consumer.is_active
        bodies = []
        async for delivery in consumer:
            assert delivery.consumer_tag == consumer.consumer_tag
            assert delivery.delivery_tag == len(bodies) + 1
            assert delivery.message_count is None
            assert (delivery.exchange, delivery.routing_key) == ("", queue)
            assert not delivery.redelivered
            assert not delivery.lost
            bodies.append(delivery.body)
            delivery.ack()
            if len(bodies) == 3:
                await consumer.cancel()
        assert bodies == [b"1", b"2", b"3"]
        assert not consumer.is_active
        assert await count(channel, queue) == 0
        assert "ended" in repr(consumer)
        await consumer.cancel()


async def test_a_delivery_wakes_who_waits(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        consumer = await channel.consume(queue)
        waiting = start(consumer.get)
        await channel.publish(b"now", routing_key=queue)
        assert (await waiting.result()).body == b"now"


async def test_get_has_a_deadline(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        consumer = await channel.consume(queue)
        with pytest.raises(DeadlineExceeded, match="delivery"):
            await consumer.get(0.05)
        with pytest.raises(DeadlineExceeded):
            await consumer.get(0)
        await channel.publish(b"later", routing_key=queue)
        assert (await consumer.get()).body == b"later"
        await consumer.cancel()
        with pytest.raises(LocalProtocolError, match="was cancelled"):
            await consumer.get()
        await channel.close()
        with pytest.raises(LocalProtocolError, match="was cancelled"):  # it was, before
            await consumer.get()


@pytest.mark.parametrize("whole", [False, True], ids=["channel", "connection"])
async def test_get_says_what_this_program_has_closed(broker: BrokerUnderTest, whole: bool) -> None:
    words = "channel 1 was closed" + (" with its connection" if whole else "")
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        consumer = await channel.consume(await exclusive_queue(channel))
        waiting = start(consumer.get)
        with pytest.raises(DeadlineExceeded):  # so that it waits
            await consumer.get(0.05)
        await (connection if whole else channel).close()
        for get_one in (waiting.result, consumer.get):
            with pytest.raises(ChannelClosedError, match=f"^{words}$") as caught:
                await get_one(10)
            assert caught.value.reason is None
        assert [each async for each in consumer] == []


async def test_prefetch_is_honoured(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b"%d" % n for n in range(10)])
        consumer = await channel.consume(queue, prefetch=3)
        held = await take(consumer, 3)
        with pytest.raises(DeadlineExceeded):
            await consumer.get(0.05)
        assert await count(channel, queue) == 7
        held[1].ack()
        fourth = await consumer.get()
        assert fourth.body == b"3"
        with pytest.raises(DeadlineExceeded):
            await consumer.get(0.05)
        fourth.ack(multiple=True)
        await take(consumer, 3)
        assert await count(channel, queue) == 3


async def test_the_default_prefetch_is_100(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b""] * 120)
        consumer = await channel.consume(queue)
        await take(consumer, 100)
        with pytest.raises(DeadlineExceeded):
            await consumer.get(0.05)
        assert await count(channel, queue) == 20


async def test_basic_qos_sets_the_default_of_later_consumers(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b""] * 12)
        await channel.basic_qos(2)
        first = await channel.consume(queue)
        await take(first, 2)
        second = await channel.consume(queue, prefetch=5)
        await take(second, 5)
        third = await channel.consume(queue)
        await take(third, 5)
        for consumer in (first, second, third):
            with pytest.raises(DeadlineExceeded):
                await consumer.get(0.02)


async def test_no_prefetch_limit(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b""] * 300)
        consumer = await channel.consume(queue, prefetch=0)
        assert len(await take(consumer, 300)) == 300
        with pytest.raises(ConfigurationError):
            await channel.consume(queue, prefetch=-1)
        with pytest.raises(ConfigurationError):
            await channel.consume(queue, prefetch=65536)


async def test_cancel_gives_back_what_nobody_looked_at(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b"%d" % n for n in range(5)])
        consumer = await channel.consume(queue)
        first = await consumer.get()
        await has(channel, queue, 0)
        await consumer.cancel()
        await has(channel, queue, 4)
        first.ack()  # what was looked at is still the consumer's
        bodies = []
        for _ in range(4):
            delivery = await get(channel, queue, no_ack=True)
            assert delivery.redelivered
            bodies.append(delivery.body)
        assert bodies == [b"1", b"2", b"3", b"4"]


async def test_leaving_the_block_cancels(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2")
        async with await channel.consume(queue) as consumer:
            (await consumer.get()).ack()
        assert not consumer.is_active
        await has(channel, queue, 1)
        declared = await channel.queue_declare(queue, passive=True)
        assert declared.consumer_count == 0


async def test_a_consumer_that_is_dropped_gives_back(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2", b"3")
        consumer = await channel.consume(queue)
        first = await consumer.get()
        await has(channel, queue, 0)
        del consumer
        gc.collect()
        await has(channel, queue, 2)
        declared = await channel.queue_declare(queue, passive=True)
        assert declared.consumer_count == 0
        first.ack()
        assert channel.is_open


async def test_the_broker_cancels(broker: BrokerUnderTest) -> None:
    async with (
        shared_queue(broker, b"1", b"2") as queue,
        open_channel(broker) as other,
        open_channel(broker) as channel,
    ):
        consumer = await channel.consume(queue)
        first = await consumer.get()
        await has(other, queue, 0)
        await other.queue_delete(queue)
        waiting = start(take, consumer, 2)
        with pytest.raises(ConsumerCancelled) as caught:
            await waiting.result()
        assert caught.value.queue == queue
        assert caught.value.consumer_tag == consumer.consumer_tag
        assert caught.value.retryable
        assert not consumer.is_active
        with pytest.raises(ConsumerCancelled):
            await consumer.get()
        first.ack()
        await consumer.cancel()
        await exclusive_queue(channel)  # the channel lives on


async def test_what_came_before_a_cancel_of_the_broker_is_given_first(
    broker: BrokerUnderTest,
) -> None:
    async with (
        shared_queue(broker, b"1", b"2") as queue,
        open_channel(broker) as other,
        open_channel(broker) as channel,
    ):
        consumer = await channel.consume(queue)
        await has(other, queue, 0)
        await other.queue_delete(queue)
        bodies = []
        with pytest.raises(ConsumerCancelled):
            async for delivery in consumer:
                bodies.append(delivery.body)
        assert bodies == [b"1", b"2"]


async def test_the_consumer_of_a_closed_channel(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        queue = await exclusive_queue(channel, b"1", b"2")
        consumer = await channel.consume(queue)
        first = await consumer.get()
        await channel.close()
        assert first.lost
        assert [delivery async for delivery in consumer] == []  # an end that was asked for
        with pytest.raises(ChannelClosedError):
            first.ack()
        other = await connection.channel()
        await has(other, queue, 2)


async def test_the_consumer_of_a_lost_connection(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, b"1", b"2") as queue, open_channel(broker) as other:
        with Proxy(broker.url) as proxy:
            connection = await connect(proxy.url)
            channel = await connection.channel()
            consumer = await channel.consume(queue)
            first = await consumer.get()
            second = await consumer.get()
            waiting = start(consumer.get)
            proxy.cut()
            with pytest.raises(ChannelClosedError) as caught:
                await waiting.result(2)
            assert isinstance(caught.value.reason, ConnectionLost)
            assert first.lost
            with pytest.raises(ChannelClosedError):
                second.ack()
            await connection.close()
        await has(other, queue, 2)


async def test_exclusive_consumers(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue, open_connection(broker) as connection:
        first = await connection.channel()
        consumer = await first.consume(queue, exclusive=True)
        second = await connection.channel()
        with pytest.raises(AccessRefused, match=f"queue '{queue}' .* in exclusive use"):
            await second.consume(queue)
        await consumer.cancel()
        third = await connection.channel()
        consumer = await third.consume(queue)
        fourth = await connection.channel()
        with pytest.raises(AccessRefused, match="in exclusive use"):
            await fourth.consume(queue, exclusive=True)
        await consumer.cancel()


async def test_no_ack(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, *[b"%d" % n for n in range(5)])
        consumer = await channel.consume(queue, no_ack=True, prefetch=1)
        first = await consumer.get()
        assert first.body == b"0"
        with pytest.raises(LocalProtocolError, match="no_ack"):
            first.ack()
        await has(channel, queue, 0)
        await consumer.cancel()
        # there is no way back, so what came may still be taken
        assert [delivery.body async for delivery in consumer] == [b"1", b"2", b"3", b"4"]
        assert not first.lost


async def test_consumers_share_a_queue(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        consumers = [await channel.consume(queue, prefetch=1) for _ in range(3)]
        for number in range(3):
            await channel.publish(b"%d" % number, routing_key=queue)
        bodies = {(await consumer.get()).body for consumer in consumers}
        assert bodies == {b"0", b"1", b"2"}


async def test_consumer_priorities(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        low = await channel.consume(queue, prefetch=1, arguments={"x-priority": 1})
        high = await channel.consume(queue, prefetch=1, arguments={"x-priority": 9})
        await channel.publish(b"first", routing_key=queue)
        await channel.publish(b"second", routing_key=queue)
        assert (await high.get()).body == b"first"
        assert (await low.get()).body == b"second"
        with pytest.raises(PreconditionFailed, match="x-priority"):
            await channel.consume(queue, arguments={"x-priority": "high"})


async def test_tags_of_the_callers(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        consumer = await channel.consume(queue, consumer_tag="häschen")
        assert consumer.consumer_tag == "häschen"
        await channel.basic_cancel("häschen")
        assert not consumer.is_active
        await channel.basic_cancel("nobody")  # no error
        consumer = await channel.consume(queue, consumer_tag="häschen")
        await channel.publish(b"again", routing_key=queue)
        assert (await consumer.get()).body == b"again"


async def test_callbacks(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2", b"3")
        seen = Signal()

        def callback(delivery: Delivery) -> None:
            delivery.ack()
            seen(delivery.body)

        consumer = await channel.basic_consume(queue, callback)
        assert [await seen.next() for _ in range(3)] == [(b"1",), (b"2",), (b"3",)]
        await channel.publish(b"4", routing_key=queue)
        assert await seen.next() == (b"4",)
        await consumer.cancel()
        await fill(channel, queue, b"5")
        assert len(seen.calls) == 4


async def test_callbacks_that_wait(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        results = await exclusive_queue(channel)

        async def callback(delivery: Delivery) -> None:
            await channel.publish(delivery.body.upper(), routing_key=results)
            delivery.ack()

        consumer = await channel.basic_consume(queue, callback)
        for body in (b"a", b"b"):
            await channel.publish(body, routing_key=queue)
            assert (await get(channel, results)).body == body.upper()
        await consumer.cancel()


async def test_a_callback_that_raises_is_logged_and_goes_on(
    broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"bad", b"good")
        seen = Signal()

        def callback(delivery: Delivery) -> None:
            if delivery.body == b"bad":
                raise RuntimeError("cannot digest this")
            delivery.ack()
            seen(delivery.body)

        consumer = await channel.basic_consume(queue, callback)
        assert await seen.next() == (b"good",)
        assert "cannot digest this" in caplog.text
        assert channel.is_open
        await consumer.cancel()
    async with open_channel(broker) as channel:
        assert channel.is_open


async def test_an_unsettled_delivery_of_a_callback_comes_back(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, b"once") as queue:
        async with open_channel(broker) as channel:
            seen = Signal()
            consumer = await channel.basic_consume(queue, seen)
            (first,) = await seen.next()
            assert not first.redelivered
            assert consumer.is_active
        async with open_channel(broker) as channel:
            again = await get(channel, queue)
            assert again.redelivered
            again.ack()


async def test_the_end_of_a_callback_consumer_is_logged(
    broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    async with shared_queue(broker) as queue, open_channel(broker) as channel:
        consumer = await channel.basic_consume(queue, Signal(), consumer_tag=unique("tag"))
        async with open_channel(broker) as other:
            await other.queue_delete(queue)
        with pytest.raises(ConsumerCancelled):
            await consumer.get()
        # the callback's thread or task logs it, and no sooner than it gets its turn
        await eventually(lambda: "cancelled consumer" in caplog.text)


async def test_on_cancel(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        ended, cancelled, late = Signal(), Signal(), Signal()
        queue = await exclusive_queue(channel)
        consumer = await channel.basic_consume(queue, Signal())
        consumer.on_cancel = ended
        mine = await channel.basic_consume(queue, Signal())
        mine.on_cancel = cancelled
        await mine.cancel()
        await channel.queue_delete(queue)
        (reason,) = await ended.next()
        assert isinstance(reason, ConsumerCancelled)
        consumer.on_cancel = late
        assert await late.next() == (reason,)

        consumer = await channel.consume(await exclusive_queue(channel))
        consumer.on_cancel = ended
        await channel.close()
        assert await ended.next() == (None,)

        channel = await connection.channel()
        consumer = await channel.consume(await exclusive_queue(channel))
        consumer.on_cancel = ended
        with pytest.raises(NotFound):
            await channel.queue_declare(unique("none"), passive=True)
        (reason,) = await ended.next()
        assert isinstance(reason, NotFound)
        assert not cancelled.calls
        assert len(ended.calls) == 3


async def test_many_messages_in_order(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel, open_channel(broker) as other:
        queue = unique("queue")
        await channel.queue_declare(queue, durable=True)
        consumer = await channel.consume(queue, prefetch=50)

        async def publish() -> None:
            async with other.publisher(max_in_flight=100) as publisher:
                for number in range(2000):
                    await publisher.publish(b"%d" % number, routing_key=queue, persistent=False)

        publishing = start(publish)
        for number in range(2000):
            delivery = await consumer.get()
            assert delivery.body == b"%d" % number
            delivery.ack()
        await publishing.result()
        await consumer.cancel()
        assert await channel.queue_delete(queue) == 0
