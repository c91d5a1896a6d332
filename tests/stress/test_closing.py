"""Ends that meet: several closes at once, closes while others wait, closes of both sides."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import leveret
import leveret.asyncio
from leveret.broker import Broker
from leveret.exceptions import LeveretError

from ..support.proxy import Proxy
from .test_load import run_threads

SOON = 2.0


def test_connection_closed_by_many_threads(server: str) -> None:
    """The first close says goodbye, and what was queued before it arrives."""
    for _ in range(20):
        connection = leveret.connect(server)
        channel = connection.channel()
        queue = channel.queue_declare(auto_delete=True).queue
        with leveret.connect(server) as other, other.channel() as watching:
            consumer = watching.consume(queue, no_ack=True)
            for _ in range(300):
                channel.basic_publish(b"x" * 1000, routing_key=queue)
            run_threads([connection.close] * 4)
            assert not connection.is_open
            assert connection.close_reason is None
            for _ in range(300):
                consumer.get(5)


def test_channel_closed_by_many_threads(server: str) -> None:
    with leveret.connect(server) as connection:
        for _ in range(50):
            channel = connection.channel()
            run_threads([channel.close] * 4)
            assert not channel.is_open
        connection.channel().queue_declare(exclusive=True)


@pytest.mark.parametrize("what", ["channel", "connection"])
def test_close_while_others_wait(server: str, what: str) -> None:
    with Proxy(server) as proxy:
        connection = leveret.connect(proxy.url)
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        consumer = channel.consume(queue)
        channel.confirm_select()
        proxy.hold_to_client()
        ends: list[object] = []
        started = threading.Barrier(4)

        def guarded(run) -> None:  # type: ignore[no-untyped-def]
            started.wait(5)
            try:
                ends.append(run())
            except (LeveretError, StopIteration) as error:
                ends.append(error)

        threads = [
            threading.Thread(target=guarded, args=(run,), daemon=True)
            for run in (
                lambda: next(consumer),
                lambda: channel.queue_declare(queue, passive=True),
                lambda: channel.publish(b"", routing_key="nowhere", mandatory=False),
            )
        ]
        for thread in threads:
            thread.start()
        started.wait(5)
        end = time.monotonic() + 5
        while len(connection._core._asking) < 2 and time.monotonic() < end:
            threading.Event().wait(0.01)
        closing = threading.Thread(
            target=channel.close if what == "channel" else connection.close, daemon=True
        )
        closing.start()
        threading.Event().wait(0.1)
        proxy.release()
        for thread in [*threads, closing]:
            thread.join(SOON)
            assert not thread.is_alive()
        assert len(ends) == 3
        connection.close()


def test_both_sides_close_the_connection() -> None:
    for number in range(20):
        with Broker() as broker:
            connection = leveret.connect(broker.url)
            channel = connection.channel()
            queue = channel.queue_declare(exclusive=True).queue
            consumer = channel.consume(queue)
            start = time.monotonic()
            if number % 2:
                stopping = threading.Thread(target=broker.stop, daemon=True)
                stopping.start()
                connection.close(timeout=5)
                stopping.join(10)
            else:
                broker.stop()
                with pytest.raises(LeveretError):
                    next(consumer)
                with pytest.raises(LeveretError):
                    channel.queue_declare()
                connection.close()
            assert time.monotonic() - start < 5
            assert not connection.is_open


def test_both_sides_close_a_channel(server: str) -> None:
    """Operations that the broker refuses, from several threads, and a close in between."""
    with leveret.connect(server) as connection:
        for number in range(100):
            channel = connection.channel()

            def refused(channel: leveret.Channel = channel) -> None:
                with pytest.raises(LeveretError):
                    while True:
                        channel.queue_declare("no such queue", passive=True)

            if number % 2:
                run_threads([refused, channel.close, refused])
            else:
                run_threads([channel.close, refused, channel.close])
            assert not channel.is_open
        assert connection.is_open
        connection.channel().queue_declare(exclusive=True)


async def test_connection_closed_by_many_tasks(server: str) -> None:
    for _ in range(20):
        connection = await leveret.asyncio.connect(server)
        channel = await connection.channel()
        queue = (await channel.queue_declare(auto_delete=True)).queue
        async with await leveret.asyncio.connect(server) as other:
            consumer = await (await other.channel()).consume(queue, no_ack=True)
            for _ in range(300):
                await channel.basic_publish(b"x" * 1000, routing_key=queue)
            await asyncio.gather(*(connection.close() for _ in range(4)), channel.close())
            assert connection.close_reason is None
            for _ in range(300):
                await consumer.get(5)


async def test_tasks_close_while_others_wait(server: str) -> None:
    for what in ("channel", "connection"):
        with Proxy(server) as proxy:
            connection = await leveret.asyncio.connect(proxy.url)
            channel = await connection.channel()
            queue = (await channel.queue_declare(exclusive=True)).queue
            consumer = await channel.consume(queue)
            proxy.hold_to_client()
            waiting = [
                asyncio.create_task(consumer.get()),
                asyncio.create_task(channel.queue_declare(queue, passive=True)),
                asyncio.create_task(channel.publish(b"", routing_key="x", mandatory=False)),
            ]
            await asyncio.sleep(0)
            closing = asyncio.create_task((channel if what == "channel" else connection).close())
            await asyncio.sleep(0)
            proxy.release()
            async with asyncio.timeout(SOON):
                await closing
                for result in await asyncio.gather(*waiting, return_exceptions=True):
                    assert result is None or isinstance(result, LeveretError | tuple)
            await connection.close()
