# Made by tools/async_to_sync.py from conformance/asyncio/test_deadlines.py: change it there.
"""Operations that are given up: the connection, the channel and the next reply are as they were."""

from __future__ import annotations

from datetime import timedelta
from decimal import Decimal
from typing import Any

import pytest

from leveret import ConfigurationError, DeadlineExceeded, EncodeError, LocalProtocolError

from ...support.brokers import BrokerUnderTest
from ...support.proxy import Proxy
from ...support.threads import eventually, start
from .helpers import (
    connect,
    count,
    exclusive_queue,
    has,
    open_channel,
    open_connection,
    shared_queue,
    take,
    unique,
)


def test_every_operation_has_a_deadline(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"1") as queue:
        with Proxy(broker.url) as proxy:
            connection = connect(proxy.url)
            channel = connection.channel()
            proxy.hold_to_client()
            exchange = unique("exchange")
            for operation, call in (
                ("channel.open", lambda: connection.channel(timeout=0.02)),
                ("queue.declare", lambda: channel.queue_declare(queue, passive=True, timeout=0.02)),
                ("queue.bind", lambda: channel.queue_bind(queue, "amq.fanout", timeout=0.02)),
                ("queue.unbind", lambda: channel.queue_unbind(queue, "amq.fanout", timeout=0.02)),
                ("queue.purge", lambda: channel.queue_purge("", timeout=0.02)),
                ("exchange.declare", lambda: channel.exchange_declare(exchange, timeout=0.02)),
                ("exchange.delete", lambda: channel.exchange_delete(exchange, timeout=0.02)),
                ("basic.qos", lambda: channel.basic_qos(7, timeout=0.02)),
                ("basic.recover", lambda: channel.basic_recover(timeout=0.02)),
                ("basic.cancel", lambda: channel.basic_cancel("x", timeout=0.02)),
                ("confirm.select", lambda: channel.confirm_select(timeout=0.02)),
                ("connection.update-secret", lambda: connection.update_secret("x", timeout=0.02)),
                ("channel.close", lambda: channel.close(timeout=0.02)),
                ("connection.close", lambda: connection.close(timeout=0.02)),
            ):
                with pytest.raises(DeadlineExceeded, match=f"^{operation} ") as caught:
                    call()
                assert isinstance(caught.value, TimeoutError)
            assert not connection.is_open


def test_late_replies_find_their_owners(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"1", b"2") as queue:
        with Proxy(broker.url) as proxy:
            with connect(proxy.url) as connection:
                channel = connection.channel()
                proxy.hold_to_client()
                for _ in range(3):
                    with pytest.raises(DeadlineExceeded):
                        channel.queue_declare(queue, passive=True, timeout=0.02)
                with pytest.raises(DeadlineExceeded):
                    channel.basic_qos(3, timeout=0.02)
                proxy.release()
                other = (channel.queue_declare(exclusive=True)).queue
                assert other != queue
                assert count(channel, queue) == 2


def test_a_message_got_too_late_goes_back(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"1") as queue, open_channel(broker) as other:
        with Proxy(broker.url) as proxy:
            with connect(proxy.url) as connection:
                channel = connection.channel()
                proxy.hold_to_client()
                with pytest.raises(DeadlineExceeded):
                    channel.get(queue, timeout=0.05)
                has(other, queue, 0)
                proxy.release()
                has(other, queue, 1)
                proxy.hold_to_client()
                with pytest.raises(DeadlineExceeded):
                    channel.get(queue, no_ack=True, timeout=0.05)
                has(other, queue, 0)
                proxy.release()
                # there is no way back to the queue: the next `get` has it
                delivery = channel.get(queue, no_ack=True)
                if delivery is None:  # it overtook the late reply
                    delivery = channel.get(queue, no_ack=True)
                assert delivery is not None
                assert delivery.body == b"1"


def test_a_consumer_that_starts_too_late_is_cancelled(broker: BrokerUnderTest) -> None:
    with shared_queue(broker, b"1", b"2") as queue, open_channel(broker) as other:
        with Proxy(broker.url) as proxy:
            with connect(proxy.url) as connection:
                channel = connection.channel()
                channel.basic_qos(100)
                proxy.hold_to_client()
                with pytest.raises(DeadlineExceeded):
                    channel.consume(queue, timeout=0.05)
                has(other, queue, 0)
                proxy.release()

                def is_cancelled() -> bool:
                    found = other.queue_declare(queue, passive=True)
                    return found.consumer_count == 0 and found.message_count == 2

                eventually(is_cancelled)
                assert channel.is_open


def test_a_channel_that_opens_too_late_is_closed(broker: BrokerUnderTest) -> None:
    with Proxy(broker.url) as proxy:
        with connect(proxy.url, channel_max=1) as connection:
            proxy.hold_to_client()
            with pytest.raises(DeadlineExceeded):
                connection.channel(timeout=0.05)
            proxy.release()

            def has_room() -> bool:
                try:
                    connection.channel()
                except LocalProtocolError:
                    return False
                return True

            eventually(has_room)


NO_TIMEOUTS = {
    "text": ("5", "is of type str: expected int or float"),
    "bytes": (b"5", "is of type bytes: expected int or float"),
    "object": (object(), "is of type object: expected int or float"),
    "duration": (timedelta(seconds=5), "is of type timedelta: expected int or float"),
    "decimal": (Decimal(5), "is of type Decimal: expected int or float"),
    "bool": (True, "is of type bool: expected int or float"),
    "nan": (float("nan"), "is nan: expected seconds, at least 0"),
    "negative": (-0.001, "is -0.001: expected seconds, at least 0"),
}


@pytest.mark.parametrize("name", NO_TIMEOUTS)
def test_timeouts_that_make_no_sense(broker: BrokerUnderTest, name: str) -> None:
    timeout: Any
    timeout, words = NO_TIMEOUTS[name]
    with open_channel(broker) as channel, open_connection(broker) as connection:
        queue = exclusive_queue(channel)
        consumer = channel.consume(queue, no_ack=True)
        channel.publish(b"1", routing_key=queue)
        ended = channel.consume(queue)
        ended.cancel()
        publisher = channel.publisher()
        publication = channel.publish_nowait(b"2", routing_key="nowhere", mandatory=False)
        message, to = b"3", {"routing_key": queue, "timeout": timeout}
        for call in (
            lambda: connection.channel(timeout=timeout),
            lambda: connection.update_secret("x", timeout=timeout),
            lambda: connection.close(timeout=timeout),
            lambda: channel.publish(message, **to),
            lambda: channel.basic_publish(message, **to),
            lambda: publisher.publish(message, **to),
            lambda: publisher.flush(timeout),
            lambda: publication.wait(timeout),
            lambda: channel.wait_for_confirms(timeout=timeout),
            lambda: channel.consume(queue, timeout=timeout),
            lambda: channel.basic_consume(queue, id, timeout=timeout),
            lambda: channel.basic_cancel(consumer.consumer_tag, timeout=timeout),
            lambda: channel.get(queue, timeout=timeout),
            lambda: channel.basic_qos(7, timeout=timeout),
            lambda: channel.queue_declare(queue, timeout=timeout),
            lambda: channel.exchange_declare("amq.fanout", "fanout", nowait=True, timeout=timeout),
            lambda: channel.close(timeout=timeout),
            lambda: consumer.get(timeout),
            lambda: consumer.cancel(timeout),
            lambda: ended.cancel(timeout),
        ):
            with pytest.raises(ConfigurationError, match=f"^timeout {words}"):
                call()
        for option in ("timeout", "connect_timeout"):
            with pytest.raises(ConfigurationError, match=f"^{option} {words.split(',')[0]}"):
                connect(broker.url, **{option: timeout})
        # nothing was sent, nothing is out of step
        assert connection.is_open
        assert (consumer.get()).body == b"1"
        with pytest.raises(DeadlineExceeded):
            consumer.get(0)


def test_a_prefetch_that_was_not_sent_is_not_in_force(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, *[b""] * 10)
        with pytest.raises(ConfigurationError):
            channel.basic_qos(2, timeout=-1)
        with pytest.raises(EncodeError):
            channel.basic_qos(2, prefetch_size=-1)
        consumer = channel.consume(queue, prefetch=2)
        take(consumer, 2)
        with pytest.raises(DeadlineExceeded):
            consumer.get(0.2)


@pytest.mark.parametrize("timeout", [1e20, float("inf"), 10**400], ids=str)
def test_timeouts_that_no_clock_can_hold(broker: BrokerUnderTest, timeout: float) -> None:
    with connect(broker.url, connect_timeout=timeout, timeout=timeout) as connection:
        for given in (timeout, None):
            channel = connection.channel(timeout=given)
            queue = exclusive_queue(channel)
            consumer = channel.consume(queue, timeout=given)
            waiting = start(consumer.get, timeout=given)
            channel.publish(b"1", routing_key=queue, timeout=given)
            assert (waiting.result()).body == b"1"
            channel.wait_for_confirms(timeout=given)
            channel.close(timeout=given)
        connection.close(timeout=timeout)
