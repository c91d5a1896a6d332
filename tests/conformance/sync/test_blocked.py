# Made by tools/async_to_sync.py from conformance/asyncio/test_blocked.py: change it there.
"""A broker that takes no publishes: what is told, what waits, what goes on."""

from __future__ import annotations

import pytest

from leveret import (
    BlockedTimeout,
    ChannelClosedError,
    ConnectionClosedError,
    DeadlineExceeded,
    Outcome,
    PublishNotSent,
)

from ...support.brokers import BrokerUnderTest
from ...support.threads import Signal, aside, eventually, start
from .helpers import connect, count, open_channel, shared_queue

REASON = {
    "rabbitmq-3": "low on memory",
    "rabbitmq-4": "low on memory",
    "embedded": "low on memory",
}
# RabbitMQ holds the publish with which it notices, the embedded broker the next one
FIRST_WAITS = {"rabbitmq-3": True, "rabbitmq-4": True, "embedded": False}
UNBLOCK_SECONDS = 30.0


def test_blocked_and_unblocked(broker: BrokerUnderTest) -> None:
    reason = REASON[broker.name]
    with (
        shared_queue(broker, b"before") as queue,
        open_channel(broker) as other,
        connect(broker.url) as connection,
    ):
        blocked, unblocked = Signal(), Signal()
        connection.on_blocked = blocked
        connection.on_unblocked = unblocked
        assert connection.blocked is None
        channel = connection.channel()
        channel.publish(b"before", routing_key=queue)
        aside(broker.block)
        try:
            # the broker tells those who publish, and takes no more from them
            first = channel.publish_nowait(b"first", routing_key=queue)
            assert blocked.next() == (reason,)
            assert connection.blocked == reason
            assert connection.is_open

            with pytest.raises(PublishNotSent) as caught:
                channel.publish(b"late", routing_key=queue, timeout=0.1)
            assert isinstance(caught.value.__cause__, BlockedTimeout)
            assert caught.value.__cause__.reason == reason
            assert reason in str(caught.value)
            assert caught.value.retryable
            with pytest.raises(BlockedTimeout) as short:
                channel.basic_publish(b"late", routing_key=queue, timeout=0.1)
            assert short.value.reason == reason
            with pytest.raises(BlockedTimeout):
                channel.publisher().publish(b"late", routing_key=queue, timeout=0.1)

            waiting = [
                start(channel.publish, b"waits", routing_key=queue, timeout=UNBLOCK_SECONDS),
                start(channel.basic_publish, b"waits", routing_key=queue, timeout=UNBLOCK_SECONDS),
            ]
            if FIRST_WAITS[broker.name]:
                waiting.append(start(first.wait, UNBLOCK_SECONDS))
            # consuming goes on meanwhile, on connections that do not publish
            consumer = other.consume(queue, prefetch=1)
            delivery = consumer.get()
            assert delivery.body == b"before"
            delivery.ack()
            consumer.cancel()
            assert not any(task.done for task in waiting)
            _close_while_blocked(broker, queue)
        finally:
            aside(broker.unblock)
        assert unblocked.next(UNBLOCK_SECONDS) == ()
        assert connection.blocked is None
        for task in waiting:
            task.result(UNBLOCK_SECONDS)
        assert first.outcome is Outcome.CONFIRMED
        channel.publish(b"after", routing_key=queue)
        # RabbitMQ may yet read what the connection that was closed had sent

        def all_there() -> bool:
            return count(other, queue) in (5, 6)

        eventually(all_there)
        assert len(blocked.calls) == len(unblocked.calls) == 1


def _close_while_blocked(broker: BrokerUnderTest, queue: str) -> None:
    connection = connect(broker.url)
    blocked = Signal()
    connection.on_blocked = blocked
    channel = connection.channel()
    publication = channel.publish_nowait(b"one more", routing_key=queue)
    blocked.next()
    waiting = start(channel.publish, b"never", routing_key=queue)
    # the broker does not read what a blocked connection sends, the goodbye included
    with pytest.raises(DeadlineExceeded):
        connection.close(timeout=0.1)
    assert not connection.is_open
    with pytest.raises((ChannelClosedError, ConnectionClosedError, PublishNotSent)):
        waiting.result(5)
    assert publication.outcome in (Outcome.UNKNOWN, Outcome.CONFIRMED)
