"""The job with the asyncio client: a task for each publisher and consumer, one event loop.

Connections as in `blocking`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from contextlib import suppress

from ... import LeveretError, Properties
from ...asyncio import Channel, Connection, Consumer, connect
from .job import LOOK, SHUTDOWN, Job, Result, Watch

__all__ = ["run"]


async def run(job: Job, result: Result, watch: Watch) -> None:
    """Do the job; see `blocking.run`."""
    timeout = min(SHUTDOWN, watch.remaining)
    async with (
        await connect(
            job.url, name="leveret demo: consumers", connect_timeout=timeout
        ) as consuming,
        await connect(
            job.url, name="leveret demo: publishers", connect_timeout=timeout
        ) as publishing,
    ):
        result.met(consuming.server_properties, consuming.parameters)
        async with consuming.channel() as channel:
            await channel.queue_declare(job.queue, durable=True, exclusive=True)
        try:
            await _Run(job, result, watch).work(consuming, publishing)
        finally:
            if consuming.is_open:
                async with consuming.channel(timeout=SHUTDOWN) as channel:
                    result.left = await channel.queue_delete(job.queue, timeout=SHUTDOWN)


class _Run:
    """One run and its tasks."""

    def __init__(self, job: Job, result: Result, watch: Watch) -> None:
        self._job = job
        self._result = result
        self._watch = watch
        self._wake = asyncio.Event()  # set when there is reason to look at once
        self._ending = False
        self._tasks: list[asyncio.Task[None]] = []

    async def work(self, consuming: Connection, publishing: Connection) -> None:
        """Publish and consume until the watch says so."""
        job, watch = self._job, self._watch
        consumers: list[Consumer] = []
        try:
            for number in range(job.consumers):
                channel = await consuming.channel()
                consumer = await channel.consume(job.queue, prefetch=job.prefetch)
                consumers.append(consumer)
                self._spawn(self._consume(number, consumer))
            channels = [await publishing.channel() for _ in range(job.publishers)]
            watch.start()
            for number, channel in enumerate(channels):
                self._spawn(self._publish(number, channel))
            while not watch.over():
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._wake.wait(), LOOK)
                self._wake.clear()
            watch.stop()
        finally:
            await self._finish(publishing, consumers)

    def _spawn(self, work: Coroutine[None, None, None]) -> None:
        self._tasks.append(asyncio.create_task(self._guard(work)))

    async def _guard(self, work: Coroutine[None, None, None]) -> None:
        """Do the work of a task; what it raises ends the run."""
        try:
            await work
        except Exception as error:
            if not self._ending:
                self._result.failed(error)
        self._wake.set()

    async def _finish(self, publishing: Connection, consumers: list[Consumer]) -> None:
        """End the tasks: the publishers' by closing, the consumers' by cancelling."""
        self._ending = True
        with suppress(LeveretError):
            await publishing.close(timeout=SHUTDOWN)
        for consumer in consumers:
            with suppress(LeveretError):
                await consumer.cancel(SHUTDOWN)
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=SHUTDOWN)

    async def _publish(self, number: int, channel: Channel) -> None:
        job, ledger = self._job, self._result.ledger
        body, queue = job.body, job.queue
        published, confirmations = ledger.published, ledger.confirmations
        async with channel.publisher(max_in_flight=job.in_flight) as publisher:
            for message in range(ledger.shares[number]):
                published[number] = message + 1
                properties = Properties(message_id=ledger.message_id(number, message))
                await publisher.publish(body, routing_key=queue, properties=properties)
                confirmations[number] = message + 1 - publisher.in_flight
        confirmations[number] = published[number]

    async def _consume(self, number: int, consumer: Consumer) -> None:
        body, receive = self._job.body, self._result.ledger.receive
        consumed = self._result.consumed
        async for delivery in consumer:
            message_id = delivery.properties.message_id
            last = receive(message_id, delivery.redelivered, delivery.body == body)
            delivery.ack()
            consumed[number] += 1
            if last:
                self._wake.set()
