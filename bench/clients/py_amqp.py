"""py-amqp: callbacks pumped by drain_events.

Its confirm_publish waits for each confirm; more in flight is done with confirm_select and the
channel's `events`, which are public though not in its manual.
"""

from __future__ import annotations

from itertools import cycle, islice

import amqp  # type: ignore[import-untyped, unused-ignore]

from bench.address import Address
from bench.clients.driver import BlockingClient, run
from bench.jobs import HEARTBEAT, Kind


class Client(BlockingClient):
    distribution = "amqp"
    left = 0
    holding = False

    def open(self) -> None:
        address = Address.parse(self.task.url)
        self.connection = amqp.Connection(
            host=f"{address.host}:{address.port}",
            userid=address.user,
            password=address.password,
            virtual_host=address.virtual_host,
            heartbeat=HEARTBEAT,
            confirm_publish=self.task.job.in_flight == 1,
        )
        self.connection.connect()
        job = self.task.job
        self.channels = [self.connection.channel() for _ in range(max(1, job.channels))]
        self.channel = self.channels[0]
        for channel in self.channels:
            channel.basic_qos(0, job.prefetch, False)
        if job.kind is Kind.CONFIRM:
            self.channel.confirm_select()

    def declare(self) -> None:
        self.channel.queue_declare(self.task.queue, passive=True)

    def publish(self) -> None:
        message, exchange, body = amqp.Message, self.task.exchange, self.task.body
        publishes = cycle([channel.basic_publish for channel in self.channels])
        for publish in islice(publishes, self.task.messages):
            publish(message(body), exchange)

    def confirm(self) -> None:
        if self.task.job.in_flight == 1:
            self.publish()
            return
        publish, message = self.channel.basic_publish, amqp.Message
        exchange, body, in_flight = self.task.exchange, self.task.body, self.task.job.in_flight
        confirmed = 0

        def on_ack(delivery_tag: int, multiple: bool) -> None:
            nonlocal confirmed
            confirmed = delivery_tag  # in order, as nothing is bound to the exchange

        self.channel.events["basic_ack"].add(on_ack)
        drain = self.connection.drain_events
        for sent in range(1, self.task.messages + 1):
            publish(message(body), exchange)
            while sent - confirmed >= in_flight:
                drain()
        while confirmed < self.task.messages:
            drain()

    def subscribe(self) -> None:
        self.holding = self.task.job.held > 0
        size = len(self.task.body)
        no_ack = not self.task.job.ack

        def on_message(message: amqp.Message) -> None:
            if len(message.body) != size:
                raise ValueError("wrong size of body")
            self.left -= 1
            if self.holding:
                self.held.append(message)
            elif not no_ack:
                message.channel.basic_ack(message.delivery_tag)

        for channel in self.channels:
            channel.basic_consume(self.task.queue, no_ack=no_ack, callback=on_message)

    def take(self, messages: int) -> None:
        self.left += messages
        drain = self.connection.drain_events
        while self.left:
            drain()

    def hold(self, messages: int) -> None:
        self.take(messages)
        self.holding = False

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
