"""The job with the blocking client: a thread for each publisher and consumer.

Publishers share one connection and consumers another (RabbitMQ, "Connections": one that is held
back for publishing too fast must not hold back acknowledgements).
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial

from ... import Channel, Connection, Consumer, LeveretError, Properties, connect
from .job import LOOK, SHUTDOWN, Job, Result, Watch

__all__ = ["run"]


def run(job: Job, result: Result, watch: Watch) -> None:
    """Do the job.

    Args:
        job: what to do.
        result: filled in.
        watch: when to stop.

    Raises:
        LeveretError: there is no broker, or it refused.
    """
    timeout = min(SHUTDOWN, watch.remaining)
    with (
        connect(job.url, name="leveret demo: consumers", connect_timeout=timeout) as consuming,
        connect(job.url, name="leveret demo: publishers", connect_timeout=timeout) as publishing,
    ):
        result.met(consuming.server_properties, consuming.parameters)
        with consuming.channel() as channel:
            channel.queue_declare(job.queue, durable=True, exclusive=True)
        try:
            _Run(job, result, watch).work(consuming, publishing)
        finally:
            if consuming.is_open:
                with consuming.channel(timeout=SHUTDOWN) as channel:
                    result.left = channel.queue_delete(job.queue, timeout=SHUTDOWN)


class _Run:
    """One run and its threads."""

    def __init__(self, job: Job, result: Result, watch: Watch) -> None:
        self._job = job
        self._result = result
        self._watch = watch
        self._wake = threading.Event()  # set when there is reason to look at once
        self._ending = False
        self._threads: list[threading.Thread] = []

    def work(self, consuming: Connection, publishing: Connection) -> None:
        """Publish and consume until the watch says so."""
        job, watch = self._job, self._watch
        consumers: list[Consumer] = []
        try:
            for number in range(job.consumers):
                consumer = consuming.channel().consume(job.queue, prefetch=job.prefetch)
                consumers.append(consumer)
                self._spawn(partial(self._consume, number, consumer))
            channels = [publishing.channel() for _ in range(job.publishers)]
            watch.start()
            for number, channel in enumerate(channels):
                self._spawn(partial(self._publish, number, channel))
            while not watch.over():
                self._wake.wait(LOOK)
                self._wake.clear()
            watch.stop()
        finally:
            self._finish(publishing, consumers)

    def _spawn(self, work: Callable[[], None]) -> None:
        thread = threading.Thread(target=self._guard, args=(work,), daemon=True)
        thread.start()
        self._threads.append(thread)

    def _guard(self, work: Callable[[], None]) -> None:
        """Do the work of a thread; what it raises ends the run."""
        try:
            work()
        except Exception as error:
            if not self._ending:
                self._result.failed(error)
        self._wake.set()

    def _finish(self, publishing: Connection, consumers: list[Consumer]) -> None:
        """End the threads: the publishers' by closing, the consumers' by cancelling."""
        self._ending = True
        with suppress(LeveretError):
            publishing.close(timeout=SHUTDOWN)
        for consumer in consumers:
            with suppress(LeveretError):
                consumer.cancel(SHUTDOWN)
        for thread in self._threads:
            thread.join(SHUTDOWN)

    def _publish(self, number: int, channel: Channel) -> None:
        job, ledger = self._job, self._result.ledger
        body, queue = job.body, job.queue
        published, confirmations = ledger.published, ledger.confirmations
        with channel.publisher(max_in_flight=job.in_flight) as publisher:
            for message in range(ledger.shares[number]):
                published[number] = message + 1
                properties = Properties(message_id=ledger.message_id(number, message))
                publisher.publish(body, routing_key=queue, properties=properties)
                confirmations[number] = message + 1 - publisher.in_flight
        confirmations[number] = published[number]

    def _consume(self, number: int, consumer: Consumer) -> None:
        body, receive = self._job.body, self._result.ledger.receive
        consumed = self._result.consumed
        for delivery in consumer:
            message_id = delivery.properties.message_id
            last = receive(message_id, delivery.redelivered, delivery.body == body)
            delivery.ack()
            consumed[number] += 1
            if last:
                self._wake.set()
