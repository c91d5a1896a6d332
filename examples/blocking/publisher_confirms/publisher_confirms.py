"""Tutorial 7, "Publisher Confirms": three ways to be sure that messages have arrived.

One at a time is simple and slow. A window is nearly as simple and fast. Handles are for those who
want to act on the outcome of each message.
"""

import argparse
import time

import leveret


def one_at_a_time(channel: leveret.Channel, queue: str, count: int) -> None:
    """Each publish waits for its confirm; one that is not confirmed raises."""
    for number in range(count):
        channel.publish(str(number).encode(), routing_key=queue)


def with_a_window(channel: leveret.Channel, queue: str, count: int) -> None:
    """Up to `max_in_flight` messages are under way; the end of the block waits for the rest.

    PublishFailures has an error for each message that was not confirmed.
    """
    with channel.publisher(max_in_flight=100) as publisher:
        for number in range(count):
            publisher.publish(str(number).encode(), routing_key=queue)


def with_handles(channel: leveret.Channel, queue: str, count: int) -> None:
    """Each message has a handle, which tells its outcome."""
    publications = [
        channel.publish_nowait(str(number).encode(), routing_key=queue) for number in range(count)
    ]
    for publication in publications:
        try:
            publication.wait()
        except leveret.PublishError as error:
            print(f" [!] {publication.body!r}: {error} (may be tried again: {error.retryable})")


def main(url: str, count: int) -> None:
    with leveret.connect(url) as connection:
        for way in (one_at_a_time, with_a_window, with_handles):
            with connection.channel() as channel:
                queue = channel.queue_declare(exclusive=True).queue
                started = time.perf_counter()
                way(channel, queue, count)
                seconds = time.perf_counter() - started
                there = channel.queue_declare(queue, passive=True).message_count
                print(f" [x] {way.__name__}: {there} messages confirmed in {seconds:.3f} s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, default=1000, help="messages for each way")
    arguments = parser.parse_args()
    main(arguments.url, arguments.count)
