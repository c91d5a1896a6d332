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


async def ask(channel: Any, queue: str) -> None:
    await channel.queue_declare(queue, passive=True)


async def publish(channel: Any, queue: str) -> None:
    await channel.publish(b"it", routing_key=queue)


async def publish_nowait(channel: Any, queue: str) -> None:
    await channel.publish_nowait(b"it", routing_key=queue).wait()


async def publish_in_a_window(channel: Any, queue: str) -> None:
    async with channel.publisher(10) as publisher:
        await publisher.publish(b"it", routing_key=queue)


async def get(channel: Any, queue: str) -> None:
    await channel.publish(b"it", routing_key=queue)
    delivery = await channel.get(queue)
    assert delivery is not None
    delivery.ack()


async def consume(channel: Any, queue: str) -> None:
    async with await channel.consume(queue) as consumer:
        await channel.publish(b"it", routing_key=queue)
        async for delivery in consumer:
            delivery.ack()
            break


@pytest.mark.parametrize(
    "operation", [ask, publish, publish_nowait, publish_in_a_window, get, consume]
)
async def test_nothing_is_left(
    broker: BrokerUnderTest, operation: Callable[[Any, str], Any]
) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        for _ in range(5):  # what the first ones leave is left once
            await operation(channel, queue)
        gc.collect()
        gc.disable()
        try:
            for _ in range(TIMES):
                await operation(channel, queue)
            assert gc.collect() < TIMES
        finally:
            gc.enable()
