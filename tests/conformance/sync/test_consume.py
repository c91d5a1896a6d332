# Made by tools/async_to_sync.py from conformance/asyncio/test_consume.py: change it there.
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
from ...support.threads import Signal, eventually, start
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


def test_consumers_that_start_at_once_have_their_own_prefetch(
    broker: BrokerUnderTest,
) -> None:
    with open_channel(broker) as channel:
        queues = [exclusive_queue(channel, *[b""] * 20) for _ in range(2)]
        starting = [
            start(channel.consume, queue, prefetch=prefetch)
            for queue, prefetch in zip(queues, (1, 10), strict=True)
        ]
        consumers = [each.result(10) for each in starting]
        for consumer, prefetch in zip(consumers, (1, 10), strict=True):
            take(consumer, prefetch)
            with pytest.raises(DeadlineExceeded):
                consumer.get(timeout=0.2)


def test_iterating(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2", b"3")
        consumer = channel.consume(queue)
        assert consumer.queue == queue
        assert consumer.consumer_tag.startswith("amq.ctag-")
        assert consumer.is_active
        bodies = []
        for delivery in consumer:
            assert delivery.consumer_tag == consumer.consumer_tag
            assert delivery.delivery_tag == len(bodies) + 1
            assert delivery.message_count is None
            assert (delivery.exchange, delivery.routing_key) == ("", queue)
            assert not delivery.redelivered
            assert not delivery.lost
            bodies.append(delivery.body)
            delivery.ack()
            if len(bodies) == 3:
                consumer.cancel()
        assert bodies == [b"1", b"2", b"3"]
        assert not consumer.is_active
        assert count(channel, queue) == 0
        assert "ended" in repr(consumer)
        consumer.cancel()


def test_a_delivery_wakes_who_waits(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        consumer = channel.consume(queue)
        waiting = start(consumer.get)
        channel.publish(b"now", routing_key=queue)
        assert (waiting.result()).body == b"now"


def test_get_has_a_deadline(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        consumer = channel.consume(queue)
        with pytest.raises(DeadlineExceeded, match="delivery"):
            consumer.get(0.05)
        with pytest.raises(DeadlineExceeded):
            consumer.get(0)
        channel.publish(b"later", routing_key=queue)
        assert (consumer.get()).body == b"later"
        consumer.cancel()
        with pytest.raises(LocalProtocolError, match="was cancelled"):
            consumer.get()
        channel.close()
        with pytest.raises(LocalProtocolError, match="was cancelled"):  # it was, before
            consumer.get()


@pytest.mark.parametrize("whole", [False, True], ids=["channel", "connection"])
def test_get_says_what_this_program_has_closed(broker: BrokerUnderTest, whole: bool) -> None:
    words = "channel 1 was closed" + (" with its connection" if whole else "")
    with open_connection(broker) as connection:
        channel = connection.channel()
        consumer = channel.consume(exclusive_queue(channel))
        waiting = start(consumer.get)
        with pytest.raises(DeadlineExceeded):  # so that it waits
            consumer.get(0.05)
        (connection if whole else channel).close()
        for get_one in (waiting.result, consumer.get):
            with pytest.raises(ChannelClosedError, match=f"^{words}$") as caught:
                get_one(10)
            assert caught.value.reason is None
        assert [each for each in consumer] == []


def test_prefetch_is_honoured(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b"%d" % n for n in range(10)])
        consumer = channel.consume(queue, prefetch=3)
        held = take(consumer, 3)
        with pytest.raises(DeadlineExceeded):
            consumer.get(0.05)
        assert count(channel, queue) == 7
        held[1].ack()
        fourth = consumer.get()
        assert fourth.body == b"3"
        with pytest.raises(DeadlineExceeded):
            consumer.get(0.05)
        fourth.ack(multiple=True)
        take(consumer, 3)
        assert count(channel, queue) == 3


def test_the_default_prefetch_is_100(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b""] * 120)
        consumer = channel.consume(queue)
        take(consumer, 100)
        with pytest.raises(DeadlineExceeded):
            consumer.get(0.05)
        assert count(channel, queue) == 20


def test_basic_qos_sets_the_default_of_later_consumers(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b""] * 12)
        channel.basic_qos(2)
        first = channel.consume(queue)
        take(first, 2)
        second = channel.consume(queue, prefetch=5)
        take(second, 5)
        third = channel.consume(queue)
        take(third, 5)
        for consumer in (first, second, third):
            with pytest.raises(DeadlineExceeded):
                consumer.get(0.02)


def test_no_prefetch_limit(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b""] * 300)
        consumer = channel.consume(queue, prefetch=0)
        assert len(take(consumer, 300)) == 300
        with pytest.raises(ConfigurationError):
            channel.consume(queue, prefetch=-1)
        with pytest.raises(ConfigurationError):
            channel.consume(queue, prefetch=65536)


def test_cancel_gives_back_what_nobody_looked_at(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b"%d" % n for n in range(5)])
        consumer = channel.consume(queue)
        first = consumer.get()
        has(channel, queue, 0)
        consumer.cancel()
        has(channel, queue, 4)
        first.ack()  # what was looked at is still the consumer's
        bodies = []
        for _ in range(4):
            delivery = get(channel, queue, no_ack=True)
            assert delivery.redelivered
            bodies.append(delivery.body)
        assert bodies == [b"1", b"2", b"3", b"4"]


def test_leaving_the_block_cancels(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2")
        with channel.consume(queue) as consumer:
            (consumer.get()).ack()
        assert not consumer.is_active
        has(channel, queue, 1)
        declared = channel.queue_declare(queue, passive=True)
        assert declared.consumer_count == 0


def test_a_consumer_that_is_dropped_gives_back(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2", b"3")
        consumer = channel.consume(queue)
        first = consumer.get()
        has(channel, queue, 0)
        del consumer
        gc.collect()
        has(channel, queue, 2)
        declared = channel.queue_declare(queue, passive=True)
        assert declared.consumer_count == 0
        first.ack()
        assert channel.is_open


def test_the_broker_cancels(broker: BrokerUnderTest) -> None:
    with (
        shared_queue(broker, b"1", b"2") as queue,
        open_channel(broker) as other,
        open_channel(broker) as channel,
    ):
        consumer = channel.consume(queue)
        first = consumer.get()
        has(other, queue, 0)
        other.queue_delete(queue)
        waiting = start(take, consumer, 2)
        with pytest.raises(ConsumerCancelled) as caught:
            waiting.result()
        assert caught.value.queue == queue
        assert caught.value.consumer_tag == consumer.consumer_tag
        assert caught.value.retryable
        assert not consumer.is_active
        with pytest.raises(ConsumerCancelled):
            consumer.get()
        first.ack()
        consumer.cancel()
        exclusive_queue(channel)  # the channel lives on


def test_what_came_before_a_cancel_of_the_broker_is_given_first(
    broker: BrokerUnderTest,
) -> None:
    with (
        shared_queue(broker, b"1", b"2") as queue,
        open_channel(broker) as other,
        open_channel(broker) as channel,
    ):
        consumer = channel.consume(queue)
        has(other, queue, 0)
        other.queue_delete(queue)
        bodies = []
        with pytest.raises(ConsumerCancelled):
            for delivery in consumer:
                bodies.append(delivery.body)
        assert bodies == [b"1", b"2"]


def test_the_consumer_of_a_closed_channel(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel, b"1", b"2")
        consumer = channel.consume(queue)
        first = consumer.get()
        channel.close()
        assert first.lost
        assert [delivery for delivery in consumer] == []  # an end that was asked for
        with pytest.raises(ChannelClosedError):
            first.ack()
        other = connection.channel()
        has(other, queue, 2)


def test_the_consumer_of_a_lost_connection(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"1", b"2") as queue, open_channel(broker) as other:
        with Proxy(broker.url) as proxy:
            connection = connect(proxy.url)
            channel = connection.channel()
            consumer = channel.consume(queue)
            first = consumer.get()
            second = consumer.get()
            waiting = start(consumer.get)
            proxy.cut()
            with pytest.raises(ChannelClosedError) as caught:
                waiting.result(2)
            assert isinstance(caught.value.reason, ConnectionLost)
            assert first.lost
            with pytest.raises(ChannelClosedError):
                second.ack()
            connection.close()
        has(other, queue, 2)


def test_exclusive_consumers(broker: BrokerUnderTest) -> None:
    with shared_queue(broker) as queue, open_connection(broker) as connection:
        first = connection.channel()
        consumer = first.consume(queue, exclusive=True)
        second = connection.channel()
        with pytest.raises(AccessRefused, match=f"queue '{queue}' .* in exclusive use"):
            second.consume(queue)
        consumer.cancel()
        third = connection.channel()
        consumer = third.consume(queue)
        fourth = connection.channel()
        with pytest.raises(AccessRefused, match="in exclusive use"):
            fourth.consume(queue, exclusive=True)
        consumer.cancel()


def test_no_ack(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b"%d" % n for n in range(5)])
        consumer = channel.consume(queue, no_ack=True, prefetch=1)
        first = consumer.get()
        assert first.body == b"0"
        with pytest.raises(LocalProtocolError, match="no_ack"):
            first.ack()
        has(channel, queue, 0)
        consumer.cancel()
        # there is no way back, so what came may still be taken
        assert [delivery.body for delivery in consumer] == [b"1", b"2", b"3", b"4"]
        assert not first.lost


def test_consumers_share_a_queue(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        consumers = [channel.consume(queue, prefetch=1) for _ in range(3)]
        for number in range(3):
            channel.publish(b"%d" % number, routing_key=queue)
        bodies = {(consumer.get()).body for consumer in consumers}
        assert bodies == {b"0", b"1", b"2"}


def test_consumer_priorities(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        low = channel.consume(queue, prefetch=1, arguments={"x-priority": 1})
        high = channel.consume(queue, prefetch=1, arguments={"x-priority": 9})
        channel.publish(b"first", routing_key=queue)
        channel.publish(b"second", routing_key=queue)
        assert (high.get()).body == b"first"
        assert (low.get()).body == b"second"
        with pytest.raises(PreconditionFailed, match="x-priority"):
            channel.consume(queue, arguments={"x-priority": "high"})


def test_tags_of_the_callers(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        consumer = channel.consume(queue, consumer_tag="häschen")
        assert consumer.consumer_tag == "häschen"
        channel.basic_cancel("häschen")
        assert not consumer.is_active
        channel.basic_cancel("nobody")  # no error
        consumer = channel.consume(queue, consumer_tag="häschen")
        channel.publish(b"again", routing_key=queue)
        assert (consumer.get()).body == b"again"


def test_callbacks(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2", b"3")
        seen = Signal()

        def callback(delivery: Delivery) -> None:
            delivery.ack()
            seen(delivery.body)

        consumer = channel.basic_consume(queue, callback)
        assert [seen.next() for _ in range(3)] == [(b"1",), (b"2",), (b"3",)]
        channel.publish(b"4", routing_key=queue)
        assert seen.next() == (b"4",)
        consumer.cancel()
        fill(channel, queue, b"5")
        assert len(seen.calls) == 4


def test_callbacks_that_wait(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        results = exclusive_queue(channel)

        def callback(delivery: Delivery) -> None:
            channel.publish(delivery.body.upper(), routing_key=results)
            delivery.ack()

        consumer = channel.basic_consume(queue, callback)
        for body in (b"a", b"b"):
            channel.publish(body, routing_key=queue)
            assert (get(channel, results)).body == body.upper()
        consumer.cancel()


def test_a_callback_that_raises_is_logged_and_goes_on(
    broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.ERROR)
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"bad", b"good")
        seen = Signal()

        def callback(delivery: Delivery) -> None:
            if delivery.body == b"bad":
                raise RuntimeError("cannot digest this")
            delivery.ack()
            seen(delivery.body)

        consumer = channel.basic_consume(queue, callback)
        assert seen.next() == (b"good",)
        assert "cannot digest this" in caplog.text
        assert channel.is_open
        consumer.cancel()
    with open_channel(broker) as channel:
        assert channel.is_open


def test_an_unsettled_delivery_of_a_callback_comes_back(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"once") as queue:
        with open_channel(broker) as channel:
            seen = Signal()
            consumer = channel.basic_consume(queue, seen)
            (first,) = seen.next()
            assert not first.redelivered
            assert consumer.is_active
        with open_channel(broker) as channel:
            again = get(channel, queue)
            assert again.redelivered
            again.ack()


def test_the_end_of_a_callback_consumer_is_logged(
    broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    with shared_queue(broker) as queue, open_channel(broker) as channel:
        consumer = channel.basic_consume(queue, Signal(), consumer_tag=unique("tag"))
        with open_channel(broker) as other:
            other.queue_delete(queue)
        with pytest.raises(ConsumerCancelled):
            consumer.get()
        # the callback's thread or task logs it, and no sooner than it gets its turn
        eventually(lambda: "cancelled consumer" in caplog.text)


def test_on_cancel(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        ended, cancelled, late = Signal(), Signal(), Signal()
        queue = exclusive_queue(channel)
        consumer = channel.basic_consume(queue, Signal())
        consumer.on_cancel = ended
        mine = channel.basic_consume(queue, Signal())
        mine.on_cancel = cancelled
        mine.cancel()
        channel.queue_delete(queue)
        (reason,) = ended.next()
        assert isinstance(reason, ConsumerCancelled)
        consumer.on_cancel = late
        assert late.next() == (reason,)

        consumer = channel.consume(exclusive_queue(channel))
        consumer.on_cancel = ended
        channel.close()
        assert ended.next() == (None,)

        channel = connection.channel()
        consumer = channel.consume(exclusive_queue(channel))
        consumer.on_cancel = ended
        with pytest.raises(NotFound):
            channel.queue_declare(unique("none"), passive=True)
        (reason,) = ended.next()
        assert isinstance(reason, NotFound)
        assert not cancelled.calls
        assert len(ended.calls) == 3


def test_many_messages_in_order(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel, open_channel(broker) as other:
        queue = unique("queue")
        channel.queue_declare(queue, durable=True)
        consumer = channel.consume(queue, prefetch=50)

        def publish() -> None:
            with other.publisher(max_in_flight=100) as publisher:
                for number in range(2000):
                    publisher.publish(b"%d" % number, routing_key=queue, persistent=False)

        publishing = start(publish)
        for number in range(2000):
            delivery = consumer.get()
            assert delivery.body == b"%d" % number
            delivery.ack()
        publishing.result()
        consumer.cancel()
        assert channel.queue_delete(queue) == 0
