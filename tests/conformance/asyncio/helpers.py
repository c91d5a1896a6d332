"""Short ways that most tests of the suite take."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import leveret.asyncio as client
from leveret import Delivery, Properties
from leveret.exceptions import ConnectionClosedError

from ...support.brokers import BrokerUnderTest
from ...support.tasks import eventually

TIMEOUT = 10.0  # seconds; less than the library's default, so that a hang is told sooner


def unique(prefix: str) -> str:
    """A name that nobody else has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def connect(url: str, **options: Any) -> client.Connection:
    """Connect, with the suite's timeouts."""
    return await client.connect(url, **{"timeout": TIMEOUT, "connect_timeout": TIMEOUT, **options})


@asynccontextmanager
async def open_connection(
    broker: BrokerUnderTest, **options: Any
) -> AsyncIterator[client.Connection]:
    """A connection for the length of a block."""
    async with await connect(broker.url, **options) as connection:
        yield connection


@asynccontextmanager
async def open_channel(broker: BrokerUnderTest, **options: Any) -> AsyncIterator[client.Channel]:
    """A channel on a connection of its own for the length of a block."""
    async with open_connection(broker, **options) as connection:
        yield await connection.channel()


async def exclusive_queue(channel: client.Channel, *bodies: bytes, **arguments: object) -> str:
    """A queue that goes with the channel's connection, and has these messages."""
    queue = unique("queue")
    await channel.queue_declare(queue, exclusive=True, arguments=arguments)
    await fill(channel, queue, *bodies)
    return queue


@asynccontextmanager
async def shared_queue(
    broker: BrokerUnderTest, *bodies: bytes, **arguments: object
) -> AsyncIterator[str]:
    """A queue that several connections may use, for the length of a block."""
    queue = unique("queue")
    async with open_channel(broker) as channel:
        await channel.queue_declare(queue, durable=True, arguments=arguments)
        await fill(channel, queue, *bodies)
    try:
        yield queue
    finally:
        async with open_channel(broker) as channel:
            await channel.queue_delete(queue)


async def fill(channel: client.Channel, queue: str, *bodies: bytes) -> None:
    """Publish, and go on when the messages can be consumed."""
    for body in bodies:
        await channel.basic_publish(body, routing_key=queue)
    if bodies:

        async def is_full() -> bool:
            found = await channel.queue_declare(queue, passive=True)
            return found.message_count >= len(bodies)

        await eventually(is_full)


async def with_grave(channel: client.Channel, **arguments: object) -> tuple[str, str]:
    """A queue, and the one where its messages are seen when they die."""
    dead = await exclusive_queue(channel)
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    return await exclusive_queue(channel, **(letters | arguments)), dead


async def put(channel: client.Channel, queue: str, body: bytes, **properties: Any) -> None:
    """A message with properties by name; go on when the broker has it."""
    given = Properties(**properties)
    await channel.publish(body, routing_key=queue, properties=given, persistent=False)


async def drained(channel: client.Channel, queue: str) -> list[bytes]:
    """The bodies of all that is there, taken away."""
    found = []
    while (delivery := await channel.get(queue, no_ack=True)) is not None:
        found.append(delivery.body)
    return found


async def count(channel: client.Channel, queue: str) -> int:
    """How many messages are ready."""
    found = await channel.queue_declare(queue, passive=True)
    return found.message_count


async def has(channel: client.Channel, queue: str, messages: int) -> None:
    """Wait until exactly so many messages are ready."""

    async def so_many() -> bool:
        return await count(channel, queue) == messages

    await eventually(so_many)


async def get(channel: client.Channel, queue: str, *, no_ack: bool = False) -> Delivery:
    """A message that is there, or will be in a moment."""

    async def one() -> Delivery | None:
        return await channel.get(queue, no_ack=no_ack)

    delivery = await eventually(one)
    assert delivery is not None
    return delivery


async def take(consumer: client.Consumer, number: int) -> list[Delivery]:
    """The next deliveries of a consumer."""
    return [await consumer.get() for _ in range(number)]


async def close_quietly(connection: client.Connection) -> None:
    """Close what may have ended in any way."""
    try:
        await connection.close()
    except ConnectionClosedError:
        pass
