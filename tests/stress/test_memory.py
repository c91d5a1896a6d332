"""Large bodies, many channels, many connections: memory, descriptors, threads and tasks."""

from __future__ import annotations

import asyncio
import gc
import json
import os
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import pytest

import leveret
import leveret.asyncio

from ..support.brokers import BrokerUnderTest
from .served import ROOT

MIB = 1024 * 1024
FACTOR = 2.5
CHILD_SECONDS = 100

SETUP = """
import asyncio, json, sys
import leveret, leveret.asyncio
url, size, way = sys.argv[1], int(sys.argv[2]), sys.argv[3]
options = {"timeout": 90}
def peak():
    # its own: what a process has from before exec counts for getrusage
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))
"""
CHILDREN = {
    "blocking": """
with leveret.connect(url, **options) as connection, connection.channel() as channel:
    queue = "large"
    if way == "publish":
        channel.queue_declare(queue)
        channel.publish(b"warm", routing_key=queue)
        channel.queue_purge(queue)
        before = peak()
        channel.publish(b"x" * size, routing_key=queue)
    else:
        before = peak()
        delivery = channel.consume(queue).get(90)
        assert len(delivery.body) == size
        delivery.ack()
        channel.queue_delete(queue)
    print(json.dumps(peak() - before))
""",
    "asyncio": """
async def main():
    async with await leveret.asyncio.connect(url, **options) as connection:
        channel = await connection.channel()
        queue = "large"
        if way == "publish":
            await channel.queue_declare(queue)
            await channel.publish(b"warm", routing_key=queue)
            await channel.queue_purge(queue)
            before = peak()
            await channel.publish(b"x" * size, routing_key=queue)
        else:
            before = peak()
            delivery = await (await channel.consume(queue)).get(90)
            assert len(delivery.body) == size
            delivery.ack()
            await channel.queue_delete(queue)
        print(json.dumps(peak() - before))
asyncio.run(main())
""",
}


def peak_of(client: str, way: str, url: str, size: int) -> int:
    """Bytes that a process takes, at most, for one message."""
    done = subprocess.run(
        [sys.executable, "-c", SETUP + CHILDREN[client], url, str(size), way],
        capture_output=True,
        text=True,
        timeout=CHILD_SECONDS,
        cwd=ROOT,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    taken: int = json.loads(done.stdout)
    return taken


needs_proc = pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="no /proc")


@needs_proc
@pytest.mark.parametrize("client", CHILDREN)
def test_a_body_of_256_mib(server: str, client: str) -> None:
    size = 256 * MIB
    for way in ("publish", "consume"):
        factor = peak_of(client, way, server, size) / size
        print(f"{client} {way}: {factor:.2f} times {size // MIB} MiB")
        assert factor < FACTOR


@needs_proc
@pytest.mark.parametrize("client", CHILDREN)
def test_a_body_of_16_mib(broker: BrokerUnderTest, client: str) -> None:
    size = 16 * MIB
    for way in ("publish", "consume"):
        factor = peak_of(client, way, broker.url, size) / size
        print(f"{client} {way}: {factor:.2f} times 16 MiB")
        assert factor < FACTOR


def resident() -> int:
    """Bytes of this process in memory."""
    with open("/proc/self/statm") as status:
        return int(status.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def descriptors() -> int:
    """Open descriptors of this process."""
    return len(os.listdir("/proc/self/fd"))


@needs_proc
@pytest.mark.timeout(200)
def test_channels_open_and_close(server: str, part: int) -> None:
    count = 100_000 // part
    with leveret.connect(server) as connection:

        def rounds(number: int) -> None:
            for _ in range(number):
                connection.channel().close()

        rounds(2000)
        gc.collect()
        before = resident(), descriptors(), threading.active_count()
        rounds(count)
        gc.collect()
        after = resident(), descriptors(), threading.active_count()
        assert after[0] - before[0] < 4 * MIB
        assert after[1:] == before[1:]
        assert not connection._core.protocol.channels


@needs_proc
@pytest.mark.timeout(200)
def test_channels_of_tasks_open_and_close(server: str, part: int) -> None:
    count = 100_000 // part

    async def main() -> None:
        async with await leveret.asyncio.connect(server) as connection:

            async def rounds(number: int) -> None:
                for _ in range(number):
                    await (await connection.channel()).close()

            await asyncio.gather(*(rounds(100) for _ in range(20)))
            gc.collect()
            before = resident(), descriptors(), len(asyncio.all_tasks())
            await asyncio.gather(*(rounds(count // 20) for _ in range(20)))
            gc.collect()
            after = resident(), descriptors(), len(asyncio.all_tasks())
            assert after[0] - before[0] < 4 * MIB
            assert after[1:] == before[1:]

    asyncio.run(main())


@needs_proc
def test_connections_one_after_the_other(server: str) -> None:
    def rounds(number: int) -> None:
        for _ in range(number):
            with leveret.connect(server) as connection, connection.channel() as channel:
                channel.queue_declare(exclusive=True)

    rounds(50)
    gc.collect()
    before = resident(), descriptors(), threading.active_count()
    rounds(1000)
    gc.collect()
    after = resident(), descriptors(), threading.active_count()
    assert after[0] - before[0] < 4 * MIB
    assert after[1:] == before[1:]


@needs_proc
def test_many_connections_at_once(server: str) -> None:
    before = descriptors(), threading.active_count()
    connections = [leveret.connect(server) for _ in range(200)]
    channels = [connection.channel() for connection in connections]
    assert all(channel.queue_declare(exclusive=True).queue for channel in channels)
    for connection in connections:
        connection.close()
    assert (descriptors(), threading.active_count()) == before


@needs_proc
def test_many_connections_of_tasks(server: str) -> None:
    async def main() -> None:
        async def one() -> None:
            async with await leveret.asyncio.connect(server) as connection:
                await (await connection.channel()).queue_declare(exclusive=True)

        await asyncio.gather(*(one() for _ in range(200)))
        gc.collect()
        before = resident(), descriptors(), len(asyncio.all_tasks())
        for _ in range(4):
            await asyncio.gather(*(one() for _ in range(200)))
        gc.collect()
        after = resident(), descriptors(), len(asyncio.all_tasks())
        assert after[0] - before[0] < 8 * MIB
        assert after[1:] == before[1:]

    asyncio.run(main())


def census() -> Counter[str]:
    """How many objects of each of our kinds there are, and of the usual ones."""
    gc.collect()
    return Counter(
        type(thing).__qualname__
        for thing in gc.get_objects()
        if str(type(thing).__module__).startswith("leveret")
        # not isinstance: it asks proxies of other libraries, which then begin to import
        or type(thing) in (dict, list, tuple, set)
    )


def test_messages_leave_no_objects_behind(server: str) -> None:
    with leveret.connect(server) as connection, connection.channel() as channel:
        queue = channel.queue_declare(exclusive=True).queue
        consumer = channel.consume(queue)

        def rounds() -> None:
            for number in range(1000):
                channel.publish(b"x", routing_key=queue, properties=leveret.Properties(
                    message_id=str(number % 10), headers={"n": 1}))
                delivery = consumer.get(5)
                assert delivery.headers == {"n": 1}
                delivery.ack()

        rounds()
        before = census()
        rounds()
        growth = {kind: number for kind, number in (census() - before).items() if number > 20}
        assert not growth


def test_closed_connections_are_freed_without_the_collector(server: str) -> None:
    """No cycle keeps bodies and sockets until some later time."""
    import weakref

    gc.collect()
    gc.disable()
    try:
        with leveret.connect(server) as connection:
            with connection.channel() as channel:
                queue = channel.queue_declare(exclusive=True).queue
                channel.publish(b"x", routing_key=queue)
                with channel.consume(queue) as consumer:
                    delivery = consumer.get(5)
                    delivery.ack()
            freed = weakref.ref(connection)
        del connection, channel, consumer, delivery
        assert freed() is None
    finally:
        gc.enable()
