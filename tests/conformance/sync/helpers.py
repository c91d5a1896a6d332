# Made by tools/async_to_sync.py from conformance/asyncio/helpers.py: change it there.
"""Short ways that most tests of the suite take."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import leveret as client
from leveret import Delivery, Properties
from leveret.exceptions import ConnectionClosedError

from ...support.brokers import BrokerUnderTest
from ...support.threads import eventually

TIMEOUT = 10.0  # seconds; less than the library's default, so that a hang is told sooner


def unique(prefix: str) -> str:
    """A name that nobody else has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


def connect(url: str, **options: Any) -> client.Connection:
    """Connect, with the suite's timeouts."""
    return client.connect(url, **{"timeout": TIMEOUT, "connect_timeout": TIMEOUT, **options})


@contextmanager
def open_connection(
    broker: BrokerUnderTest, **options: Any
) -> Iterator[client.Connection]:
    """A connection for the length of a block."""
    with connect(broker.url, **options) as connection:
        yield connection


@contextmanager
def open_channel(broker: BrokerUnderTest, **options: Any) -> Iterator[client.Channel]:
    """A channel on a connection of its own for the length of a block."""
    with open_connection(broker, **options) as connection:
        yield connection.channel()


def exclusive_queue(channel: client.Channel, *bodies: bytes, **arguments: object) -> str:
    """A queue that goes with the channel's connection, and has these messages."""
    queue = unique("queue")
    channel.queue_declare(queue, exclusive=True, arguments=arguments)
    fill(channel, queue, *bodies)
    return queue


@contextmanager
def shared_queue(
    broker: BrokerUnderTest, *bodies: bytes, **arguments: object
) -> Iterator[str]:
    """A queue that several connections may use, for the length of a block."""
    queue = unique("queue")
    with open_channel(broker) as channel:
        channel.queue_declare(queue, durable=True, arguments=arguments)
        fill(channel, queue, *bodies)
    try:
        yield queue
    finally:
        with open_channel(broker) as channel:
            channel.queue_delete(queue)


def fill(channel: client.Channel, queue: str, *bodies: bytes) -> None:
    """Publish, and go on when the messages can be consumed."""
    for body in bodies:
        channel.basic_publish(body, routing_key=queue)
    if bodies:

        def is_full() -> bool:
            found = channel.queue_declare(queue, passive=True)
            return found.message_count >= len(bodies)

        eventually(is_full)


def with_grave(channel: client.Channel, **arguments: object) -> tuple[str, str]:
    """A queue, and the one where its messages are seen when they die."""
    dead = exclusive_queue(channel)
    letters = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": dead}
    return exclusive_queue(channel, **(letters | arguments)), dead


def put(channel: client.Channel, queue: str, body: bytes, **properties: Any) -> None:
    """A message with properties by name; go on when the broker has it."""
    given = Properties(**properties)
    channel.publish(body, routing_key=queue, properties=given, persistent=False)


def drained(channel: client.Channel, queue: str) -> list[bytes]:
    """The bodies of all that is there, taken away."""
    found = []
    while (delivery := channel.get(queue, no_ack=True)) is not None:
        found.append(delivery.body)
    return found


def count(channel: client.Channel, queue: str) -> int:
    """How many messages are ready."""
    found = channel.queue_declare(queue, passive=True)
    return found.message_count


def has(channel: client.Channel, queue: str, messages: int) -> None:
    """Wait until exactly so many messages are ready."""

    def so_many() -> bool:
        return count(channel, queue) == messages

    eventually(so_many)


def get(channel: client.Channel, queue: str, *, no_ack: bool = False) -> Delivery:
    """A message that is there, or will be in a moment."""

    def one() -> Delivery | None:
        return channel.get(queue, no_ack=no_ack)

    delivery = eventually(one)
    assert delivery is not None
    return delivery


def take(consumer: client.Consumer, number: int) -> list[Delivery]:
    """The next deliveries of a consumer."""
    return [consumer.get() for _ in range(number)]


def close_quietly(connection: client.Connection) -> None:
    """Close what may have ended in any way."""
    try:
        connection.close()
    except ConnectionClosedError:
        pass
