"""Tutorial 2, "Work Queues": put a task into a queue.

Each dot in the task stands for a second of work: new_task.py "A very hard task..."
"""

import argparse

import leveret


def main(url: str, task: str) -> None:
    with leveret.connect(url) as connection, connection.channel() as channel:
        # both are needed for a task to survive a restart of the broker: a durable queue, and a
        # persistent message, which is what publish() sends
        channel.queue_declare("task_queue", durable=True)
        channel.publish(task.encode(), routing_key="task_queue")
        print(f" [x] Sent {task!r}")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default="amqp://localhost")
    parser.add_argument("task", nargs="*", default=["Hello", "World!"])
    arguments = parser.parse_args()
    main(arguments.url, " ".join(arguments.task))
