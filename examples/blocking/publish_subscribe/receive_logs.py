"""Tutorial 3, "Publish/Subscribe": print every log line that is sent from now on."""

import argparse
import contextlib

import leveret


def main(url: str, count: int | None = None) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.exchange_declare("logs", "fanout")
        # a queue of our own, named by the broker, which goes with this connection
        queue = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(queue, "logs")
        consumer = channel.consume(queue, no_ack=True)
        print(" [*] Waiting for logs. To exit press CTRL+C", flush=True)
        for number, delivery in enumerate(consumer, 1):
            print(f" [x] {delivery.body.decode()}", flush=True)
            if number == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.url, arguments.count)
