"""Cancelling at every await point in turn: the next operation is right, nothing is left behind.

Each operation is started anew and cancelled after k turns of the loop, for k = 0, 1, 2... until
it is done before the cancellation comes. A turn is one pass of the loop; the broker is in the
same loop, so that every state between request and reply comes by.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import pytest

import leveret.asyncio
from leveret.asyncio import Channel, Connection
from leveret.broker import AsyncBroker
from leveret.exceptions import DeadlineExceeded

MOST_TURNS = 200


@dataclass
class Scene:
    """What an operation works on: a queue with two messages, on a channel of its own."""

    connection: Connection
    channel: Channel
    queue: str


Operation = Callable[[Scene], Awaitable[object]]


async def consume(scene: Scene) -> object:
    return await scene.channel.consume(scene.queue, prefetch=7)


async def basic_consume(scene: Scene) -> object:
    return await scene.channel.basic_consume(scene.queue, lambda delivery: delivery.nack())


async def next_delivery(scene: Scene) -> object:
    async with await scene.channel.consume(scene.queue) as consumer:
        delivery = await anext(consumer)
        delivery.nack()
    return None


async def consumer_block(scene: Scene) -> object:
    async with await scene.channel.consume(scene.queue):
        pass
    return None


async def open_and_close(scene: Scene) -> object:
    async with await scene.connection.channel() as channel:
        return channel.number


async def get_and_requeue(scene: Scene) -> object:
    delivery = await scene.channel.get(scene.queue)
    if delivery is not None:
        delivery.nack()
    return delivery


async def publish_many(scene: Scene) -> object:
    async with scene.channel.publisher(2) as publisher:
        for _ in range(5):
            await publisher.publish(b"", routing_key="nowhere", mandatory=False)
    return None


OPERATIONS: dict[str, Operation] = {
    "channel": open_and_close,
    "queue_declare": lambda s: s.channel.queue_declare(s.queue, passive=True),
    "queue_bind": lambda s: s.channel.queue_bind(s.queue, "amq.direct", "key"),
    "queue_purge": lambda s: s.channel.queue_purge("empty"),
    "exchange_declare": lambda s: s.channel.exchange_declare("cancelled", auto_delete=True),
    "basic_qos": lambda s: s.channel.basic_qos(5),
    "get": get_and_requeue,
    "get_empty": lambda s: s.channel.get("empty"),
    "consume": consume,
    "basic_consume": basic_consume,
    "consumer_block": consumer_block,
    "next_delivery": next_delivery,
    "publish": lambda s: s.channel.publish(b"", routing_key="nowhere", mandatory=False),
    "publish_large": lambda s: s.channel.publish(
        bytes(3_000_000), routing_key="nowhere", mandatory=False
    ),
    "publisher": publish_many,
    "confirm_select": lambda s: s.channel.confirm_select(),
    "recover": lambda s: s.channel.basic_recover(),
    "close_channel": lambda s: s.channel.close(),
}
CLOSES = {"close_channel"}


@asynccontextmanager
async def stage() -> AsyncIterator[Connection]:
    """A broker and a connection in this loop."""
    async with (
        AsyncBroker() as broker,
        await leveret.asyncio.connect(broker.url, timeout=10) as connection,
    ):
        async with await connection.channel() as channel:
            await channel.queue_declare("empty")
        yield connection


async def turns(count: int) -> None:
    """Let the loop go round."""
    for _ in range(count):
        await asyncio.sleep(0)


async def cancelled_after(count: int, operation: Callable[[], Awaitable[object]]) -> bool:
    """Run for `count` turns, then cancel; whether it was cancelled."""

    async def run() -> object:
        return await operation()

    task = asyncio.create_task(run())
    await turns(count)
    if task.done():
        task.result()
        return False
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    return True


async def eventually(check: Callable[[], Awaitable[bool]]) -> None:
    """Ask again until it holds."""
    async with asyncio.timeout(5):
        while not await check():
            await asyncio.sleep(0)


async def check(connection: Connection, scene: Scene, name: str, watching: Channel) -> None:
    """Nothing is left behind, and the next operations get their own answers."""
    channel = scene.channel
    if name not in CLOSES:
        assert channel.is_open
        declared = await channel.queue_declare(scene.queue, passive=True)
        assert declared.queue == scene.queue
        assert (await channel.queue_declare("empty", passive=True)).queue == "empty"
        assert await channel.queue_purge("empty") == 0
        assert await channel.get("empty") is None

    async def all_is_ready() -> bool:
        found = await watching.queue_declare(scene.queue, passive=True)
        return (found.message_count, found.consumer_count) == (2, 0)

    await eventually(all_is_ready)
    await channel.close()

    async def no_channel_left() -> bool:
        return set(connection._core.protocol.channels) == {watching.number}

    await eventually(no_channel_left)
    assert connection._core._waiting == 0
    assert not connection._core._full


@pytest.mark.parametrize("name", OPERATIONS)
async def test_every_await_point(name: str) -> None:
    async with stage() as connection:
        watching = await connection.channel()
        for count in range(MOST_TURNS):
            channel = await connection.channel()
            queue = (await watching.queue_declare(f"scene-{count}")).queue
            for body in (b"1", b"2"):
                await watching.publish(body, routing_key=queue)
            scene = Scene(connection, channel, queue)
            cancelled = await cancelled_after(count, lambda scene=scene: OPERATIONS[name](scene))
            if cancelled:
                await check(connection, scene, name, watching)
            else:
                await channel.close()
            await watching.queue_delete(queue)
            if not cancelled:
                break
        else:
            pytest.fail(f"not done within {MOST_TURNS} turns")
        assert count >= 3 or name == "confirm_select"
        assert connection.is_open


@pytest.mark.parametrize("name", OPERATIONS)
async def test_no_time_at_all(name: str) -> None:
    """A deadline that is over at once is like a cancellation."""
    async with stage() as connection:
        watching = await connection.channel()
        object.__setattr__(connection._core.parameters, "timeout", 1e-9)
        queue = (await watching.queue_declare("scene", timeout=5)).queue
        for body in (b"1", b"2"):
            await watching.publish(body, routing_key=queue, timeout=5)
        channel = await connection.channel(timeout=5)
        scene = Scene(connection, channel, queue)
        try:
            await OPERATIONS[name](scene)
        except (DeadlineExceeded, leveret.PublishUnknown, leveret.PublishNotSent):
            pass
        object.__setattr__(connection._core.parameters, "timeout", 10.0)
        if name == "consume" or name == "basic_consume":
            await turns(3)
        await check(connection, scene, name, watching)


async def test_a_get_without_ack_is_kept_for_the_next() -> None:
    async with stage() as connection, await connection.channel() as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue
        kept = 0
        for count in range(MOST_TURNS):
            await channel.publish(b"%d" % count, routing_key=queue)
            if not await cancelled_after(count, lambda: channel.get(queue, no_ack=True)):
                break
            delivery = await channel.get(queue, no_ack=True)
            assert delivery is not None
            assert delivery.body == b"%d" % count
            kept += 1
        assert kept >= 3


async def test_connecting() -> None:
    async with AsyncBroker() as broker:
        for count in range(MOST_TURNS):
            if not await cancelled_after(count, lambda: leveret.asyncio.connect(broker.url)):
                break

        async def all_gone() -> bool:
            return len(broker._connections) == 1

        await eventually(all_gone)
        assert count > 5


async def test_closing() -> None:
    """The transport is closed in any case."""
    async with AsyncBroker() as broker:
        for count in range(MOST_TURNS):
            connection = await leveret.asyncio.connect(broker.url)
            cancelled = await cancelled_after(count, connection.close)
            if count:
                await connection.close()
                assert not connection.is_open
            elif cancelled:  # it never began
                assert connection.is_open
                await connection.close()

            async def gone() -> bool:
                return not broker._connections

            await eventually(gone)
            if not cancelled:
                break
        assert count >= 3
