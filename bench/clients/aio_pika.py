"""aio-pika: `connect` (not the robust one), publishes gathered, consuming with a callback."""

from __future__ import annotations

import asyncio

import aio_pika
from aio_pika.abc import AbstractIncomingMessage

from bench.clients.driver import AsyncClient, run_async
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(AsyncClient):
    distribution = "aio-pika"

    async def open(self) -> None:
        self.connection = await aio_pika.connect(f"{self.task.url}?heartbeat={HEARTBEAT}")
        confirms = self.task.job.kind is Kind.CONFIRM
        self.channel = await self.connection.channel(publisher_confirms=confirms)
        await self.channel.set_qos(PREFETCH)
        self.exchange = await self.channel.get_exchange(self.task.exchange, ensure=False)
        self.queue = await self.channel.get_queue(self.task.queue, ensure=False)

    async def declare(self) -> None:
        await self.channel.declare_queue(self.task.queue, passive=True)

    async def publish(self) -> None:
        publish, message, body = self.exchange.publish, aio_pika.Message, self.task.body
        for _ in range(self.task.messages):
            await publish(message(body), "", mandatory=False)

    async def confirm(self) -> None:
        publish, message, body = self.exchange.publish, aio_pika.Message, self.task.body
        in_flight = self.task.job.in_flight
        if in_flight == 1:
            await self.publish()
            return
        for start in range(0, self.task.messages, in_flight):
            count = min(in_flight, self.task.messages - start)
            await asyncio.gather(
                *(publish(message(body), "", mandatory=False) for _ in range(count))
            )

    async def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.task.job.ack
        done = asyncio.get_running_loop().create_future()

        async def on_message(message: AbstractIncomingMessage) -> None:
            nonlocal left
            if len(message.body) != size:
                done.set_exception(ValueError("wrong size of body"))
            if ack:
                await message.ack()
            left -= 1
            if not left:
                done.set_result(None)

        await self.queue.consume(on_message, no_ack=not ack)
        await done

    async def close(self) -> None:
        await self.connection.close()


if __name__ == "__main__":
    run_async(Client)
