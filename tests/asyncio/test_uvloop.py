"""The asyncio client on uvloop, whose transports are not those of asyncio."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any

import pytest

import leveret.asyncio
from leveret.broker import AsyncBroker
from leveret.exceptions import ConnectionClosedError, DeadlineExceeded

from . import test_cancellation as cancellation
from . import test_writing as writing

uvloop = pytest.importorskip("uvloop")

SECONDS = 10.0


def run(main: Coroutine[Any, Any, None]) -> None:
    """Run a test in a loop of uvloop's."""
    uvloop.run(main)


def test_messages_go_there_and_back() -> None:
    async def main() -> None:
        async with (
            AsyncBroker() as broker,
            leveret.asyncio.connect(broker.url) as connection,
            connection.channel() as channel,
        ):
            queue = (await channel.queue_declare(exclusive=True)).queue
            bodies = [b"%d" % number * number for number in range(300)] + [bytes(3_000_000)]
            async with channel.publisher(max_in_flight=100) as publisher:
                for body in bodies:
                    await publisher.publish(body, routing_key=queue)
            consumer = await channel.consume(queue)
            for body in bodies:
                delivery = await consumer.get(SECONDS)
                assert delivery.body == body
                delivery.ack()
            with pytest.raises(DeadlineExceeded):
                await consumer.get(0.01)
            assert (await channel.queue_declare(queue, passive=True)).message_count == 0

    run(main())


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("interrupt", [KeyboardInterrupt, SystemExit])
def test_an_interrupt_reaches_who_runs_the_loop(interrupt: type[BaseException]) -> None:
    """Its transports keep to themselves what is raised while they hand over what they have read."""
    after: list[str] = []

    async def main() -> None:
        async with (
            AsyncBroker() as broker,
            leveret.asyncio.connect(broker.url) as connection,
            connection.channel() as channel,
        ):
            queue = (await channel.queue_declare(exclusive=True)).queue
            consumer = await channel.consume(queue)

            async def consume() -> None:
                (await consumer.get(SECONDS)).ack()
                raise interrupt

            task = asyncio.create_task(consume())
            channel.publish_nowait(b"", routing_key=queue)
            try:
                await asyncio.wait_for(asyncio.Event().wait(), SECONDS)
            except asyncio.CancelledError:
                after.append((await channel.queue_declare(queue, passive=True)).queue)
                raise
            finally:
                after.append(type(task.exception()).__name__)

    with pytest.raises(interrupt):
        run(main())
    assert after[1:] == [interrupt.__name__]


def test_what_the_socket_does_not_take_waits_in_the_protocol() -> None:
    run(writing.test_what_the_socket_does_not_take_waits_in_the_protocol())


def test_large_bodies_arrive_as_they_are() -> None:
    run(writing.test_large_bodies_arrive_as_they_are())


def test_a_broker_that_goes_is_noticed() -> None:
    async def main() -> None:
        async with AsyncBroker() as broker:
            connection = await leveret.asyncio.connect(broker.url)
            channel = await connection.channel()
            queue = (await channel.queue_declare()).queue
            consumer = await channel.consume(queue)
        with pytest.raises(leveret.ChannelClosedError):
            await consumer.get(SECONDS)
        with pytest.raises(ConnectionClosedError):
            await connection.channel()
        await connection.close()

    run(main())


@pytest.mark.parametrize("name", cancellation.OPERATIONS)
def test_every_await_point(name: str) -> None:
    run(cancellation.test_every_await_point(name))


@pytest.mark.parametrize("name", cancellation.OPERATIONS)
def test_no_time_at_all(name: str) -> None:
    run(cancellation.test_no_time_at_all(name))
