"""Tutorial 3, "Publish/Subscribe": print every log line that is sent from now on."""

import argparse
import asyncio
import contextlib

from leveret.asyncio import connect


async def main(url: str, count: int | None = None) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.exchange_declare("logs", "fanout")
        # a queue of our own, named by the broker, which goes with this connection
        queue = (await channel.queue_declare(exclusive=True)).queue
        await channel.queue_bind(queue, "logs")
        consumer = await channel.consume(queue, no_ack=True)
        print(" [*] Waiting for logs. To exit press CTRL+C", flush=True)
        received = 0
        async for delivery in consumer:
            print(f" [x] {delivery.body.decode()}", flush=True)
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
