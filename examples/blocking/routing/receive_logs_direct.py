"""Tutorial 4, "Routing": print log lines of the severities that are asked for."""

import argparse
import contextlib

import leveret


def main(url: str, severities: list[str], count: int | None = None) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.exchange_declare("direct_logs", "direct")
        queue = channel.queue_declare(exclusive=True).queue
        for severity in severities:
            channel.queue_bind(queue, "direct_logs", severity)
        consumer = channel.consume(queue, no_ack=True)
        print(" [*] Waiting for logs. To exit press CTRL+C", flush=True)
        for number, delivery in enumerate(consumer, 1):
            print(f" [x] {delivery.routing_key}:{delivery.body.decode()}", flush=True)
            if number == count:
                break


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("severities", nargs="+", help="such as: info warning error")
    parser.add_argument("--count", type=int, help="messages; default: until Ctrl-C")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        main(arguments.url, arguments.severities, arguments.count)
