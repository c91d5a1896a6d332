# Made by tools/async_to_sync.py from conformance/asyncio/test_transactions.py: change it there.
"""Transactions, and the prefetch of a whole channel."""

from __future__ import annotations

import pytest

import leveret as client
from leveret import (
    ChannelClosedError,
    DeadlineExceeded,
    Delivery,
    NotFound,
    PreconditionFailed,
)

from ...support.brokers import BrokerUnderTest
from ...support.threads import Signal
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


def test_commit(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel, open_channel(broker) as other:
        queue = exclusive_queue(channel)
        channel.tx_select()
        channel.tx_select()
        channel.basic_publish(b"1", routing_key=queue)
        channel.basic_publish(b"2", routing_key=queue)
        assert count(channel, queue) == 0
        channel.tx_commit()
        assert count(channel, queue) == 2
        (get(channel, queue)).ack()
        channel.tx_commit()
        channel.tx_commit()
        assert count(channel, queue) == 1
        assert other.is_open


def test_rollback(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"1")
        channel.tx_select()
        channel.basic_publish(b"2", routing_key=queue)
        channel.tx_rollback()
        channel.tx_commit()
        assert count(channel, queue) == 1


def test_returns_come_with_the_commit(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        returned = Signal()
        channel.on_return = returned
        channel.tx_select()
        channel.basic_publish(b"1", routing_key=unique("nobody"), mandatory=True)
        channel.basic_qos(0)
        assert not returned.calls
        channel.tx_commit()
        (message,) = returned.next()
        assert message.body == b"1"


def test_commit_without_select(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        with pytest.raises(PreconditionFailed, match="channel is not transactional"):
            channel.tx_commit()
        channel = connection.channel()
        with pytest.raises(PreconditionFailed, match="channel is not transactional"):
            channel.tx_rollback()


def test_a_publish_that_fails_in_a_transaction(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel)
        missing = unique("none")
        channel.tx_select()
        channel.basic_publish(b"1", routing_key=queue)
        channel.basic_publish(b"2", missing)
        # the broker's close may come before the commit is sent, or instead of its answer
        with pytest.raises((NotFound, ChannelClosedError), match=f"no exchange '{missing}'"):
            channel.tx_commit()
        other = connection.channel()
        assert count(other, queue) == 0


def test_global_qos(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        first_queue = exclusive_queue(channel, *[b"1"] * 4)
        second_queue = exclusive_queue(channel, *[b"2"] * 4)
        channel.basic_qos(2, global_=True)
        consumers = [channel.consume(queue) for queue in (first_queue, second_queue)]
        held = _all_that_comes(consumers)
        assert len(held) == GLOBAL_QOS[broker.name]
        held[0].ack()
        assert len(_all_that_comes(consumers)) == 1


def _all_that_comes(consumers: list[client.Consumer]) -> list[Delivery]:
    held = []
    for consumer in consumers:
        with pytest.raises(DeadlineExceeded):
            while True:
                held.append(consumer.get(0.1))
    return held


def test_qos_of_each_consumer(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queues = [exclusive_queue(channel, *[b""] * 4) for _ in range(2)]
        channel.basic_qos(1)
        for queue in queues:
            consumer = channel.consume(queue)
            take(consumer, 1)
            with pytest.raises(DeadlineExceeded):
                consumer.get(0.05)
