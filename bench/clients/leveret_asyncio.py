"""Leveret, asyncio."""

from __future__ import annotations

import leveret
import leveret.asyncio
from bench.clients.driver import AsyncClient, Task, run_async
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(AsyncClient):
    distribution = "leveret"

    def __init__(self, task: Task) -> None:
        super().__init__(task)
        self.detail = leveret.codec

    async def open(self) -> None:
        self.connection = await leveret.asyncio.connect(self.task.url, heartbeat=HEARTBEAT)
        self.channel = await self.connection.channel()
        if self.task.job.kind is Kind.CONFIRM:
            await self.channel.confirm_select()

    async def declare(self) -> None:
        await self.channel.queue_declare(self.task.queue, passive=True)

    async def publish(self) -> None:
        publish = self.channel.basic_publish
        exchange, body = self.task.exchange, self.task.body
        for _ in range(self.task.messages):
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

    async def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.task.job.ack
        consumer = await self.channel.consume(self.task.queue, prefetch=PREFETCH, no_ack=not ack)
        async with consumer:
            async for delivery in consumer:
                if len(delivery.body) != size:
                    raise ValueError("wrong size of body")
                if ack:
                    delivery.ack()
                left -= 1
                if not left:
                    break

    async def close(self) -> None:
        await self.connection.close()


if __name__ == "__main__":
    run_async(Client)
