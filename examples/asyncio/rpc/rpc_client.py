"""Tutorial 6, "RPC": ask for a Fibonacci number and wait for the answer."""

import argparse
import asyncio
import uuid

from leveret import Properties
from leveret.asyncio import Channel, Consumer, connect


class FibonacciClient:
    """Asks one thing at a time. Answers come to a queue of its own."""

    def __init__(self, channel: Channel, answers: Consumer) -> None:
        self._channel = channel
        self._answers = answers

    @classmethod
    async def open(cls, channel: Channel) -> "FibonacciClient":
        queue = (await channel.queue_declare(exclusive=True)).queue
        return cls(channel, await channel.consume(queue, no_ack=True))

    async def call(self, n: int, timeout: float = 30.0) -> int:
        """The n-th Fibonacci number; DeadlineExceeded if no answer comes in time."""
        correlation_id = str(uuid.uuid4())
        # mandatory is the default: without a server there is no queue, and PublishReturned says so
        await self._channel.publish(
            str(n).encode(),
            routing_key="rpc_queue",
            properties=Properties(reply_to=self._answers.queue, correlation_id=correlation_id),
            persistent=False,
        )
        while True:
            answer = await self._answers.get(timeout)
            if answer.properties.correlation_id == correlation_id:  # else: of an earlier call
                return int(answer.body)


async def main(url: str, n: int = 30) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        client = await FibonacciClient.open(channel)
        print(f" [x] Requesting fib({n})")
        print(f" [.] Got {await client.call(n)}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("n", type=int, nargs="?", default=30)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, arguments.n))
