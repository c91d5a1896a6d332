"""aiormq: nothing waits for the socket (`wait=False`) but one unconfirmed publish in a hundred.

Without that one, publishes would pile up in memory: the queue to the writer is not bounded.
Confirmed ones are gathered, as many as may be in flight.
"""

from __future__ import annotations

import asyncio

import aiormq
from aiormq.abc import DeliveredMessage

from bench.clients.driver import AsyncClient, run_async
from bench.jobs import HEARTBEAT, PREFETCH, Kind


class Client(AsyncClient):
    distribution = "aiormq"

    async def open(self) -> None:
        self.connection = await aiormq.connect(f"{self.task.url}?heartbeat={HEARTBEAT}")
        confirms = self.task.job.kind is Kind.CONFIRM
        channel = await self.connection.channel(publisher_confirms=confirms)
        assert isinstance(channel, aiormq.Channel)  # the abstract one has no `wait`
        self.channel = channel
        await self.channel.basic_qos(prefetch_count=PREFETCH)

    async def declare(self) -> None:
        await self.channel.queue_declare(self.task.queue, passive=True)

    async def publish(self) -> None:
        publish = self.channel.basic_publish
        exchange, body = self.task.exchange, self.task.body
        for sent in range(self.task.messages):
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

    async def consume(self) -> None:
        left = self.task.messages
        size = len(self.task.body)
        ack = self.channel.basic_ack if self.task.job.ack else None
        done = asyncio.get_running_loop().create_future()

        async def on_message(message: DeliveredMessage) -> None:
            nonlocal left
            if len(message.body) != size:
                done.set_exception(ValueError("wrong size of body"))
            if ack is not None:
                assert message.delivery_tag is not None
                await ack(message.delivery_tag, wait=False)
            left -= 1
            if not left:
                done.set_result(None)

        await self.channel.basic_consume(self.task.queue, on_message, no_ack=ack is None)
        await done

    async def close(self) -> None:
        await self.connection.close()


if __name__ == "__main__":
    run_async(Client)
