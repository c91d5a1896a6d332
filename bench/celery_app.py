"""The Celery application that celery_tasks measures: a worker, or with `client` its caller.

The transport comes from the environment, so that one program runs on both libraries: what differs
between two processes is one call.
"""

from __future__ import annotations

import json
import os
import sys
import time

from celery import Celery  # type: ignore[import-not-found, import-untyped, unused-ignore]

if os.environ["BENCH_TRANSPORT"] == "leveret":
    from leveret import compat

    compat.install()

QUEUE = os.environ["BENCH_QUEUE"]
RESULT_SECONDS = 60

app = Celery("celery_app", broker=os.environ["BENCH_URL"], backend="rpc://")
app.conf.update(
    task_default_queue=QUEUE, result_expires=RESULT_SECONDS, worker_hijack_root_logger=False
)


@app.task(name="add")  # type: ignore[untyped-decorator, unused-ignore]
def add(a: int, b: int) -> int:
    """The sum: a task that costs nothing itself."""
    return a + b


def call(tasks: int) -> dict[str, float]:
    """Call so many tasks, then wait for all results; wall and CPU seconds of it."""
    wall, cpu = time.perf_counter(), time.process_time()
    results = [add.delay(number, number) for number in range(tasks)]
    for number, result in enumerate(results):
        if result.get(timeout=RESULT_SECONDS) != 2 * number:
            raise ValueError("a wrong sum")
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def client() -> None:
    """For each number on stdin one measurement, as a line of JSON; at the end nothing is left."""
    with app.connection_for_write() as connection:
        driver = connection.transport.driver_name
        if (driver == "leveret") != (os.environ["BENCH_TRANSPORT"] == "leveret"):
            raise RuntimeError(f"the transport is {driver}")
        for line in sys.stdin:
            print(json.dumps(call(int(line))), flush=True)
        connection.default_channel.queue_delete(QUEUE)


if __name__ == "__main__":
    client()
