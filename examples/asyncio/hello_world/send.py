"""Tutorial 1, "Hello World": send a message to a queue."""

import argparse
import asyncio

from leveret.asyncio import connect


async def main(url: str) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.queue_declare("hello", durable=True)
        await channel.publish(b"Hello World!", routing_key="hello")
        print(" [x] Sent 'Hello World!'")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url))
