"""Tutorial 3, "Publish/Subscribe": send a log line to all who listen."""

import argparse
import asyncio

from leveret.asyncio import connect


async def main(url: str, line: str) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.exchange_declare("logs", "fanout")
        # mandatory=False: that nobody listens is fine
        await channel.publish(line.encode(), exchange="logs", mandatory=False)
        print(f" [x] Sent {line!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("line", nargs="*", default=["info:", "Hello", "World!"])
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, " ".join(arguments.line)))
