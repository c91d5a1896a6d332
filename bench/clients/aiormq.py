"""aiormq: nothing waits for the socket (`wait=False`) but one unconfirmed publish in a hundred.

Without that one, publishes would pile up in memory: the queue to the writer is not bounded.
Confirmed ones are gathered, as many as may be in flight.
"""

from __future__ import annotations

import asyncio
from itertools import cycle, islice

import aiormq
from aiormq.abc import DeliveredMessage

from bench.clients.driver import AsyncClient, run_async
from bench.jobs import HEARTBEAT, Kind


class Client(AsyncClient):
    distribution = "aiormq"
    left = 0
    holding = False

    async def open(self) -> None:
        self.connection = await aiormq.connect(f"{self.task.url}?heartbeat={HEARTBEAT}")
        job = self.task.job
        confirms = job.kind is Kind.CONFIRM
        self.channels = []
        for _ in range(max(1, job.channels)):
            channel = await self.connection.channel(publisher_confirms=confirms)
            assert isinstance(channel, aiormq.Channel)  # the abstract one has no `wait`
            await channel.basic_qos(prefetch_count=job.prefetch)
            self.channels.append(channel)
        self.channel = self.channels[0]

    async def declare(self) -> None:
        await self.channel.queue_declare(self.task.queue, passive=True)

    async def publish(self) -> None:
        exchange, body = self.task.exchange, self.task.body
        publishes = cycle([channel.basic_publish for channel in self.channels])
        for sent, publish in enumerate(islice(publishes, self.task.messages)):
            await publish(body, exchange=exchange, wait=sent % 100 == 0)

    async def confirm(self) -> None:
        publish = self.channel.basic_publish
        exchange, body, in_flight = self.task.exchange, self.task.body, self.task.job.in_flight
        if in_flight == 1:
            for _ in range(self.task.messages):
                await publish(body, exchange=exchange, wait=False)
            return
        for start in range(0, self.task.messages, in_flight):
            count = min(in_flight, self.task.messages - start)
            await asyncio.gather(
                *(publish(body, exchange=exchange, wait=False) for _ in range(count))
            )

    async def subscribe(self) -> None:
        self.holding = self.task.job.held > 0
        size = len(self.task.body)
        no_ack = not self.task.job.ack

        async def on_message(message: DeliveredMessage) -> None:
            if len(message.body) != size:
                self.done.set_exception(ValueError("wrong size of body"))
            if self.holding:
                self.held.append(message)
            elif not no_ack:
                assert message.delivery_tag is not None
                await message.channel.basic_ack(message.delivery_tag, wait=False)
            self.left -= 1
            if not self.left:
                self.done.set_result(None)

        for channel in self.channels:
            await channel.basic_consume(self.task.queue, on_message, no_ack=no_ack)

    async def take(self, messages: int) -> None:
        self.left += messages
        if self.left:
            self.done = asyncio.get_running_loop().create_future()
            await self.done

    async def hold(self, messages: int) -> None:
        await self.take(messages)
        self.holding = False

    async def close(self) -> None:
        await self.connection.close()


if __name__ == "__main__":
    run_async(Client)
