# Made by tools/async_to_sync.py from conformance/asyncio/test_cycles.py: change it there.
"""What an operation leaves behind is freed with it, and not left to the garbage collector, whose
rounds would come as often as the messages.
"""

from __future__ import annotations

import gc
from collections.abc import Callable
from typing import Any

import pytest

from ...support.brokers import BrokerUnderTest
from .helpers import exclusive_queue, open_channel

TIMES = 50


def ask(channel: Any, queue: str) -> None:
    channel.queue_declare(queue, passive=True)


def publish(channel: Any, queue: str) -> None:
    channel.publish(b"it", routing_key=queue)


def publish_nowait(channel: Any, queue: str) -> None:
    channel.publish_nowait(b"it", routing_key=queue).wait()


def publish_in_a_window(channel: Any, queue: str) -> None:
    with channel.publisher(10) as publisher:
        publisher.publish(b"it", routing_key=queue)


def get(channel: Any, queue: str) -> None:
    channel.publish(b"it", routing_key=queue)
    delivery = channel.get(queue)
    assert delivery is not None
    delivery.ack()


def consume(channel: Any, queue: str) -> None:
    with channel.consume(queue) as consumer:
        channel.publish(b"it", routing_key=queue)
        for delivery in consumer:
            delivery.ack()
            break


@pytest.mark.parametrize(
    "operation", [ask, publish, publish_nowait, publish_in_a_window, get, consume]
)
def test_nothing_is_left(
    broker: BrokerUnderTest, operation: Callable[[Any, str], Any]
) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        for _ in range(5):  # what the first ones leave is left once
            operation(channel, queue)
        gc.collect()
        gc.disable()
        try:
            for _ in range(TIMES):
                operation(channel, queue)
            assert gc.collect() < TIMES
        finally:
            gc.enable()
