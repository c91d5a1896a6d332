# Made by tools/async_to_sync.py from conformance/asyncio/test_settle.py: change it there.
"""Getting and settling: ack, nack, reject, recover, and what cannot be settled."""

from __future__ import annotations

import pytest

from leveret import (
    ChannelClosedError,
    DeadlineExceeded,
    DeliverySettledError,
)

from ...support.brokers import BrokerUnderTest
from ...support.threads import eventually
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


def test_get(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        assert channel.get(queue) is None
        assert channel.basic_get(queue) is None
        channel.publish(b"1", routing_key=queue)
        channel.publish(b"2", routing_key=queue)
        first = get(channel, queue)
        assert first.body == b"1"
        assert first.message_count == 1
        assert first.consumer_tag is None
        assert first.delivery_tag == 1
        assert not first.lost
        second = get(channel, queue, no_ack=True)
        assert second.message_count == 0
        first.ack()
        with pytest.raises(DeliverySettledError, match="no_ack"):
            second.ack()
        assert channel.get(queue) is None


def test_settling_twice(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2", b"3")
        consumer = channel.consume(queue)
        first, second, third = take(consumer, 3)
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
        assert count(channel, queue) == 0
        assert channel.is_open  # nothing was sent


def test_out_of_order(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, *[b"%d" % n for n in range(10)]) as queue:
        with open_channel(broker) as channel:
            consumer = channel.consume(queue)
            held = take(consumer, 10)
            for number in (9, 0, 4, 2, 1, 7):
                held[number].ack()
            channel.basic_qos(0)  # in order behind the acks
        with open_channel(broker) as channel:
            left = [get(channel, queue, no_ack=True) for _ in range(4)]
            assert [delivery.body for delivery in left] == [b"3", b"5", b"6", b"8"]
            assert all(delivery.redelivered for delivery in left)
            assert channel.get(queue) is None


def test_multiple(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, *[b"%d" % n for n in range(8)]) as queue:
        with open_channel(broker) as channel:
            consumer = channel.consume(queue)
            held = take(consumer, 8)
            held[2].ack(multiple=True)
            held[4].nack(multiple=True, requeue=False)
            held[6].ack()
        with open_channel(broker) as channel:
            left = [get(channel, queue, no_ack=True) for _ in range(2)]
            assert [delivery.body for delivery in left] == [b"5", b"7"]
            assert channel.get(queue) is None


def test_by_tag(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b"%d" % n for n in range(6)])
        held = [get(channel, queue) for _ in range(6)]
        channel.basic_ack(held[0].delivery_tag)
        channel.basic_nack(held[2].delivery_tag, multiple=True, requeue=False)
        channel.basic_reject(held[3].delivery_tag, requeue=True)
        back = get(channel, queue)
        assert back.body == b"3"
        assert back.redelivered
        channel.basic_ack(0, multiple=True)
        channel.basic_qos(0)
        assert channel.get(queue) is None
    with open_channel(broker) as channel:
        channel.basic_ack(0, multiple=True)  # all of none
        channel.basic_qos(0)


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_requeue(broker: BrokerUnderTest, how: str) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2")
        delivery = get(channel, queue)
        assert not delivery.redelivered
        if how == "nack":
            delivery.nack()
        else:
            delivery.reject(requeue=True)
        again = get(channel, queue)
        assert again.body == b"1"  # to its old place
        assert again.redelivered
        assert again.delivery_tag == 2


@pytest.mark.parametrize("how", ["nack", "reject"])
def test_refusing_without_requeue_drops_or_dead_letters(
    broker: BrokerUnderTest, how: str
) -> None:
    with open_channel(broker) as channel:
        dead = exclusive_queue(channel)
        queue = exclusive_queue(
            channel,
            b"1",
            **{"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead},
        )
        delivery = get(channel, queue)
        if how == "nack":
            delivery.nack(requeue=False)
        else:
            delivery.reject(requeue=False)
        letter = get(channel, dead)
        assert letter.body == b"1"
        deaths = letter.headers["x-death"]
        assert isinstance(deaths, list)
        assert deaths[0]["reason"] == "rejected"
        assert letter.headers["x-first-death-queue"] == queue


@pytest.mark.parametrize("tag", [0, 42])
def test_a_tag_that_nobody_has(broker: BrokerUnderTest, tag: int) -> None:
    with open_channel(broker) as channel:
        for settle in (channel.basic_ack, channel.basic_nack, channel.basic_reject):
            with pytest.raises(DeliverySettledError, match=f"delivery {tag} "):
                settle(tag)
        if tag:
            for settle_all in (channel.basic_ack, channel.basic_nack):
                with pytest.raises(DeliverySettledError, match=f"delivery {tag} "):
                    settle_all(tag, multiple=True)
        channel.basic_qos(0)  # it lives


def test_settling_twice_by_another_route_leaves_the_channel_open(
    broker: BrokerUnderTest,
) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b"%d" % n for n in range(7)])
        held = [get(channel, queue) for _ in range(7)]
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
        channel.basic_qos(0)
        held[6].ack()
        channel.basic_qos(0)
        assert channel.get(queue) is None


def test_a_rollback_makes_deliveries_unsettled_again(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2")
        channel.tx_select()
        held = [get(channel, queue) for _ in range(2)]
        channel.basic_ack(held[0].delivery_tag)
        channel.tx_rollback()
        channel.basic_ack(held[0].delivery_tag)
        held[1].ack()
        channel.tx_commit()


def test_recover(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1", b"2", b"3")
        consumer = channel.consume(queue)
        held = take(consumer, 3)
        held[1].ack()
        channel.basic_recover()
        for delivery in (held[0], held[2]):
            assert delivery.lost
            with pytest.raises(DeliverySettledError, match="recover"):
                delivery.ack()
        again = take(consumer, 2)
        assert [delivery.body for delivery in again] == [b"1", b"3"]
        assert all(delivery.redelivered for delivery in again)
        for delivery in again:
            assert not delivery.lost
            delivery.ack()
        with pytest.raises(DeadlineExceeded):
            consumer.get(0.05)
        assert count(channel, queue) == 0


def test_unsettled_deliveries_go_back_with_their_channel(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel, b"1", b"2")
        first = get(channel, queue)
        channel.close()
        assert first.lost
        with pytest.raises(ChannelClosedError):
            first.nack()
        other = connection.channel()
        has(other, queue, 2)
        again = get(other, queue)
        assert again.body == b"1"
        assert again.redelivered


def test_acks_leave_before_the_channel_closes(broker: BrokerUnderTest) -> None:
    for closes_connection in (False, True):
        with shared_queue(broker, *[b"%d" % n for n in range(5)]) as queue:
            connection = _ack_three(broker, queue, closes_connection)

            with open_channel(broker) as channel:
                has(channel, queue, 2)
                assert (get(channel, queue)).body == b"3"
            connection.close()


def _ack_three(broker, queue, closes_connection):  # type: ignore[no-untyped-def]
    connection = connect(broker.url)
    channel = connection.channel()
    for delivery in take(channel.consume(queue), 3):
        delivery.ack()
    if closes_connection:
        connection.close()
    else:
        channel.close()
    return connection


def test_acks_leave_by_themselves(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"1", b"2") as queue, open_channel(broker) as channel:
        consumer = channel.consume(queue, prefetch=1)
        (consumer.get()).ack()
        second = consumer.get()  # the ack has left though nothing else was sent
        assert second.body == b"2"
        second.ack()

        def is_empty() -> bool:
            return channel.queue_purge(queue) == 0

        eventually(is_empty)
