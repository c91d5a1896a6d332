"""Leveret, blocking."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

import leveret
from bench.clients.driver import BlockingClient, Task, run
from bench.jobs import HEARTBEAT, Kind
from leveret import Delivery


class Client(BlockingClient):
    distribution = "leveret"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.detail = leveret.codec

    def open(self) -> None:
        self.connection = leveret.connect(self.task.url, heartbeat=HEARTBEAT)
        count = max(1, self.task.job.channels)
        self.channels = [self.connection.channel() for _ in range(count)]
        self.channel = self.channels[0]
        if self.task.job.kind is Kind.CONFIRM:
            self.channel.confirm_select()

    def declare(self) -> None:
        self.channel.queue_declare(self.task.queue, passive=True)

    def publish(self) -> None:
        exchange, body = self.task.exchange, self.task.body
        publishes = cycle([channel.basic_publish for channel in self.channels])
        for publish in islice(publishes, self.task.messages):
            publish(body, exchange)

    def confirm(self) -> None:
        exchange, body, in_flight = self.task.exchange, self.task.body, self.task.job.in_flight
        if in_flight == 1:
            publish = self.channel.publish
            for _ in range(self.task.messages):
                publish(body, exchange, mandatory=False, persistent=False)
            return
        with self.channel.publisher(max_in_flight=in_flight) as publisher:
            for _ in range(self.task.messages):
                publisher.publish(body, exchange, mandatory=False, persistent=False)

    def subscribe(self) -> None:
        queue, job = self.task.queue, self.task.job
        self.consumers = [
            channel.consume(queue, prefetch=job.prefetch, no_ack=not job.ack)
            for channel in self.channels
        ]

    def take(self, messages: int) -> None:
        size = len(self.task.body)
        ack = self.task.job.ack
        for delivery in self._deliveries(messages):
            if len(delivery.body) != size:
                raise ValueError("wrong size of body")
            if ack:
                delivery.ack()

    def hold(self, messages: int) -> None:
        self.held.extend(self._deliveries(messages))

    def _deliveries(self, messages: int) -> Iterator[Delivery]:
        """Iterating over the consumer; of many, the next one of each in turn."""
        if self.task.job.channels:
            return map(next, islice(cycle(self.consumers), messages))
        return islice(self.consumers[0], messages)

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
