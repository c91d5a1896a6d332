"""Tutorial 4, "Routing": send a log line to those who listen to its severity."""

import argparse
import asyncio

from leveret.asyncio import connect


async def main(url: str, severity: str, line: str) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.exchange_declare("direct_logs", "direct")
        await channel.publish(
            line.encode(), exchange="direct_logs", routing_key=severity, mandatory=False
        )
        print(f" [x] Sent {severity}:{line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("severity", nargs="?", default="info")
    parser.add_argument("line", nargs="*", default=["Hello", "World!"])
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, arguments.severity, " ".join(arguments.line)))
