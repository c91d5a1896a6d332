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
from importlib.metadata import version

from bench import broker
from bench.address import Address
from bench.jobs import DEFAULT_BODY, JOBS, Job, Kind


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
    """The JSON line. Seconds."""

    version: str
    detail: str
    wall: float
    cpu: float


class BlockingClient(ABC):
    """One connection with one channel of a blocking library."""

    distribution: str
    detail = ""

    def __init__(self, task: Task) -> None:
        self.task = task

    @abstractmethod
    def open(self) -> None:
        """Connect, open the channel, set prefetch, or confirm mode if the job needs it."""

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
    def consume(self) -> None:
        """Receive `task.messages` messages; ack each if `task.job.ack`."""

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

    @abstractmethod
    async def open(self) -> None: ...

    @abstractmethod
    async def declare(self) -> None: ...

    @abstractmethod
    async def publish(self) -> None: ...

    @abstractmethod
    async def confirm(self) -> None: ...

    @abstractmethod
    async def consume(self) -> None: ...

    @abstractmethod
    async def close(self) -> None: ...

    async def roundtrip(self) -> None:
        for _ in range(self.task.messages):
            await self.declare()


class Stopwatch:
    """Wall and CPU seconds since it was made."""

    def __init__(self) -> None:
        self._wall = time.perf_counter()
        self._cpu = time.process_time()

    def result(self, distribution: str, detail: str) -> Result:
        cpu = time.process_time() - self._cpu
        wall = time.perf_counter() - self._wall
        return Result(version(distribution), detail, wall, cpu)


def run(factory: Callable[[Task], BlockingClient]) -> None:
    """The whole process of a blocking client."""
    with arguments() as task:
        client = factory(task)
        client.open()
        job = {
            Kind.PUBLISH: client.publish,
            Kind.CONFIRM: client.confirm,
            Kind.CONSUME: client.consume,
            Kind.ROUNDTRIP: client.roundtrip,
        }[task.job.kind]
        watch = Stopwatch()
        job()
        client.declare()
        result = watch.result(client.distribution, client.detail)
        client.close()
    print(json.dumps(asdict(result)))


def run_async(factory: Callable[[Task], AsyncClient]) -> None:
    """The whole process of an asyncio client."""
    with arguments() as task:
        result = asyncio.run(_run_async(factory(task)))
    print(json.dumps(asdict(result)))


async def _run_async(client: AsyncClient) -> Result:
    await client.open()
    job = {
        Kind.PUBLISH: client.publish,
        Kind.CONFIRM: client.confirm,
        Kind.CONSUME: client.consume,
        Kind.ROUNDTRIP: client.roundtrip,
    }[client.task.job.kind]
    watch = Stopwatch()
    await job()
    await client.declare()
    result = watch.result(client.distribution, client.detail)
    await client.close()
    return result


@contextlib.contextmanager
def arguments() -> Iterator[Task]:
    """The task of the command line; without --queue, in a place made for it."""
    parser = argparse.ArgumentParser(description="One measurement, as one JSON line.")
    parser.add_argument("--url", required=True)
    parser.add_argument("--job", required=True, choices=JOBS)
    parser.add_argument("--messages", type=int)
    parser.add_argument("--body", type=int, default=DEFAULT_BODY, help="size in bytes")
    parser.add_argument("--queue", help="filled for a consuming job; made if not given")
    parser.add_argument("--exchange", help="a fanout exchange without bindings")
    options = parser.parse_args()
    if (options.queue is None) != (options.exchange is None):
        parser.error("--queue and --exchange go together")
    job = JOBS[options.job]
    url = Address.parse(options.url).url
    messages = job.count(options.body, options.messages)
    with contextlib.ExitStack() as stack:
        owned = options.queue is None
        if owned:
            where = stack.enter_context(broker.place(url, job, messages, options.body))
        else:
            where = broker.Place(options.queue, options.exchange)
        yield Task(url, job, where.queue, where.exchange, messages, b"x" * options.body, owned)
