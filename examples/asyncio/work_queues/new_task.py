"""Tutorial 2, "Work Queues": put a task into a queue.

Each dot in the task stands for a second of work: new_task.py "A very hard task..."
"""

import argparse
import asyncio

from leveret.asyncio import connect


async def main(url: str, task: str) -> None:
    async with connect(url) as connection, connection.channel() as channel:
        # both are needed for a task to survive a restart of the broker: a durable queue, and a
        # persistent message, which is what publish() sends
        await channel.queue_declare("task_queue", durable=True)
        await channel.publish(task.encode(), routing_key="task_queue")
        print(f" [x] Sent {task!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("task", nargs="*", default=["Hello", "World!"])
    arguments = parser.parse_args()
    asyncio.run(main(arguments.url, " ".join(arguments.task)))
