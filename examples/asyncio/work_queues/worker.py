"""Tutorial 2, "Work Queues": do the tasks in a queue, one at a time.

Start several: each takes the next task when it is done with its last one.
"""

import argparse
import asyncio
import contextlib

from leveret.asyncio import connect


async def main(url: str, count: int | None = None) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.queue_declare("task_queue", durable=True)
        # prefetch=1: no task is given to a worker that has one in hand
        consumer = await channel.consume("task_queue", prefetch=1)
        print(" [*] Waiting for messages. To exit press CTRL+C", flush=True)
        done = 0
        async for delivery in consumer:
            print(f" [x] Received {delivery.body.decode()!r}", flush=True)
            await asyncio.sleep(delivery.body.count(b"."))
            print(" [x] Done", flush=True)
            delivery.ack()  # without it, the task would go to another worker once this one ends
            done += 1
            if done == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(main(arguments.url, arguments.count))
