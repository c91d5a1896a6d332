"""Tutorial 5, "Topics": print log lines whose key fits one of the patterns.

In a pattern, * stands for one word and # for any number of words: "kern.*", "*.critical", "#".
"""

import argparse
import contextlib

import leveret


def main(url: str, patterns: list[str], count: int | None = None) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.exchange_declare("topic_logs", "topic")
        queue = channel.queue_declare(exclusive=True).queue
        for pattern in patterns:
            channel.queue_bind(queue, "topic_logs", pattern)
        consumer = channel.consume(queue, no_ack=True)
        print(" [*] Waiting for logs. To exit press CTRL+C", flush=True)
        for number, delivery in enumerate(consumer, 1):
            print(f" [x] {delivery.routing_key}:{delivery.body.decode()}", flush=True)
            if number == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("patterns", nargs="+")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.url, arguments.patterns, arguments.count)
