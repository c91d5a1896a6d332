"""A stream is read in larger pieces, and its acks leave together; nobody waits for either."""

from __future__ import annotations

import asyncio
import runpy
import socket
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import cast

import pytest

import leveret.asyncio
from leveret.asyncio import gathering
from leveret.asyncio.gathering import LARGEST, MANY, PAUSE, STREAM, Gathering
from leveret.asyncio.transport import Core
from leveret.broker import AsyncBroker

from ..support.tasks import eventually

SECONDS = 10.0


@pytest.fixture
def sock() -> Iterator[socket.socket]:
    one, other = socket.socketpair()
    with one, other:
        yield one


def low(sock: socket.socket) -> int:
    """How many bytes make the socket readable."""
    return sock.getsockopt(socket.SOL_SOCKET, socket.SO_RCVLOWAT)


def stream(
    sock: socket.socket,
    size: int = 1000,
    every: float = PAUSE / 2,
    kind: type[Gathering] = Gathering,
) -> Gathering:
    """Just enough reads that bring many deliveries."""
    if kind is Gathering and sys.platform != "linux":
        pytest.skip("a system that is asked nothing")
    loop = asyncio.get_running_loop()
    now = loop.time()
    gathering = kind(loop, asyncio.trsock.TransportSocket(sock))
    for number in reversed(range(STREAM)):
        assert low(sock) == 1
        gathering.has_read(size, MANY, now - number * every, free=True)
    return gathering


async def test_what_comes_in_a_pause_is_waited_for(sock: socket.socket) -> None:
    stream(sock, size=1000, every=PAUSE / 2)
    assert low(sock) == pytest.approx(2000, rel=0.01)


async def test_a_little_more_or_less_is_no_reason_to_ask_anew(sock: socket.socket) -> None:
    gathering = stream(sock, size=1000, every=PAUSE / 2)
    now = asyncio.get_running_loop().time()
    for number, size in enumerate((1800, 2400, 1300), 1):
        gathering.has_read(size, MANY, now + number * PAUSE, free=True)
        assert low(sock) == pytest.approx(2000, rel=0.01)
    gathering.has_read(900, MANY, now + 4 * PAUSE, free=True)
    assert low(sock) == pytest.approx(900, rel=0.01)


async def test_not_for_more_than_there_is_room_for(sock: socket.socket) -> None:
    stream(sock, size=60_000, every=PAUSE / 10)
    assert low(sock) == LARGEST


@pytest.mark.parametrize(("deliveries", "free"), [(MANY, False), (MANY - 1, True), (0, True)])
async def test_who_waits_is_not_kept_waiting(
    sock: socket.socket, deliveries: int, free: bool
) -> None:
    gathering = stream(sock)
    loop = asyncio.get_running_loop()
    gathering.has_read(1000, deliveries, loop.time(), free)
    assert low(sock) == 1
    gathering.has_read(1000, MANY, loop.time() + PAUSE, free=True)
    assert low(sock) > 1  # it is the same stream
    gathering.stop()
    assert low(sock) == 1


async def test_a_stream_that_has_become_a_trickle(sock: socket.socket) -> None:
    gathering = stream(sock)
    now = asyncio.get_running_loop().time()
    for number in range(2):
        gathering.has_read(1000, MANY - 1, now + number * PAUSE, free=True)
    gathering.has_read(1000, MANY, now + 2 * PAUSE, free=True)
    assert low(sock) == 1


async def test_where_too_little_comes_it_is_read_nevertheless(sock: socket.socket) -> None:
    gathering = stream(sock)
    await eventually(lambda: low(sock) == 1)
    gathering.has_read(1000, MANY - 1, asyncio.get_running_loop().time(), free=True)
    assert low(sock) == 1
    gathering.has_read(1000, MANY, asyncio.get_running_loop().time(), free=True)
    assert low(sock) == 1  # a new one


async def test_without_a_socket_nothing_is_asked() -> None:
    gathering = Gathering(asyncio.get_running_loop(), None)
    for number in range(2 * STREAM):
        gathering.has_read(1000, MANY, float(number), free=True)
    assert gathering.low == 1


async def test_only_linux_looks_again_when_less_is_asked_for(
    sock: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    elsewhere = runpy.run_path(gathering.__file__)["Gathering"]
    stream(sock, kind=elsewhere)
    assert low(sock) == 1


async def test_a_socket_that_is_closed(sock: socket.socket) -> None:
    gathering = stream(sock)
    sock.close()
    gathering.stop()


@asynccontextmanager
async def consuming(count: int, prefetch: int) -> AsyncIterator[leveret.asyncio.Consumer]:
    """A consumer of a queue with so many messages."""
    async with (
        AsyncBroker() as broker,
        leveret.asyncio.connect(broker.url, timeout=SECONDS) as connection,
        connection.channel() as channel,
    ):
        queue = (await channel.queue_declare(exclusive=True)).queue
        for number in range(count):
            channel.publish_nowait(b"%d" % number, routing_key=queue)
        await channel.wait_for_confirms()
        yield await channel.consume(queue, prefetch=prefetch)


def core_of(consumer: leveret.asyncio.Consumer) -> Core:
    return cast(Core, consumer._channel.core)


@pytest.mark.parametrize("prefetch", [0, 5, 1000])
async def test_a_stream_comes_whole_and_its_acks_leave(prefetch: int) -> None:
    async with consuming(5000, prefetch) as consumer:
        for number in range(5000):
            delivery = await consumer.get()
            assert delivery.body == b"%d" % number
            delivery.ack()
        core = core_of(consumer)
        await eventually(lambda: not core.protocol.has_data_to_send())
        assert (core.streamed > 0) is (prefetch != 5)  # what comes alone does not count


async def test_acks_that_follow_others_wait_but_not_for_long() -> None:
    async with consuming(10, 0) as consumer:
        core = core_of(consumer)
        deliveries = [await consumer.get() for _ in range(10)]
        for delivery in deliveries[:5]:
            delivery.ack()
        await eventually(lambda: not core.protocol.has_data_to_send())
        sent = core.protocol.bytes_sent
        for delivery in deliveries[5:]:
            delivery.ack()
            await asyncio.sleep(0)
        await eventually(lambda: not core.protocol.has_data_to_send())
        assert 21 <= core.protocol.bytes_sent - sent < 5 * 21  # bytes of an ack


async def test_an_answer_that_is_waited_for_takes_the_acks_along() -> None:
    async with consuming(10, 0) as consumer:
        protocol = core_of(consumer).protocol
        for _ in range(10):
            (await consumer.get()).ack()
        await consumer._channel.queue_declare(consumer.queue, passive=True)
        assert not protocol.has_data_to_send()
