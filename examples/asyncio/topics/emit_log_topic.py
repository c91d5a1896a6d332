"""Tutorial 5, "Topics": send a log line under a key of words with dots in between.

For example: emit_log_topic.py kern.critical "A critical kernel error"
"""

import argparse
import asyncio

from leveret.asyncio import connect


async def main(url: str, key: str, line: str) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        await channel.exchange_declare("topic_logs", "topic")
        await channel.publish(
            line.encode(), exchange="topic_logs", routing_key=key, mandatory=False
        )
        print(f" [x] Sent {key}:{line}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("key", nargs="?", default="anonymous.info")
    parser.add_argument("line", nargs="*", default=["Hello", "World!"])
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, arguments.key, " ".join(arguments.line)))
