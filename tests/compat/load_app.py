"""Celery under load: a worker that writes down what it has done, a publisher what it has sent.

    celery -A load_app worker
    python load_app.py COUNT

The environment says which library is under it (DRIVER: py-amqp or leveret), the broker's URL, the
queue, the folder for what is written down, and whether tasks are acknowledged late.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

from celery import Celery

DRIVER = os.environ["DRIVER"]
FOLDER = Path(os.environ["FOLDER"])
if DRIVER == "leveret":
    from leveret import compat

    compat.install()

app = Celery("load_app", broker=os.environ["BROKER_URL"])
app.conf.update(
    task_default_queue=os.environ["TASK_QUEUE"],
    task_acks_late=os.environ["ACKS"] == "late",
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_enable_remote_control=False,
    worker_prefetch_multiplier=4,
    broker_transport_options={"confirm_publish": True},
    broker_connection_retry_on_startup=True,
    broker_connection_max_retries=None,
    task_publish_retry_policy={
        "max_retries": 100, "interval_start": 0.05, "interval_step": 0.05, "interval_max": 0.5
    },
)


def write_down(name: str, number: int) -> None:
    """One write of one line: whole, or not there, whatever ends the process."""
    file = os.open(FOLDER / name, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    os.write(file, b"%d\n" % number)
    os.close(file)


@app.task
def work(number: int) -> None:
    """Takes a moment."""
    time.sleep(0.004)
    write_down("done", number)


def main(count: int) -> None:
    """Publish; a number is written down when its publish has come back."""
    with app.connection_for_write() as connection:
        assert connection.transport.driver_name == DRIVER, connection.transport.driver_name
    for number in range(count):
        work.delay(number)
        write_down("sent", number)


if __name__ == "__main__":
    main(int(sys.argv[1]))
