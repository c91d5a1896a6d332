"""The process of one measurement: arguments in, one job, one JSON line out.

A client is a subclass of `BlockingClient` or `AsyncClient`; its file ends with
`run(Client)` or `run_async(Client)`. `open` and `close` are outside of the measured time, the job
and the closing `declare` (see jobs.py) are inside. CPU is user and system time of all threads of
the process.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib import metadata

from bench import broker, leftovers, memory
from bench.address import Address
from bench.jobs import JOBS, Job, Kind


@dataclass(frozen=True, slots=True)
class Task:
    """What a client has to do, and where.

    `owned`: queue and exchange were made for this process and go with it.
    """

    url: str
    job: Job
    queue: str
    exchange: str
    messages: int
    body: bytes
    owned: bool


@dataclass(frozen=True, slots=True)
class Result:
    """The JSON line.

    Attributes:
        version: of the library.
        detail: what else the tables should say of it.
        wall, cpu: seconds.
        memory: bytes that the process grew by at most during the job; None if the system
            does not tell.
    """

    version: str
    detail: str
    wall: float
    cpu: float
    memory: int | None


class BlockingClient(ABC):
    """One connection of a blocking library, with the channels that the job wants."""

    distribution: str
    detail = ""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.held: list[object] = []

    def version(self) -> str:
        """The library's version."""
        return metadata.version(self.distribution)

    @abstractmethod
    def open(self) -> None:
        """Connect, open the channels, set prefetch, or confirm mode if the job needs it."""

    @abstractmethod
    def declare(self) -> None:
        """Declare the queue passively and wait for the reply."""

    @abstractmethod
    def publish(self) -> None:
        """Publish `task.messages` messages without confirms."""

    @abstractmethod
    def confirm(self) -> None:
        """The same with confirms, `task.job.in_flight` of them open; back when all are there."""

    @abstractmethod
    def subscribe(self) -> None:
        """Start a consumer on each channel."""

    @abstractmethod
    def take(self, messages: int) -> None:
        """Receive so many messages; ack each if `task.job.ack`."""

    def hold(self, messages: int) -> None:
        """Receive so many messages, settle none, and keep them in `held`."""
        raise NotImplementedError("no job with unacknowledged deliveries")

    @abstractmethod
    def close(self) -> None:
        """Close the connection."""

    def roundtrip(self) -> None:
        for _ in range(self.task.messages):
            self.declare()


class AsyncClient(ABC):
    """`BlockingClient` for asyncio."""

    distribution: str
    detail = ""

    def __init__(self, task: Task) -> None:
        self.task = task
        self.held: list[object] = []

    def version(self) -> str:
        return metadata.version(self.distribution)

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def declare(self) -> None: ...

    @abstractmethod
    async def publish(self) -> None: ...

    @abstractmethod
    async def confirm(self) -> None: ...

    @abstractmethod
    async def subscribe(self) -> None: ...

    @abstractmethod
    async def take(self, messages: int) -> None: ...

    async def hold(self, messages: int) -> None:
        raise NotImplementedError("no job with unacknowledged deliveries")

    @abstractmethod
    async def close(self) -> None: ...

    async def roundtrip(self) -> None:
        for _ in range(self.task.messages):
            await self.declare()


class Stopwatch:
    """Wall and CPU seconds, and growth of the memory, since it was made."""

    def __init__(self) -> None:
        self._memory = memory.Growth()
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def result(self, client: BlockingClient | AsyncClient) -> Result:
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        return Result(client.version(), client.detail, wall, cpu, self._memory.peak())


def run(factory: Callable[[Task], BlockingClient]) -> None:
    """The whole process of a blocking client."""
    with arguments() as task:
        client = factory(task)
        client.open()
        job = task.job
        if job.peer and job.kind is Kind.CONSUME:
            client.subscribe()
            if job.held:
                client.declare()
                client.hold(job.held)
        watch = Stopwatch()
        if job.kind is Kind.PUBLISH:
            client.publish()
        elif job.kind is Kind.CONFIRM:
            client.confirm()
        elif job.kind is Kind.ROUNDTRIP:
            client.roundtrip()
        else:
            if job.peer:
                client.declare()
            else:
                client.subscribe()
            client.take(task.messages)
        client.declare()
        result = watch.result(client)
        client.close()
    print(json.dumps(asdict(result)))


def run_async(factory: Callable[[Task], AsyncClient]) -> None:
    """The whole process of an asyncio client."""
    with arguments() as task:
        result = asyncio.run(_run_async(factory(task)))
    print(json.dumps(asdict(result)))


async def _run_async(client: AsyncClient) -> Result:
    await client.open()
    job = client.task.job
    if job.peer and job.kind is Kind.CONSUME:
        await client.subscribe()
        if job.held:
            await client.declare()
            await client.hold(job.held)
    watch = Stopwatch()
    if job.kind is Kind.PUBLISH:
        await client.publish()
    elif job.kind is Kind.CONFIRM:
        await client.confirm()
    elif job.kind is Kind.ROUNDTRIP:
        await client.roundtrip()
    else:
        if job.peer:
            await client.declare()
        else:
            await client.subscribe()
        await client.take(client.task.messages)
    await client.declare()
    result = watch.result(client)
    await client.close()
    return result


@contextlib.contextmanager
def arguments() -> Iterator[Task]:
    """The task of the command line; without --queue, in a place made for it."""
    parser = argparse.ArgumentParser(description="One measurement, as one JSON line.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--job", required=True, choices=JOBS)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--body", type=int, help="size in bytes; default: the job's first")
    parser.add_argument("--queue", help="filled for a consuming job; made if not given")
    parser.add_argument("--exchange", help="a fanout exchange without bindings")
    options = parser.parse_args()
    leftovers.end_on_sigterm()
    if (options.queue is None) != (options.exchange is None):
        parser.error("--queue and --exchange go together")
    job = JOBS[options.job]
    url = Address.parse(options.url).url
    body = job.bodies[0] if options.body is None else options.body
    messages = job.count(body, options.messages)
    with contextlib.ExitStack() as stack:
        owned = options.queue is None
        if owned:
            where = stack.enter_context(broker.place(url, job, messages, body))
        else:
            where = broker.Place(url, options.queue, options.exchange)
        yield Task(where.url, job, where.queue, where.exchange, messages, b"x" * body, owned)
