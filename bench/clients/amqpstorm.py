"""amqpstorm: consuming with build_inbound_messages, without decoding of strings."""

from __future__ import annotations

from amqpstorm.uri_connection import UriConnection

from bench.clients.driver import BlockingClient, run
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(BlockingClient):
    distribution = "AMQPStorm"

    def open(self) -> None:
        self.connection = UriConnection(f"{self.task.url}?heartbeat={HEARTBEAT}")
        self.channel = self.connection.channel()
        self.channel.basic.qos(PREFETCH)
        if self.task.job.kind is Kind.CONFIRM:
            self.channel.confirm_deliveries()

    def declare(self) -> None:
        self.channel.queue.declare(self.task.queue, passive=True)

    def publish(self) -> None:
        publish = self.channel.basic.publish
        exchange, body = self.task.exchange, self.task.body
        for _ in range(self.task.messages):
            publish(body, "", exchange)

    def confirm(self) -> None:
        if self.task.job.in_flight > 1:
            raise NotImplementedError("waits for each confirm in basic.publish")
        self.publish()

    def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.task.job.ack
        self.channel.basic.consume(queue=self.task.queue, no_ack=not ack)
        for message in self.channel.build_inbound_messages(auto_decode=False):
            if len(message.body) != size:
                raise ValueError("wrong size of body")
            if ack:
                message.ack()
            left -= 1
            if not left:
                break

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
