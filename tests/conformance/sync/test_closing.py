# Made by tools/async_to_sync.py from conformance/asyncio/test_closing.py: change it there.
"""The broker ends the connection: everybody who waits is told, at once, in its words."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest

from leveret import (
    ChannelClosedError,
    ConnectionClosedError,
    ConnectionForced,
    ConnectionLost,
    DeadlineExceeded,
    HeartbeatTimeout,
    Outcome,
    PublishNotSent,
    PublishUnknown,
)

from ...support.brokers import BrokerUnderTest
from ...support.proxy import Proxy
from ...support.threads import Signal, aside, eventually, start
from .helpers import connect, exclusive_queue, get, open_connection

AT_ONCE = 1.0  # seconds


def test_an_operator_closes_the_connections(broker: BrokerUnderTest) -> None:
    connection = connect(broker.url)
    closed = Signal()
    connection.on_close = closed
    channels = [connection.channel() for _ in range(3)]
    queue = exclusive_queue(channels[0], b"1")
    delivery = get(channels[0], queue)
    consumers = [channel.consume(queue) for channel in channels]
    waiting = [start(consumer.get) for consumer in consumers]
    iterating = start(_iterate, consumers[0])
    aside(broker.close_connections, "maintenance tonight")
    (error,) = closed.next()
    began = time.monotonic()
    assert isinstance(error, ConnectionForced)
    assert error.reply_code == 320
    assert error.reply_text == "CONNECTION_FORCED - maintenance tonight"
    assert error.retryable
    for task in [*waiting, iterating]:
        with pytest.raises(ChannelClosedError) as caught:
            task.result(AT_ONCE)
        assert caught.value.reason is error
        assert "maintenance tonight" in str(caught.value)
    assert time.monotonic() - began < AT_ONCE
    assert connection.close_reason is error
    assert not connection.is_open
    assert not any(channel.is_open for channel in channels)
    assert delivery.lost
    for call in (
        lambda: connection.channel(),
        lambda: channels[0].publish(b"", routing_key=queue),
        lambda: channels[1].queue_declare(),
    ):
        with pytest.raises((ChannelClosedError, ConnectionClosedError)) as refused:
            call()
        assert refused.value.reason is error
    with pytest.raises(ChannelClosedError):
        delivery.ack()
    connection.close()
    with open_connection(broker) as again:
        assert again.is_open


def _iterate(consumer) -> None:  # type: ignore[no-untyped-def]
    for delivery in consumer:
        delivery.ack()


@pytest.mark.parametrize("reset", [False, True])
def test_a_connection_that_is_cut(broker: BrokerUnderTest, reset: bool) -> None:
    with Proxy(broker.url) as proxy:
        connection = connect(proxy.url)
        closed = Signal()
        connection.on_close = closed
        channel = connection.channel()
        queue = exclusive_queue(channel)
        consumer = channel.consume(queue)
        channel.publish(b"x", routing_key=queue)
        delivery = consumer.get()
        proxy.hold_to_client()
        publication = channel.publish_nowait(b"y", routing_key=queue)
        waiting = [
            start(consumer.get),
            start(channel.queue_declare, queue, passive=True),
            start(channel.basic_qos, 5),
            start(connection.channel),
            start(connection.update_secret, "x"),
            start(publication.wait),
        ]
        assert not any(task.done for task in waiting)
        proxy.cut(reset=reset)
        (error,) = closed.next(AT_ONCE)
        assert isinstance(error, ConnectionLost)
        assert isinstance(error, OSError)
        for task in waiting:
            with pytest.raises(
                (
                    ConnectionLost,
                    ChannelClosedError,
                    ConnectionClosedError,
                    PublishNotSent,
                    PublishUnknown,
                )
            ) as caught:
                task.result(AT_ONCE)
            raised = caught.value
            if not isinstance(raised, ConnectionLost):  # each waiter has an object of its own
                raised = raised.__cause__ or raised.reason
            assert (type(raised), str(raised)) == (type(error), str(error))
        assert publication.outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT)
        assert delivery.lost
        assert connection.close_reason is error
        connection.close()


def test_on_close_of_a_connection_that_has_ended(broker: BrokerUnderTest) -> None:
    late, never = Signal(), Signal()
    with Proxy(broker.url) as proxy:
        connection = connect(proxy.url)
        proxy.cut()
        eventually(lambda: not connection.is_open)
        connection.on_close = late
        assert late.next() == (connection.close_reason,)
        assert isinstance(connection.close_reason, ConnectionLost)
    connection = connect(broker.url)
    connection.close()
    connection.on_close = never
    with pytest.raises(TimeoutError):
        never.next(0.05)


def test_heartbeats(broker: BrokerUnderTest) -> None:
    with open_connection(broker, heartbeat=1) as idle:
        idle_closed = Signal()
        idle.on_close = idle_closed
        with Proxy(broker.url) as proxy:
            connection = connect(proxy.url, heartbeat=1)
            closed = Signal()
            connection.on_close = closed
            channel = connection.channel()
            consumer = channel.consume(exclusive_queue(channel))
            waiting = start(consumer.get)
            proxy.hold_to_client()
            (error,) = closed.next(5)  # two intervals without a word
            assert isinstance(error, HeartbeatTimeout)
            with pytest.raises(ChannelClosedError, match="nothing was received"):
                waiting.result(AT_ONCE)
            connection.close()
        # both sides of the idle connection have heard from each other meanwhile; RabbitMQ would
        # have ended it after three intervals
        with pytest.raises(TimeoutError):
            idle_closed.next(1.2)
        exclusive_queue(idle.channel())


@pytest.mark.parametrize("block", ["connection", "consumer"])
def test_leaving_a_block_does_not_hide_its_error(
    broker: BrokerUnderTest, block: str, caplog: pytest.LogCaptureFixture
) -> None:
    with Proxy(broker.url) as proxy:
        connection = connect(proxy.url, timeout=1.0)
        channel = connection.channel()
        consumer = channel.consume(exclusive_queue(channel))
        with pytest.raises(RuntimeError, match="the user's own"):
            with connection if block == "connection" else consumer:
                proxy.hold_to_client()
                raise RuntimeError("the user's own")
        assert "closing failed" in caplog.text
        if block == "consumer":
            with pytest.raises(DeadlineExceeded):  # where there is no other error, it is raised
                with consumer:
                    pass
        with suppress(DeadlineExceeded):
            connection.close(timeout=0.1)
