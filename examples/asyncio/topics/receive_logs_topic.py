"""Tutorial 5, "Topics": print log lines whose key fits one of the patterns.

In a pattern, * stands for one word and # for any number of words: "kern.*", "*.critical", "#".
"""

import argparse
import asyncio
import contextlib

from leveret.asyncio import connect


async def main(url: str, patterns: list[str], count: int | None = None) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.exchange_declare("topic_logs", "topic")
        queue = (await channel.queue_declare(exclusive=True)).queue
        for pattern in patterns:
            await channel.queue_bind(queue, "topic_logs", pattern)
        consumer = await channel.consume(queue, no_ack=True)
        print(" [*] Waiting for logs. To exit press CTRL+C", flush=True)
        received = 0
        async for delivery in consumer:
            print(f" [x] {delivery.routing_key}:{delivery.body.decode()}", flush=True)
            received += 1
            if received == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("patterns", nargs="+")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.url, arguments.patterns, arguments.count))
