"""aio-pika: `connect` (not the robust one), publishes gathered, consuming with a callback."""

from __future__ import annotations

import asyncio
from itertools import cycle, islice

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.clients.driver import AsyncClient, run_async
from bench.jobs import HEARTBEAT, Kind


class Client(AsyncClient):
    distribution = "aio-pika"
    left = 0
    holding = False

    async def open(self) -> None:
        self.connection = await aio_pika.connect(f"{self.task.url}?heartbeat={HEARTBEAT}")
        job = self.task.job
        confirms = job.kind is Kind.CONFIRM
        self.channels = []
        for _ in range(max(1, job.channels)):
            channel = await self.connection.channel(publisher_confirms=confirms)
            await channel.set_qos(job.prefetch)
            self.channels.append(channel)
        self.channel = self.channels[0]
        self.exchanges = [
            await channel.get_exchange(self.task.exchange, ensure=False)
            for channel in self.channels
        ]

    async def declare(self) -> None:
        await self.channel.declare_queue(self.task.queue, passive=True)

    async def publish(self) -> None:
        message, body = aio_pika.Message, self.task.body
        publishes = cycle([exchange.publish for exchange in self.exchanges])
        for publish in islice(publishes, self.task.messages):
            await publish(message(body), "", mandatory=False)

    async def confirm(self) -> None:
        publish, message, body = self.exchanges[0].publish, aio_pika.Message, self.task.body
        in_flight = self.task.job.in_flight
        if in_flight == 1:
            await self.publish()
            return
        for start in range(0, self.task.messages, in_flight):
            count = min(in_flight, self.task.messages - start)
            await asyncio.gather(
                *(publish(message(body), "", mandatory=False) for _ in range(count))
            )

    async def subscribe(self) -> None:
        self.holding = self.task.job.held > 0
        size = len(self.task.body)
        ack = self.task.job.ack

        async def on_message(message: AbstractIncomingMessage) -> None:
            if len(message.body) != size:
                self.done.set_exception(ValueError("wrong size of body"))
            if self.holding:
                self.held.append(message)
            elif ack:
                await message.ack()
            self.left -= 1
            if not self.left:
                self.done.set_result(None)

        for channel in self.channels:
            queue = await channel.get_queue(self.task.queue, ensure=False)
            await queue.consume(on_message, no_ack=not ack)

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
