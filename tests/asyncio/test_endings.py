"""The end of a connection, where something is still on its way."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import itertools
import socket
from collections.abc import AsyncIterator

import pytest

import leveret.asyncio
from leveret import wire
from leveret.exceptions import ConnectionForced, DeadlineExceeded, RemoteProtocolError

from ..support.scripted import LIMITED_STEPS, ScriptedBroker, scripted_broker

SECONDS = 10.0


@contextlib.asynccontextmanager
async def consuming() -> AsyncIterator[tuple[ScriptedBroker, leveret.asyncio.Channel]]:
    """A broker that does what the test says, and a channel with a consumer on it."""
    with scripted_broker(script=LIMITED_STEPS) as broker:
        connection = await leveret.asyncio.connect(
            f"amqp://guest:guest@{broker.address}", timeout=SECONDS
        )
        channel = await connection.channel()
        await channel.consume("q", consumer_tag="tag")
        try:
            yield broker, channel
        finally:
            with contextlib.suppress(leveret.LeveretError):
                await connection.close(timeout=0.1)


def all_of(peer: socket.socket) -> bytes:
    """What is sent until the end."""
    received = []
    while part := peer.recv(1 << 20):
        received.append(part)
    return b"".join(received)


async def test_a_body_under_way_is_sent_to_its_end_before_the_last_word() -> None:
    async with consuming() as (broker, channel):
        await channel.basic_publish(bytes(1 << 24), routing_key="q")
        await asyncio.sleep(0)
        close = wire.ConnectionClose(320, "CONNECTION_FORCED - bye")
        await asyncio.to_thread(broker.peer.sendall, close.encode(0))
        while channel.is_open:
            await asyncio.sleep(0)
        assert isinstance(channel.close_reason, ConnectionForced)
        data = await asyncio.to_thread(all_of, broker.peer)
        assert len(data) > 1 << 24
        assert data.endswith(wire.ConnectionCloseOk().encode(0))


async def test_two_that_close() -> None:
    """Each has its own deadline, and the socket is closed in any case."""
    async with consuming() as (_, channel):
        connection = leveret.asyncio.Connection(channel.core)
        first = asyncio.create_task(connection.close())
        await asyncio.sleep(0)
        with pytest.raises(DeadlineExceeded, match=r"connection\.close"):
            await connection.close(timeout=0.05)
        async with asyncio.timeout(SECONDS):
            await first
        assert not connection.is_open


async def test_a_connect_that_is_cancelled_leaves_no_error_behind() -> None:
    """What the peer says comes while the task that was to be told of it is going."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"SSH-2.0-OpenSSH_9.9\r\n")
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    told: list[str] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context["message"]))
    end: BaseException | None = None
    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with asyncio.timeout(SECONDS), listening as server:
        port = server.sockets[0].getsockname()[1]
        for turns in itertools.count():
            task = asyncio.ensure_future(leveret.asyncio.connect(f"amqp://127.0.0.1:{port}"))
            for _ in range(turns):
                await asyncio.sleep(0)
            task.cancel()
            (end,) = await asyncio.gather(task, return_exceptions=True)
            if not isinstance(end, asyncio.CancelledError):
                break
    assert isinstance(end, RemoteProtocolError)
    del task, end
    gc.collect()
    assert told == []


async def test_credentials_whose_own_time_is_over() -> None:
    """That is not the connection's deadline."""

    async def ask() -> tuple[str, str]:
        raise TimeoutError("the vault did not answer")

    with pytest.raises(TimeoutError, match="the vault did not answer"):
        await leveret.asyncio.connect("amqp://127.0.0.1:1", credentials=ask)
