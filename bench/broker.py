"""The harness's side of the broker: what a measurement needs is made, and deleted after it.

A job of bench/peer.py gets a peer of its own instead.

Uses py-amqp (which has to be there as a reference anyway) for the methods, and writes frames
made once to fill a queue, which takes a fraction of the time of publishing one by one.
"""

from __future__ import annotations

import contextlib
import struct
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import amqp  # type: ignore[import-untyped, unused-ignore]

from bench import leftovers, peer
from bench.address import Address
from bench.jobs import Job, Kind

FILL_CHUNK = 256 * 1024
FRAME_MAX = 131_072
SETTLE = 30.0
ERRORS = (OSError, amqp.AMQPError)
"""What using the broker can end with."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a measurement happens."""

    url: str
    queue: str
    exchange: str


class Leftover(Exception):
    """Messages are in the queue after the job: the client has not done it."""


def connect(url: str) -> amqp.Connection:
    """Open the harness's own connection."""
    address = Address.parse(url)
    connection = amqp.Connection(
        host=f"{address.host}:{address.port}",
        userid=address.user,
        password=address.password,
        virtual_host=address.virtual_host,
        login_method="PLAIN",
        frame_max=FRAME_MAX,
        connect_timeout=10,
    )
    connection.connect()
    return connection


def describe(url: str) -> str:
    """Product and version of the broker."""
    with contextlib.closing(connect(url)) as connection:
        properties = connection.server_properties
        return f"{properties.get('product', 'unknown')} {properties.get('version', '?')}"


@contextlib.contextmanager
def place(url: str, job: Job, messages: int, body: int) -> Iterator[Place]:
    """A queue and an exchange of their own for one measurement, or a peer.

    Raises:
        Leftover: at the end, if a consuming job has left messages.
    """
    if job.peer:
        with peer.running(feeds(job, messages), body) as port:
            yield Place(Address.parse(f"amqp://127.0.0.1:{port}").url, "bench", "bench")
        return
    name = f"bench.{uuid.uuid4().hex}"
    here = Place(url, queue=name, exchange=name)
    leftovers.note(name, url)
    try:
        with contextlib.closing(connect(url)) as connection:
            channel = connection.channel()
            arguments = {"x-queue-type": "classic"}
            channel.queue_declare(name, durable=True, auto_delete=False, arguments=arguments)
            channel.exchange_declare(name, "fanout", durable=True, auto_delete=False)
            if job.kind is Kind.CONSUME:
                fill(connection, channel, name, messages, b"x" * body)
        yield here
        if job.kind is Kind.CONSUME:
            with contextlib.closing(connect(url)) as connection:
                check_consumed(connection.channel(), name, messages)
    finally:
        delete(url, [name])


def delete(url: str, names: Sequence[str]) -> None:
    """Delete queues and exchanges; those that are not there do not matter."""
    with contextlib.closing(connect(url)) as connection:
        channel = connection.channel()
        for name in names:
            channel.queue_delete(name)
            channel.exchange_delete(name)
            leftovers.forget(name)


def feeds(job: Job, messages: int) -> list[int]:
    """What the peer delivers: first what is held, then what is measured."""
    if job.kind is not Kind.CONSUME:
        return []
    return [job.held, messages] if job.held else [messages]


def fill(
    connection: amqp.Connection, channel: amqp.Channel, queue: str, messages: int, body: bytes
) -> None:
    """Put `messages` transient messages into the queue; back when they are all there."""
    message = frames(channel.channel_id, queue, body)
    chunk = max(1, FILL_CHUNK // len(message))
    for start in range(0, messages, chunk):
        connection.transport.write(message * min(chunk, messages - start))
    # The queue answers a declaration before it has taken in what came earlier.
    wait_until(lambda: channel.queue_declare(queue, passive=True).message_count == messages)


def check_consumed(channel: amqp.Channel, queue: str, messages: int) -> None:
    """Make sure that no message is left, ready or unacknowledged.

    Unacknowledged ones are ready again, and counted, once the queue has let go of its consumer.
    """
    wait_until(lambda: channel.queue_declare(queue, passive=True).consumer_count == 0)
    left = channel.queue_declare(queue, passive=True).message_count
    if left:
        raise Leftover(f"{left} of {messages} messages left in the queue")


def wait_until(condition: Callable[[], bool]) -> None:
    """Poll the broker until the condition holds.

    Raises:
        TimeoutError: it does not within `SETTLE` seconds.
    """
    deadline = time.monotonic() + SETTLE
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"the queue has not settled within {SETTLE} seconds")
        time.sleep(0.005)


def frames(channel: int, queue: str, body: bytes) -> bytes:
    """The frames of one basic.publish to the default exchange, without properties."""
    name = queue.encode()
    method = struct.pack(">HHHBB", 60, 40, 0, 0, len(name)) + name + b"\0"
    header = struct.pack(">HHQH", 60, 0, len(body), 0)
    step = FRAME_MAX - 8
    payloads = [(1, method), (2, header)]
    payloads += [(3, body[start : start + step]) for start in range(0, len(body), step)]
    return b"".join(
        struct.pack(">BHI", kind, channel, len(payload)) + payload + b"\xce"
        for kind, payload in payloads
    )
