"""pika: BlockingConnection, consuming with callbacks."""

from __future__ import annotations

from itertools import cycle, islice

import pika  # type: ignore[import-untyped, unused-ignore]
from pika.adapters.blocking_connection import (  # type: ignore[import-untyped, unused-ignore]
    BlockingChannel,
)
from pika.spec import Basic, BasicProperties  # type: ignore[import-untyped, unused-ignore]

from bench.clients.driver import BlockingClient, run
from bench.jobs import HEARTBEAT, Kind


class Client(BlockingClient):
    distribution = "pika"
    left = 0
    holding = False

    def open(self) -> None:
        parameters = pika.URLParameters(self.task.url)
        parameters.heartbeat = HEARTBEAT
        self.connection = pika.BlockingConnection(parameters)
        job = self.task.job
        self.channels = [self.connection.channel() for _ in range(max(1, job.channels))]
        self.channel = self.channels[0]
        for channel in self.channels:
            channel.basic_qos(prefetch_count=job.prefetch)
        if job.kind is Kind.CONFIRM:
            self.channel.confirm_delivery()

    def declare(self) -> None:
        self.channel.queue_declare(self.task.queue, passive=True)

    def publish(self) -> None:
        exchange, body = self.task.exchange, self.task.body
        publishes = cycle([channel.basic_publish for channel in self.channels])
        for publish in islice(publishes, self.task.messages):
            publish(exchange, "", body)

    def confirm(self) -> None:
        if self.task.job.in_flight > 1:
            raise NotImplementedError("waits for each confirm in basic_publish")
        self.publish()

    def subscribe(self) -> None:
        self.holding = self.task.job.held > 0
        size = len(self.task.body)
        ack = self.task.job.ack

        def on_message(
            channel: BlockingChannel, method: Basic.Deliver, _: BasicProperties, body: bytes
        ) -> None:
            if len(body) != size:
                raise ValueError("wrong size of body")
            self.left -= 1
            if self.holding:
                self.held.append((method, body))
            elif ack:
                channel.basic_ack(method.delivery_tag)

        for channel in self.channels:
            channel.basic_consume(self.task.queue, on_message, auto_ack=not ack)

    def take(self, messages: int) -> None:
        self.left += messages
        while self.left > 0:
            self.connection.process_data_events(time_limit=None)

    def hold(self, messages: int) -> None:
        self.take(messages)
        self.holding = False

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
