"""Tutorial 1, "Hello World": print what comes out of a queue."""

import argparse
import contextlib

import leveret


def main(url: str, count: int | None = None) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.queue_declare("hello", durable=True)
        consumer = channel.consume("hello")
        print(" [*] Waiting for messages. To exit press CTRL+C", flush=True)
        for number, delivery in enumerate(consumer, 1):
            print(f" [x] Received {delivery.body.decode()!r}", flush=True)
            delivery.ack()
            if number == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.url, arguments.count)
