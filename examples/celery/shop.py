"""A shop's work in the background: a Celery application on Leveret.

Orders are worked off by one worker, letters and text messages by another:

    celery -A shop worker -l info -n orders@%h -Q orders -P prefork -c 2
    celery -A shop worker -l info -n post@%h -Q post -P threads -c 4

The line about Leveret is `compat.install()`. All the rest is Celery as everywhere.
"""

from __future__ import annotations

import os
import time
from typing import Any, TypedDict

from celery import Celery

from leveret import compat

compat.install()

app = Celery(
    "shop",
    broker=os.environ.get("BROKER_URL", "amqp://guest:guest@localhost//"),
    backend="rpc://",
)
app.conf.update(
    task_default_queue="orders",
    task_routes={"shop.letter": "post", "shop.remind": "post", "shop.text_message": "post"},
    task_acks_late=True,  # a task is the broker's until it is done: no worker takes it to its grave
    task_reject_on_worker_lost=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"confirm_publish": True},  # .delay() is back when the broker has it
    broker_connection_retry_on_startup=True,
    result_expires=600,
)


class Order(TypedDict):
    """What has been ordered.

    Attributes:
        number: of the order.
        cents: what it costs.
        busy: how often the bank is busy before it takes the money, in this example.
    """

    number: int
    cents: int
    busy: int


class BankIsBusy(Exception):
    """To be tried again."""


@app.task
def pack(order: Order) -> Order:
    """The first link of the chain: its result is the argument of the next."""
    return order


@app.task(bind=True, autoretry_for=(BankIsBusy,), max_retries=5, default_retry_delay=0.2)
def charge(self: Any, order: Order) -> Order:
    """Take the money, or come back later."""
    if self.request.retries < order["busy"]:
        raise BankIsBusy(order["number"])
    return order


@app.task(bind=True)
def ship(self: Any, order: Order) -> dict[str, Any]:
    """The end of the chain: what the customer is told."""
    return {"number": order["number"], "shipped_by": self.request.hostname}


@app.task(bind=True)
def letter(self: Any, shipped: dict[str, Any]) -> str:
    """Waits for a slow printer in one of many threads."""
    time.sleep(0.05)
    by = shipped["shipped_by"], self.request.hostname
    return f"order {shipped['number']}: shipped by {by[0]}, letter by {by[1]}"


@app.task
def remind(number: int) -> float:
    """Remind of a bill, and tell when that was (Unix time)."""
    return time.time()


@app.task(rate_limit="10/s")
def text_message(number: int) -> float:
    """No more of these than the provider takes; tells when it was sent (Unix time)."""
    return time.time()
