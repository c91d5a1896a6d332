"""Tutorial 7, "Publisher Confirms": three ways to be sure that messages have arrived.

One at a time is simple and slow. A window is nearly as simple and fast. Handles are for those who
want to act on the outcome of each message.
"""

import argparse
import asyncio
import time

from leveret import PublishError
from leveret.asyncio import Channel, connect


async def one_at_a_time(channel: Channel, queue: str, count: int) -> None:
    """Each publish waits for its confirm; one that is not confirmed raises."""
    for number in range(count):
        await channel.publish(str(number).encode(), routing_key=queue)


async def with_a_window(channel: Channel, queue: str, count: int) -> None:
    """Up to `max_in_flight` messages are under way; the end of the block waits for the rest.

    PublishFailures has an error for each message that was not confirmed.
    """
    async with channel.publisher(max_in_flight=100) as publisher:
        for number in range(count):
            await publisher.publish(str(number).encode(), routing_key=queue)


async def with_handles(channel: Channel, queue: str, count: int) -> None:
    """Each message has a handle, which tells its outcome."""
    publications = [
        channel.publish_nowait(str(number).encode(), routing_key=queue) for number in range(count)
    ]
    for publication in publications:
        try:
            await publication.wait()
        except PublishError as error:
            print(f" [!] {publication.body!r}: {error} (may be tried again: {error.retryable})")


async def main(url: str, count: int) -> None:
    async with connect(url) as connection:
        for way in (one_at_a_time, with_a_window, with_handles):
            async with connection.channel() as channel:
                queue = (await channel.queue_declare(exclusive=True)).queue
                started = time.perf_counter()
                await way(channel, queue, count)
                seconds = time.perf_counter() - started
                there = (await channel.queue_declare(queue, passive=True)).message_count
                print(f" [x] {way.__name__}: {there} messages confirmed in {seconds:.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, default=1000, help="messages for each way")
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, arguments.count))
