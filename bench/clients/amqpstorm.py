"""amqpstorm: consuming with build_inbound_messages, without decoding of strings."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import cycle, islice

from amqpstorm.message import Message
from amqpstorm.uri_connection import UriConnection

from bench.clients.driver import BlockingClient, run
from bench.jobs import HEARTBEAT, Kind


class Client(BlockingClient):
    distribution = "AMQPStorm"

    def open(self) -> None:
        self.connection = UriConnection(f"{self.task.url}?heartbeat={HEARTBEAT}")
        job = self.task.job
        self.channels = [self.connection.channel() for _ in range(max(1, job.channels))]
        self.channel = self.channels[0]
        for channel in self.channels:
            channel.basic.qos(job.prefetch)
        if job.kind is Kind.CONFIRM:
            self.channel.confirm_deliveries()

    def declare(self) -> None:
        self.channel.queue.declare(self.task.queue, passive=True)

    def publish(self) -> None:
        exchange, body = self.task.exchange, self.task.body
        publishes = cycle([channel.basic.publish for channel in self.channels])
        for publish in islice(publishes, self.task.messages):
            publish(body, "", exchange)

    def confirm(self) -> None:
        if self.task.job.in_flight > 1:
            raise NotImplementedError("waits for each confirm in basic.publish")
        self.publish()

    def subscribe(self) -> None:
        for channel in self.channels:
            channel.basic.consume(queue=self.task.queue, no_ack=not self.task.job.ack)
        self.messages = [
            channel.build_inbound_messages(auto_decode=False) for channel in self.channels
        ]

    def take(self, messages: int) -> None:
        size = len(self.task.body)
        ack = self.task.job.ack
        for message in self._deliveries(messages):
            body = message.body
            assert isinstance(body, bytes)
            if len(body) != size:
                raise ValueError("wrong size of body")
            if ack:
                message.ack()

    def hold(self, messages: int) -> None:
        self.held.extend(self._deliveries(messages))

    def _deliveries(self, messages: int) -> Iterator[Message]:
        return map(next, islice(cycle(self.messages), messages))

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
