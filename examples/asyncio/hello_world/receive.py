"""Tutorial 1, "Hello World": print what comes out of a queue."""

import argparse
import asyncio
import contextlib

from leveret.asyncio import connect


async def main(url: str, count: int | None = None) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.queue_declare("hello", durable=True)
        consumer = await channel.consume("hello")
        print(" [*] Waiting for messages. To exit press CTRL+C", flush=True)
        received = 0
        async for delivery in consumer:
            print(f" [x] Received {delivery.body.decode()!r}", flush=True)
            delivery.ack()
            received += 1
            if received == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.url, arguments.count))
