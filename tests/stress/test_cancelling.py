"""Tasks on a few channels, cancelled anywhere, until the connection ends: nobody is left waiting,
and nothing behind.

What tests/asyncio/test_cancellation.py does with one operation at a time, all of them here do to
each other.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

import pytest

import leveret.asyncio
from leveret import Delivery
from leveret.asyncio import Channel, Connection
from leveret.exceptions import ConsumerCancelled, LeveretError, NotFound, PublishReturned

from ..support.brokers import BrokerUnderTest
from ..support.tasks import eventually

SEEDS = range(4)
TASKS = 10
OPERATIONS_EACH = 40
TIMEOUT = 10.0  # seconds an operation may take
HANGS = 15.0  # seconds after which it is left waiting
MOST_TURNS = 12  # of the loop, before a cancellation


@dataclass
class Scene:
    """What an operation works on: a channel that others use, and a queue that all do."""

    connection: Connection
    channel: Channel
    queue: str
    chance: random.Random


async def declare(scene: Scene) -> None:
    assert (await scene.channel.queue_declare(scene.queue, passive=True)).queue == scene.queue


async def publish(scene: Scene) -> None:
    await scene.channel.publish(b"x", routing_key=scene.queue)


async def publish_returned(scene: Scene) -> None:
    with pytest.raises(PublishReturned):
        await scene.channel.publish(b"x", routing_key="nowhere")


async def publish_some(scene: Scene) -> None:
    handles = [scene.channel.publish_nowait(b"y", routing_key=scene.queue) for _ in range(5)]
    await scene.chance.choice(handles).wait()


async def publish_much(scene: Scene) -> None:
    for _ in range(20):
        await scene.channel.basic_publish(bytes(100_000), routing_key="nowhere")


async def publish_window(scene: Scene) -> None:
    async with scene.channel.publisher(3) as publisher:
        for _ in range(10):
            await publisher.publish(b"z", routing_key="nowhere", mandatory=False)


async def get(scene: Scene) -> None:
    delivery = await scene.channel.get(scene.queue)
    if delivery is not None:
        delivery.ack()


async def consume(scene: Scene) -> None:
    prefetch = scene.chance.choice([0, 1, 10, 300])
    async with scene.channel.consume(scene.queue, prefetch=prefetch) as consumer:
        for _ in range(scene.chance.randrange(4)):
            delivery = await consumer.get(scene.chance.choice([0.001, 0.01, 0.1]))
            scene.chance.choice([delivery.ack, delivery.nack])()


async def consume_by_callback(scene: Scene) -> None:
    handled = asyncio.Event()

    async def handle(delivery: Delivery) -> None:
        handled.set()
        await asyncio.sleep(0)
        delivery.ack()

    queue = (await scene.channel.queue_declare(exclusive=True, auto_delete=True)).queue
    async with scene.channel.basic_consume(queue, handle):
        await scene.channel.publish(b"1", routing_key=queue)
        with contextlib.suppress(TimeoutError):  # the connection has ended first
            async with asyncio.timeout(0.5):
                await handled.wait()


async def consume_what_goes(scene: Scene) -> None:
    queue = (await scene.channel.queue_declare(exclusive=True)).queue
    async with scene.channel.consume(queue) as consumer:
        await scene.channel.queue_delete(queue)
        try:
            await anext(consumer)
        except ConsumerCancelled:
            return
        except StopAsyncIteration:  # the program itself has closed the connection first
            assert not scene.channel.is_open
            return
        raise AssertionError("a delivery of a queue without messages")


async def use_a_channel(scene: Scene) -> None:
    async with scene.connection.channel() as channel:
        await channel.queue_declare(scene.queue, passive=True)


async def fail_on_a_channel(scene: Scene) -> None:
    async with scene.connection.channel() as channel:
        with pytest.raises(NotFound):
            await channel.queue_declare("nosuch", passive=True)


OPERATIONS: list[Callable[[Scene], Awaitable[None]]] = [
    declare,
    publish,
    publish_returned,
    publish_some,
    publish_much,
    publish_window,
    get,
    consume,
    consume_by_callback,
    consume_what_goes,
    use_a_channel,
    fail_on_a_channel,
]


async def work(scene: Scene, begun: Callable[[], None]) -> None:
    """Operations, some of them cancelled."""
    for _ in range(OPERATIONS_EACH):
        begun()
        operation = scene.chance.choice(OPERATIONS)
        task = asyncio.ensure_future(operation(scene))
        if scene.chance.random() < 0.4:
            for _ in range(scene.chance.randrange(MOST_TURNS)):
                await asyncio.sleep(0)
            task.cancel()
        done, _ = await asyncio.wait([task], timeout=HANGS)
        assert done, f"{operation.__name__} is left waiting: {task.get_stack()}"
        if not task.cancelled() and not isinstance(task.exception(), LeveretError | None):
            task.result()


async def check(connection: Connection, channels: list[Channel], ended: bool) -> None:
    """Nothing is left of what the tasks have done."""
    core = connection._core
    if not ended:
        for channel in channels:
            await eventually(lambda channel=channel: not channel.protocol.confirms)
            await channel.basic_qos(1)
            # replies of the queue, such as basic.cancel-ok, may come after that of the channel
            await eventually(lambda channel=channel: not channel.protocol._sent.requests)
        numbers = {channel.number for channel in channels}
        await eventually(lambda: set(core.protocol.channels) == numbers)
    assert core._waiting == 0
    assert not core._deadlines._waiting
    assert not core._full
    assert not core._drain_waiters
    for channel in channels:
        assert channel.is_open is not ended
        assert not channel.confirm_waiters
        assert not channel.subscriptions
        assert not channel.window.in_flight
        assert not channel.window.waiters
        assert not channel.protocol._sent.requests


@pytest.mark.parametrize("end", ["none", "abort", "close"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_anything(broker: BrokerUnderTest, seed: int, end: str) -> None:
    chance = random.Random(f"{seed} {end}")
    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(str(context)))
    async with leveret.asyncio.connect(broker.url, timeout=TIMEOUT) as connection:
        channels = [await connection.channel() for _ in range(3)]
        queue = (await channels[0].queue_declare(exclusive=True)).queue
        scenes = [
            Scene(connection, chance.choice(channels), queue, random.Random(chance.random()))
            for _ in range(TASKS)
        ]
        left = iter(range(chance.randrange(TASKS * OPERATIONS_EACH)))
        enough = asyncio.Event()

        def begun() -> None:
            if next(left, None) is None:
                enough.set()

        working = asyncio.gather(*(work(scene, begun) for scene in scenes))
        await enough.wait()
        if end == "abort":
            assert connection._core._transport is not None
            connection._core._transport.abort()
        elif end == "close":
            await connection.close()
        await working
        await check(connection, channels, ended=end != "none")
    assert told == []
