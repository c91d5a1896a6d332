"""Leveret, blocking."""

from __future__ import annotations

import leveret
from bench.clients.driver import BlockingClient, Task, run
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(BlockingClient):
    distribution = "leveret"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.detail = leveret.codec

    def open(self) -> None:
        self.connection = leveret.connect(self.task.url, heartbeat=HEARTBEAT)
        self.channel = self.connection.channel()
        if self.task.job.kind is Kind.CONFIRM:
            self.channel.confirm_select()

    def declare(self) -> None:
        self.channel.queue_declare(self.task.queue, passive=True)

    def publish(self) -> None:
        publish = self.channel.basic_publish
        exchange, body = self.task.exchange, self.task.body
        for _ in range(self.task.messages):
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

    def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.task.job.ack
        with self.channel.consume(self.task.queue, prefetch=PREFETCH, no_ack=not ack) as consumer:
            for delivery in consumer:
                if len(delivery.body) != size:
                    raise ValueError("wrong size of body")
                if ack:
                    delivery.ack()
                left -= 1
                if not left:
                    break

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
