"""Leveret, asyncio."""

from __future__ import annotations

from itertools import cycle, islice

import leveret
import leveret.asyncio
from bench.clients.driver import AsyncClient, Task, run_async
from bench.jobs import HEARTBEAT, Kind


class Client(AsyncClient):
    distribution = "leveret"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.detail = leveret.codec

    async def open(self) -> None:
        self.connection = await leveret.asyncio.connect(self.task.url, heartbeat=HEARTBEAT)
        count = max(1, self.task.job.channels)
        self.channels = [await self.connection.channel() for _ in range(count)]
        self.channel = self.channels[0]
        if self.task.job.kind is Kind.CONFIRM:
            await self.channel.confirm_select()

    async def declare(self) -> None:
        await self.channel.queue_declare(self.task.queue, passive=True)

    async def publish(self) -> None:
        exchange, body = self.task.exchange, self.task.body
        publishes = cycle([channel.basic_publish for channel in self.channels])
        for publish in islice(publishes, self.task.messages):
            await publish(body, exchange)

    async def confirm(self) -> None:
        exchange, body, in_flight = self.task.exchange, self.task.body, self.task.job.in_flight
        if in_flight == 1:
            publish = self.channel.publish
            for _ in range(self.task.messages):
                await publish(body, exchange, mandatory=False, persistent=False)
            return
        async with self.channel.publisher(max_in_flight=in_flight) as publisher:
            for _ in range(self.task.messages):
                await publisher.publish(body, exchange, mandatory=False, persistent=False)

    async def subscribe(self) -> None:
        queue, job = self.task.queue, self.task.job
        self.consumers = [
            await channel.consume(queue, prefetch=job.prefetch, no_ack=not job.ack)
            for channel in self.channels
        ]

    async def take(self, messages: int) -> None:
        size = len(self.task.body)
        ack = self.task.job.ack
        if self.task.job.channels:
            for consumer in islice(cycle(self.consumers), messages):
                delivery = await anext(consumer)
                if len(delivery.body) != size:
                    raise ValueError("wrong size of body")
                if ack:
                    delivery.ack()
            return
        left = messages
        async for delivery in self.consumers[0]:
            if len(delivery.body) != size:
                raise ValueError("wrong size of body")
            if ack:
                delivery.ack()
            left -= 1
            if not left:
                break

    async def hold(self, messages: int) -> None:
        left = messages
        async for delivery in self.consumers[0]:
            self.held.append(delivery)
            left -= 1
            if not left:
                break

    async def close(self) -> None:
        await self.connection.close()


if __name__ == "__main__":
    run_async(Client)
