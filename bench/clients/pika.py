"""pika: BlockingConnection, consuming with callbacks."""

from __future__ import annotations

import pika  # type: ignore[import-untyped, unused-ignore]
from pika.adapters.blocking_connection import (  # type: ignore[import-untyped, unused-ignore]
    BlockingChannel,
)
from pika.spec import Basic, BasicProperties  # type: ignore[import-untyped, unused-ignore]

from bench.clients.driver import BlockingClient, run
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(BlockingClient):
    distribution = "pika"

    def open(self) -> None:
        parameters = pika.URLParameters(self.task.url)
        parameters.heartbeat = HEARTBEAT
        self.connection = pika.BlockingConnection(parameters)
        self.channel = self.connection.channel()
        self.channel.basic_qos(prefetch_count=PREFETCH)
        if self.task.job.kind is Kind.CONFIRM:
            self.channel.confirm_delivery()

    def declare(self) -> None:
        self.channel.queue_declare(self.task.queue, passive=True)

    def publish(self) -> None:
        publish = self.channel.basic_publish
        exchange, body = self.task.exchange, self.task.body
        for _ in range(self.task.messages):
            publish(exchange, "", body)

    def confirm(self) -> None:
        if self.task.job.in_flight > 1:
            raise NotImplementedError("waits for each confirm in basic_publish")
        self.publish()

    def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.task.job.ack

        def on_message(
            channel: BlockingChannel, method: Basic.Deliver, _: BasicProperties, body: bytes
        ) -> None:
            nonlocal left
            if len(body) != size:
                raise ValueError("wrong size of body")
            left -= 1
            if ack:
                channel.basic_ack(method.delivery_tag)
            if not left:
                channel.stop_consuming()

        self.channel.basic_consume(self.task.queue, on_message, auto_ack=not ack)
        self.channel.start_consuming()

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
