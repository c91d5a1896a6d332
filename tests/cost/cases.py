"""The scripts that are counted: what a user's program does, `MESSAGES` times.

`python -m tests.cost.cases` runs them all in this process, with the codec that LEVERET_CODEC asks
for, and prints what it has counted as JSON.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Awaitable, Callable
from itertools import cycle, islice

import leveret
import leveret.asyncio
from bench import peer

from .count import MESSAGES, Counts

BODY = b"x" * 100
IN_FLIGHT = 1000
CHANNELS = 100
FEEDS = (MESSAGES, MESSAGES)

Blocking = Callable[[leveret.Connection], Callable[[], None]]
Asyncio = Callable[[leveret.asyncio.Channel], Awaitable[Callable[[], Awaitable[None]]]]
"""A case gets a connection, or a channel, and gives what is done twice: to warm up, and counted."""


def publish(connection: leveret.Connection) -> Callable[[], None]:
    channel = connection.channel()

    def run() -> None:
        for _ in range(MESSAGES):
            channel.basic_publish(BODY, "", "q")

    return run


def publish_confirmed(connection: leveret.Connection) -> Callable[[], None]:
    channel = connection.channel()

    def run() -> None:
        with channel.publisher(max_in_flight=IN_FLIGHT) as publisher:
            for _ in range(MESSAGES):
                publisher.publish(BODY, "", "q")

    return run


def consume(connection: leveret.Connection) -> Callable[[], None]:
    channel = connection.channel()
    consumer = channel.consume("q", prefetch=MESSAGES)

    def run() -> None:
        channel.queue_declare("q", passive=True)  # sets the peer's next feed going
        for delivery in islice(consumer, MESSAGES):
            delivery.ack()

    return run


def consume_in_turn(connection: leveret.Connection) -> Callable[[], None]:
    """From many channels, one delivery of each after the other: nothing comes in runs."""
    channels = [connection.channel() for _ in range(CHANNELS)]
    consumers = [each.consume("q", prefetch=MESSAGES) for each in channels]

    def run() -> None:
        channels[0].queue_declare("q", passive=True)
        for consumer in islice(cycle(consumers), MESSAGES):
            next(consumer).ack()

    return run


def round_trip(connection: leveret.Connection) -> Callable[[], None]:
    channel = connection.channel()

    def run() -> None:
        for _ in range(MESSAGES):
            channel.queue_declare("q")

    return run


async def publish_async(channel: leveret.asyncio.Channel) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for _ in range(MESSAGES):
            await channel.basic_publish(BODY, "", "q")

    return run


async def publish_confirmed_async(
    channel: leveret.asyncio.Channel,
) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        async with channel.publisher(max_in_flight=IN_FLIGHT) as publisher:
            for _ in range(MESSAGES):
                await publisher.publish(BODY, "", "q")

    return run


async def consume_async(channel: leveret.asyncio.Channel) -> Callable[[], Awaitable[None]]:
    consumer = await channel.consume("q", prefetch=MESSAGES)

    async def run() -> None:
        await channel.queue_declare("q", passive=True)
        left = MESSAGES
        async for delivery in consumer:
            delivery.ack()
            left -= 1
            if not left:
                break

    return run


async def round_trip_async(channel: leveret.asyncio.Channel) -> Callable[[], Awaitable[None]]:
    async def run() -> None:
        for _ in range(MESSAGES):
            await channel.queue_declare("q")

    return run


BLOCKING: dict[str, Blocking] = {
    "publish, blocking": publish,
    "publish with 1,000 confirms in flight, blocking": publish_confirmed,
    "consume and ack, blocking": consume,
    "consume and ack, 100 channels in turn, blocking": consume_in_turn,
    "round trip, blocking": round_trip,
}
ASYNCIO: dict[str, Asyncio] = {
    "publish, asyncio": publish_async,
    "publish with 1,000 confirms in flight, asyncio": publish_confirmed_async,
    "consume and ack, asyncio": consume_async,
    "round trip, asyncio": round_trip_async,
}


def count_blocking(case: Blocking) -> Counts:
    """Count a case of the blocking client, its I/O thread included."""
    counts = Counts()
    with (
        peer.running(FEEDS, len(BODY)) as port,
        counts.watching(),
        leveret.connect(f"amqp://127.0.0.1:{port}") as connection,
    ):
        channel = connection.channel()
        run = case(connection)
        for counts.active in (False, True):
            run()
            channel.queue_declare("q")  # answered when all has been read
        counts.active = False
    return counts


async def count_asyncio(case: Asyncio) -> Counts:
    """Count a case of the asyncio client, the loop's own calls included."""
    counts = Counts()
    with peer.running(FEEDS, len(BODY)) as port, counts.watching():
        async with await leveret.asyncio.connect(f"amqp://127.0.0.1:{port}") as connection:
            channel = await connection.channel()
            run = await case(channel)
            for counts.active in (False, True):
                await run()
                await channel.queue_declare("q")
            counts.active = False
    return counts


def main() -> None:
    results = {name: count_blocking(case).as_json() for name, case in BLOCKING.items()}
    for name, case in ASYNCIO.items():
        results[name] = asyncio.run(count_asyncio(case)).as_json()
    json.dump({"codec": leveret.codec, "cases": results}, sys.stdout, indent=1)


if __name__ == "__main__":
    main()
