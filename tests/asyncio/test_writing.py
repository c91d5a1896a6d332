"""What leaves by a transport of asyncio's."""

from __future__ import annotations

import asyncio

import leveret.asyncio
from leveret.broker import AsyncBroker

from ..support.scripted import STEPS, scripted_broker

SECONDS = 10.0


def body_of(size: int, seed: int) -> bytes:
    """Bytes of which none is where it was in another body."""
    return bytes((seed + number * 7 + number // 251) % 256 for number in range(4096)) * (
        size // 4096 + 1
    )


async def test_what_the_socket_does_not_take_waits_in_the_protocol() -> None:
    with scripted_broker(script=STEPS[:-1]) as broker:  # which reads no more, then
        connection = await leveret.asyncio.connect(
            f"amqp://{broker.address}", heartbeat=0, timeout=SECONDS
        )
        channel = await connection.channel()
        core, body = connection._core, bytes(1_000_000)
        for _ in range(64):
            channel.protocol.send_publish("", "q", b"\0\0", body, False, None)
        core._flush()
        assert core._transport is not None
        assert core.protocol.bytes_waiting() > 40_000_000
        assert core._transport.get_write_buffer_size() < 1_000_000
        core._transport.abort()
        await asyncio.wait_for(core._closed, SECONDS)


async def test_large_bodies_arrive_as_they_are() -> None:
    """More of them than the socket takes, so that a part of each has to wait."""
    async with (
        AsyncBroker() as broker,
        leveret.asyncio.connect(broker.url, timeout=SECONDS) as connection,
        connection.channel() as channel,
    ):
        queue = (await channel.queue_declare(exclusive=True)).queue
        bodies = [
            body_of(size, seed) for seed, size in enumerate([3_000_000, 70_000, 1_048_576] * 4)
        ]
        async with asyncio.timeout(6 * SECONDS), channel.publisher() as publisher:
            for body in bodies:
                await publisher.publish(body, routing_key=queue)
        consumer = await channel.consume(queue, prefetch=1)
        for body in bodies:
            delivery = await consumer.get()
            assert delivery.body == body
            delivery.ack()
