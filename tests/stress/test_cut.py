"""The connection cut at random points under load: nobody is left waiting, nothing is misnamed."""

from __future__ import annotations

import asyncio
import contextlib
import random
import threading
import time

import pytest

import leveret
import leveret.asyncio
from leveret import Outcome
from leveret.exceptions import LeveretError

from ..support.proxy import Proxy

SEEDS = range(8)
SOON = 1.0  # seconds in which everybody must know
PUBLISHERS = 3
ENDED = (Outcome.CONFIRMED, Outcome.NOT_SENT, Outcome.UNKNOWN)


def check_outcomes(
    publications: list[leveret.Publication] | list[leveret.asyncio.Publication],
    queue: str,
    server: str,
) -> None:
    """What the broker has, and what the client says of it."""
    with leveret.connect(server) as connection, connection.channel() as channel:
        there = set()
        count = 0
        while (delivery := channel.get(queue, no_ack=True)) is not None:
            there.add(int(delivery.body[:8]))
            count += 1
        channel.queue_delete(queue)
    assert len(there) == count, "a message is there twice"
    for number, publication in enumerate(publications):
        assert publication.outcome in ENDED
        if publication.outcome is Outcome.CONFIRMED:
            assert number in there
        elif publication.outcome is Outcome.NOT_SENT:
            assert number not in there


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("seed", SEEDS)
def test_threads(server: str, seed: int, reset: bool) -> None:
    chance = random.Random(seed)
    size = chance.choice([20, 2_000, 400_000])
    cut_at = chance.randrange(1, 2_000_000 // size if size > 1000 else 5_000)
    queue = f"cut-{seed}-{reset}"
    publications: list[leveret.Publication] = []
    ends: dict[str, float] = {}
    errors: dict[str, BaseException] = {}
    reached = threading.Event()

    with Proxy(server) as proxy:
        connection = leveret.connect(proxy.url, timeout=20)
        publishing = connection.channel()
        publishing.queue_declare(queue)
        idle = publishing.queue_declare(exclusive=True).queue

        def publish() -> None:
            with publishing.publisher(100) as publisher:
                for number in range(1_000_000):
                    publications.append(
                        publisher.publish(b"%08d" % number + b"x" * size, routing_key=queue)
                    )
                    if number == cut_at:
                        reached.set()

        def iterate() -> None:
            for _ in connection.channel().consume(idle):
                pass

        def ask() -> None:
            channel = connection.channel()
            while True:
                channel.queue_declare(idle, passive=True)

        def confirm() -> None:
            channel = connection.channel()
            while True:
                channel.publish(b"1", routing_key=idle)
                channel.queue_purge(idle)

        def guarded(run) -> None:  # type: ignore[no-untyped-def]
            try:
                run()
            except BaseException as error:
                errors[run.__name__] = error
            ends[run.__name__] = time.monotonic()

        runs = (publish, iterate, ask, confirm)
        threads = [threading.Thread(target=guarded, args=(run,), daemon=True) for run in runs]
        for thread in threads:
            thread.start()
        assert reached.wait(20)
        proxy.cut(reset=reset)
        cut = time.monotonic()
        for thread in threads:
            thread.join(5)
        assert set(ends) == {"publish", "iterate", "ask", "confirm"}
        assert max(ends.values()) - cut < SOON
        assert all(isinstance(error, LeveretError) for error in errors.values()), errors
        assert len(errors) == len(runs)
        assert not connection.is_open
        before = time.monotonic()
        with pytest.raises(LeveretError):
            publishing.queue_declare()
        with pytest.raises(LeveretError):
            connection.channel()
        with pytest.raises(LeveretError):
            publishing.publish(b"", routing_key=queue)
        assert time.monotonic() - before < SOON
        connection.close()
    check_outcomes(publications, queue, server)


@pytest.mark.parametrize("reset", [False, True], ids=["fin", "rst"])
@pytest.mark.parametrize("seed", SEEDS)
async def test_tasks(server: str, seed: int, reset: bool) -> None:
    chance = random.Random(seed + 1000)
    size = chance.choice([20, 2_000, 400_000])
    cut_at = chance.randrange(1, 2_000_000 // size if size > 1000 else 5_000)
    queue = f"cut-tasks-{seed}-{reset}"
    publications: list[leveret.asyncio.Publication] = []
    reached = asyncio.Event()

    with Proxy(server) as proxy:
        connection = await leveret.asyncio.connect(proxy.url, timeout=20)
        publishing = await connection.channel()
        await publishing.queue_declare(queue)
        idle = (await publishing.queue_declare(exclusive=True)).queue

        async def publish() -> None:
            async with publishing.publisher(100) as publisher:
                for number in range(1_000_000):
                    publications.append(
                        await publisher.publish(b"%08d" % number + b"x" * size, routing_key=queue)
                    )
                    if number == cut_at:
                        reached.set()

        async def iterate() -> None:
            async for _ in await (await connection.channel()).consume(idle):
                pass

        async def ask() -> None:
            channel = await connection.channel()
            while True:
                await channel.queue_declare(idle, passive=True)

        async def confirm() -> None:
            channel = await connection.channel()
            while True:
                await channel.publish(b"1", routing_key=idle)
                await channel.queue_purge(idle)

        tasks = [asyncio.create_task(run()) for run in (publish, iterate, ask, confirm)]
        await asyncio.wait_for(reached.wait(), 20)
        proxy.cut(reset=reset)
        async with asyncio.timeout(SOON):
            results = await asyncio.gather(*tasks, return_exceptions=True)
        assert all(isinstance(result, LeveretError) for result in results), results
        assert not connection.is_open
        async with asyncio.timeout(SOON):
            with pytest.raises(LeveretError):
                await publishing.queue_declare()
            with pytest.raises(LeveretError):
                await connection.channel()
            with pytest.raises(LeveretError):
                await publishing.publish(b"", routing_key=queue)
            await connection.close()
    await asyncio.to_thread(check_outcomes, publications, queue, server)


def test_unsent_bytes_are_not_sent(server: str) -> None:
    """What the socket never took is reported as not sent, and is not at the broker."""
    with Proxy(server) as proxy:
        connection = leveret.connect(proxy.url)
        channel = connection.channel()
        channel.queue_declare("unsent")
        proxy.hold_to_broker()
        publications = [
            channel.publish_nowait(b"%08d" % number + bytes(1_000_000), routing_key="unsent")
            for number in range(30)
        ]
        with contextlib.suppress(LeveretError):
            channel.queue_declare("unsent", passive=True, timeout=0.2)
        proxy.cut(reset=True)
        for publication in publications:
            with pytest.raises(leveret.PublishError):
                publication.wait(5)
        outcomes = [publication.outcome for publication in publications]
        assert Outcome.NOT_SENT in outcomes
        connection.close()
    check_outcomes(publications, "unsent", server)
