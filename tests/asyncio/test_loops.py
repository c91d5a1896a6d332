"""The asyncio client used from where it does not belong, and callbacks that misbehave."""

from __future__ import annotations

import asyncio
import gc
import warnings
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest

import leveret.asyncio
from leveret.asyncio import Channel, Connection
from leveret.asyncio.writing import Writer
from leveret.broker import AsyncBroker, Broker
from leveret.client import core as core_module
from leveret.exceptions import DeadlineExceeded, LocalProtocolError

from ..support.tasks import Signal, eventually

SECONDS = 5.0
ANOTHER = "another event loop"


@asynccontextmanager
async def open_channel() -> AsyncIterator[Channel]:
    """A channel to a broker of its own."""
    async with (
        AsyncBroker() as broker,
        leveret.asyncio.connect(broker.url) as connection,
        connection.channel() as channel,
    ):
        yield channel


def uses(
    connection: Connection, channel: Channel, delivery: leveret.Delivery
) -> dict[str, Callable[[], object]]:
    """All that a connection can be used for."""
    return {
        "declare": lambda: channel.queue_declare("q"),
        "open": connection.channel,
        "close": connection.close,
        "close-channel": channel.close,
        "publish": lambda: channel.publish(b""),
        "publish_nowait": lambda: channel.publish_nowait(b""),
        "basic_publish": lambda: channel.basic_publish(b""),
        "ack": delivery.ack,
        "nack": delivery.nack,
        "reject": delivery.reject,
        "basic_ack": lambda: channel.basic_ack(1),
    }


async def refused(use: Callable[[], object]) -> bool:
    """Whether it says that the connection belongs to another loop."""
    try:
        result = use()
        if isinstance(result, Awaitable):
            await asyncio.wait_for(result, SECONDS)
    except LocalProtocolError as error:
        return ANOTHER in str(error)
    return False


async def open_one(url: str) -> tuple[Connection, Channel, leveret.Delivery]:
    connection = await leveret.asyncio.connect(url)
    channel = await connection.channel()
    queue = (await channel.queue_declare(auto_delete=True)).queue
    await channel.publish(b"", routing_key=queue)
    delivery = await channel.get(queue)
    assert delivery is not None
    return connection, channel, delivery


async def test_another_loop_is_refused_and_nothing_is_sent() -> None:
    with Broker() as broker:
        connection, channel, delivery = await open_one(broker.url)
        await asyncio.sleep(0)  # what is queued has left

        def elsewhere() -> None:
            for name, use in uses(connection, channel, delivery).items():
                assert asyncio.run(refused(use)), name

        await asyncio.to_thread(elsewhere)
        queued = connection._core.protocol.bytes_queued
        await asyncio.sleep(0)
        assert connection._core.protocol.bytes_queued == queued
        assert connection.is_open
        assert channel.is_open
        delivery.ack()
        await connection.close()


async def test_a_thread_without_a_loop_is_refused() -> None:
    with Broker() as broker:
        connection, channel, delivery = await open_one(broker.url)
        await asyncio.sleep(0)
        for use in (delivery.ack, delivery.nack, lambda: channel.publish_nowait(b"")):
            with pytest.raises(LocalProtocolError, match=ANOTHER):
                await asyncio.to_thread(use)
        delivery.ack()
        await connection.close()


def test_a_closed_loop_is_refused() -> None:
    def use_all(url: str) -> None:
        connection, channel, delivery = asyncio.run(open_one(url))
        for name, use in uses(connection, channel, delivery).items():
            assert asyncio.run(refused(use)), name

    with Broker() as broker, warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)
        use_all(broker.url)
        gc.collect()


async def test_a_cancelled_error_from_within_a_callback_is_logged(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_channel() as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue
        seen = Signal()

        async def callback(delivery: leveret.Delivery) -> None:
            delivery.ack()
            seen(delivery.body)
            helper = asyncio.create_task(asyncio.sleep(SECONDS))
            await asyncio.sleep(0)
            helper.cancel()
            await helper

        consumer = await channel.basic_consume(queue, callback)
        for body in (b"1", b"2", b"3"):
            await channel.publish(body, routing_key=queue)
            assert await seen.next() == (body,)
        assert consumer.is_active
        assert "error in the callback" in caplog.text
        await consumer.cancel()


async def test_cancelling_the_task_of_a_callback_ends_its_consumer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async with open_channel() as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue
        tasks: list[asyncio.Task[object]] = []
        seen = Signal()

        async def callback(delivery: leveret.Delivery) -> None:
            task = asyncio.current_task()
            assert task is not None
            tasks.append(task)
            seen()
            await asyncio.sleep(SECONDS)

        consumer = await channel.basic_consume(queue, callback)
        for _ in range(3):
            await channel.publish(b"", routing_key=queue)
        await seen.next()
        tasks[0].cancel()
        await eventually(lambda: not consumer.is_active)
        assert (await channel.queue_declare(queue, passive=True)).message_count == 2
        assert not caplog.text


async def test_slow_returns_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    async with open_channel() as channel:
        monkeypatch.setattr(core_module, "RETURNS_LIMIT", 20)
        go_on = asyncio.Event()
        seen = Signal()

        async def slow(returned: object) -> None:
            await go_on.wait()
            await channel.basic_publish(b"", routing_key="nowhere", timeout=SECONDS)
            seen(returned)
            if len(seen.calls) == 1:
                raise RuntimeError("the callback's own")

        channel.on_return = slow
        for _ in range(20):
            await channel.basic_publish(b"", routing_key="nowhere", mandatory=True)
        await eventually(lambda: channel.core._returns == 20)
        with pytest.raises(DeadlineExceeded, match="20 returned messages wait"):
            await channel.basic_publish(b"", routing_key="nowhere", timeout=0.05)
        go_on.set()
        for _ in range(100):
            await channel.basic_publish(b"", routing_key="nowhere", mandatory=True, timeout=SECONDS)
        await eventually(lambda: len(seen.calls) == 120)


class Writes:
    """A transport that counts what is written to it, and hands it on."""

    def __init__(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        self.count = 0

    def write(self, data: bytes) -> None:
        self.count += 1
        self._transport.write(data)

    def __getattr__(self, name: str) -> object:
        return getattr(self._transport, name)


async def test_requests_of_one_turn_leave_together() -> None:
    async with open_channel() as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue
        core = channel.core
        writes = Writes(core._transport)
        core._writer = Writer(writes)  # type: ignore[arg-type]
        await channel.queue_declare(queue, passive=True)
        assert writes.count == 1
        writes.count = 0

        async def many() -> None:
            for _ in range(5):
                await channel.queue_declare(queue, passive=True)

        await asyncio.gather(*(many() for _ in range(50)))
        assert writes.count <= 20


async def test_acks_of_one_turn_leave_together() -> None:
    async with open_channel() as channel:
        queue = (await channel.queue_declare(exclusive=True)).queue
        for _ in range(100):
            channel.publish_nowait(b"", routing_key=queue)
        await channel.wait_for_confirms()
        core = channel.core
        writes = Writes(core._transport)
        core._writer = Writer(writes)  # type: ignore[arg-type]
        consumer = await channel.consume(queue, prefetch=200)
        for _ in range(100):
            (await consumer.get()).ack()
        await channel.queue_declare(queue, passive=True)
        assert writes.count <= 20
