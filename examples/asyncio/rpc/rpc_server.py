"""Tutorial 6, "RPC": answer requests for Fibonacci numbers."""

import argparse
import asyncio
import contextlib

from leveret import Properties
from leveret.asyncio import connect


def fib(n: int) -> int:
    """The n-th Fibonacci number, slowly."""
    return n if n < 2 else fib(n - 1) + fib(n - 2)


async def main(url: str, count: int | None = None) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.queue_declare("rpc_queue", durable=True)
        consumer = await channel.consume("rpc_queue", prefetch=1)
        print(" [x] Awaiting RPC requests", flush=True)
        answered = 0
        async for request in consumer:
            n = int(request.body)
            print(f" [.] fib({n})", flush=True)
            # mandatory=False: a client that has gone away needs no answer
            await channel.publish(
                str(fib(n)).encode(),
                routing_key=request.properties.reply_to or "",
                properties=Properties(correlation_id=request.properties.correlation_id),
                mandatory=False,
                persistent=False,
            )
            request.ack()
            answered += 1
            if answered == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.url, arguments.count))
