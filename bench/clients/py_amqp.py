"""py-amqp: callbacks pumped by drain_events.

Its confirm_publish waits for each confirm; more in flight is done with confirm_select and the
channel's `events`, which are public though not in its manual.
"""

from __future__ import annotations

import amqp  # type: ignore[import-untyped, unused-ignore]

from bench.address import Address
from bench.clients.driver import BlockingClient, run
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(BlockingClient):
    distribution = "amqp"

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
        self.channel = self.connection.channel()
        self.channel.basic_qos(0, PREFETCH, False)
        if self.task.job.kind is Kind.CONFIRM:
            self.channel.confirm_select()

    def declare(self) -> None:
        self.channel.queue_declare(self.task.queue, passive=True)

    def publish(self) -> None:
        publish, message = self.channel.basic_publish, amqp.Message
        exchange, body = self.task.exchange, self.task.body
        for _ in range(self.task.messages):
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

    def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.channel.basic_ack if self.task.job.ack else None

        def on_message(message: amqp.Message) -> None:
            nonlocal left
            if len(message.body) != size:
                raise ValueError("wrong size of body")
            left -= 1
            if ack is not None:
                ack(message.delivery_tag)

        self.channel.basic_consume(self.task.queue, no_ack=ack is None, callback=on_message)
        drain = self.connection.drain_events
        while left:
            drain()

    def close(self) -> None:
        self.connection.close()


if __name__ == "__main__":
    run(Client)
