"""Tutorial 3, "Publish/Subscribe": send a log line to all who listen."""

import argparse

import leveret


def main(url: str, line: str) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.exchange_declare("logs", "fanout")
        # mandatory=False: that nobody listens is fine
        channel.publish(line.encode(), exchange="logs", mandatory=False)
        print(f" [x] Sent {line!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("line", nargs="*", default=["info:", "Hello", "World!"])
    arguments = parser.parse_args()
    main(arguments.url, " ".join(arguments.line))
