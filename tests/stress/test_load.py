"""Many threads, or many tasks, on one connection: every message is accounted for by its number."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import leveret
import leveret.asyncio

from ..support.brokers import ROOT, BrokerUnderTest, _run
from .served import serve

THREADS = 32
TASKS = 1000
SIZES = (0, 10, 100, 100, 100, 300, 1000, 100, 20, 5000)
BIG = 200_000  # bytes; every 1009th message has more than one frame
IN_FLIGHT = 200
SECONDS = 240.0
NUMBER = 8


def body(number: int) -> bytes:
    """A body that tells its number; sizes are mixed."""
    size = BIG if number % 1009 == 0 else SIZES[number % len(SIZES)]
    return number.to_bytes(NUMBER, "big") + b"x" * size


def number_of(body: bytes) -> int:
    """The number, after a look at the rest."""
    number = int.from_bytes(body[:NUMBER], "big")
    size = BIG if number % 1009 == 0 else SIZES[number % len(SIZES)]
    assert len(body) == NUMBER + size
    return number


def run_threads(runs: list[Callable[[], None]]) -> None:
    """Run them all at once; raise what the first of them raised."""
    errors: list[BaseException] = []

    def guarded(run: Callable[[], None]) -> None:
        try:
            run()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=guarded, args=(run,), daemon=True) for run in runs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    if errors:
        raise errors[0]
    assert not any(thread.is_alive() for thread in threads)


def load_threads(connection: leveret.Connection, threads: int, messages: int) -> None:
    """Half of the threads publish, half consume; every other pair of them shares a channel."""
    pairs = threads // 2
    share = messages // pairs
    declaring = connection.channel()
    queues = [declaring.queue_declare(exclusive=True).queue for _ in range(pairs)]
    channels = [connection.channel() for _ in range(pairs)]
    seen: list[list[int]] = [[] for _ in range(pairs)]
    publications: list[list[leveret.Publication]] = [[] for _ in range(pairs)]

    def publish(pair: int) -> None:
        channel = channels[pair]
        with channel.publisher(IN_FLIGHT) as publisher:
            for number in range(pair * share, (pair + 1) * share):
                publications[pair].append(
                    publisher.publish(body(number), routing_key=queues[pair])
                )
                if number % 10_000 == 0:  # an operation with a reply, in between
                    declared = channel.queue_declare(queues[pair], passive=True)
                    assert declared.queue == queues[pair]

    def consume(pair: int) -> None:
        channel = channels[pair] if pair % 2 else channels[pair - 1]
        with channel.consume(queues[pair], prefetch=300) as consumer:
            while len(seen[pair]) < share:
                delivery = consumer.get(60)
                seen[pair].append(number_of(delivery.body))
                delivery.ack()

    runs: list[Callable[[], None]] = []
    for pair in range(pairs):
        runs += [lambda pair=pair: publish(pair), lambda pair=pair: consume(pair)]
    run_threads(runs)
    for pair in range(pairs):
        assert seen[pair] == list(range(pair * share, (pair + 1) * share))
        assert all(p.outcome is leveret.Outcome.CONFIRMED for p in publications[pair])
        assert declaring.queue_declare(queues[pair], passive=True).message_count == 0
    assert connection.is_open


@pytest.mark.timeout(300)
def test_threads_on_one_connection(server: str, part: int) -> None:
    with leveret.connect(server) as connection:
        load_threads(connection, THREADS, 1_000_000 // part)


@pytest.mark.timeout(300)
def test_threads_on_rabbitmq(broker: BrokerUnderTest, full: bool) -> None:
    with leveret.connect(broker.url) as connection:
        load_threads(connection, THREADS, 1_000_000 if full else 30_000)


@pytest.fixture(scope="session")
def certificates() -> Path:
    """The folder with the certificates."""
    folder = ROOT / ".rabbitmq" / "certs"
    _run("certs", str(folder))
    return folder


@pytest.fixture(scope="session")
def tls_server(certificates: Path) -> Iterator[str]:
    """An embedded broker with TLS; its URL says whom to trust."""
    with serve(str(certificates / "server.pem"), str(certificates / "server.key")) as url:
        yield f"{url}?cacertfile={certificates / 'ca.pem'}"


@pytest.mark.timeout(300)
def test_threads_over_tls(tls_server: str, full: bool) -> None:
    with leveret.connect(tls_server) as connection:
        load_threads(connection, 8, 200_000 if full else 40_000)


async def load_tasks(connection: leveret.asyncio.Connection, tasks: int, messages: int) -> None:
    """As `load_threads`, with tasks."""
    pairs = tasks // 2
    share = messages // pairs
    declaring = await connection.channel()
    channels = [await connection.channel() for _ in range(pairs // 2)]
    queues = [(await declaring.queue_declare(exclusive=True)).queue for _ in range(pairs)]

    async def publish(pair: int) -> None:
        async with channels[pair // 2].publisher(IN_FLIGHT) as publisher:
            for number in range(pair * share, (pair + 1) * share):
                await publisher.publish(body(number), routing_key=queues[pair])

    async def consume(pair: int) -> list[int]:
        seen: list[int] = []
        channel = channels[(pair // 2 + 1) % len(channels)]
        async with await channel.consume(queues[pair], prefetch=50) as consumer:
            while len(seen) < share:
                delivery = await consumer.get(60)
                seen.append(number_of(delivery.body))
                delivery.ack()
        return seen

    async with asyncio.TaskGroup() as group:
        publishing = [group.create_task(publish(pair)) for pair in range(pairs)]
        consuming = [group.create_task(consume(pair)) for pair in range(pairs)]
    assert all(task.done() for task in publishing)
    for pair, task in enumerate(consuming):
        assert task.result() == list(range(pair * share, (pair + 1) * share))
    for queue in queues:
        assert (await declaring.queue_declare(queue, passive=True)).message_count == 0
    assert connection.is_open


@pytest.mark.timeout(300)
def test_tasks_on_one_connection(server: str, part: int) -> None:
    async def main() -> None:
        async with await leveret.asyncio.connect(server) as connection:
            await load_tasks(connection, TASKS, 1_000_000 // part)

    asyncio.run(main())


@pytest.mark.timeout(300)
def test_tasks_over_tls(tls_server: str, full: bool) -> None:
    async def main() -> None:
        async with await leveret.asyncio.connect(tls_server) as connection:
            await load_tasks(connection, 100, 200_000 if full else 40_000)

    asyncio.run(main())
