"""The asyncio client's types: the blocking client's, with `await`."""

from typing import assert_type

import leveret
from leveret.asyncio import Channel, Connection, Consumer, Publication, Publisher, connect


async def connections() -> None:
    async with await connect("amqp://localhost", name="worker") as connection:
        assert_type(connection, Connection)
        assert_type(connection.is_open, bool)
        assert_type(connection.blocked, str | None)
        async with await connection.channel() as channel:
            assert_type(channel, Channel)
    await connect(no_such_option=1)  # type: ignore[call-arg]


async def operations(channel: Channel) -> None:
    assert_type(await channel.queue_declare(exclusive=True), leveret.QueueDeclared)
    assert_type(await channel.queue_delete("tasks"), int)
    assert_type(await channel.get("tasks"), leveret.Delivery | None)


async def publishing(channel: Channel) -> None:
    await channel.publish(b"body", routing_key="tasks", timeout=1.0)
    publication = channel.publish_nowait(b"body", routing_key="tasks")
    assert_type(publication, Publication)
    assert_type(publication.outcome, leveret.Outcome)
    async with channel.publisher() as publisher:
        assert_type(publisher, Publisher)
        assert_type(await publisher.publish(b"body", routing_key="tasks"), Publication)


async def consuming(channel: Channel) -> None:
    async with await channel.consume("tasks") as consumer:
        assert_type(consumer, Consumer)
        assert_type(await consumer.get(timeout=1.0), leveret.Delivery)
        async for delivery in consumer:
            assert_type(delivery, leveret.Delivery)
            delivery.ack()

    async def callback(delivery: leveret.Delivery) -> None:
        delivery.ack()

    assert_type(await channel.basic_consume("tasks", callback), Consumer)
