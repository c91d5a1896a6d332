"""Orders come in: calls the tasks of `shop`, and prints what became of them.

    python buy.py

It needs both workers of `shop.py`.
"""

from __future__ import annotations

import argparse
from datetime import UTC, datetime, timedelta

from celery import chain, group
from celery.exceptions import TaskRevokedError
from shop import Order, app, charge, letter, pack, remind, ship, text_message

SECONDS = 30.0


def sell(orders: int) -> None:
    """Chains, all under way at once; every third meets a bank that is busy."""
    chains = [
        chain(pack.s(order), charge.s(), ship.s(), letter.s())
        for order in (Order(number=n, cents=995, busy=n % 3) for n in range(1, orders + 1))
    ]
    for line in group(chains).apply_async().get(timeout=SECONDS):
        print(line)


def remind_later() -> None:
    """Two reminders with a time to run at; one of the bills is paid meanwhile."""
    at = datetime.now(UTC) + timedelta(seconds=2)
    unpaid = remind.apply_async((1,), eta=at)
    paid = remind.apply_async((2,), eta=at)
    paid.revoke()
    early = unpaid.get(timeout=SECONDS) < at.timestamp() - 0.1  # gevent's timers are a bit early
    print("bill 1: reminded", "too early" if early else "at its time")
    try:
        paid.get(timeout=SECONDS)
        print("bill 2: reminded, though it was paid")
    except TaskRevokedError:
        print("bill 2: paid, nobody reminded")


def send_texts(texts: int) -> None:
    """More than the provider takes in a second: the worker spreads them."""
    sent = [text_message.delay(number) for number in range(texts)]
    times = sorted(result.get(timeout=SECONDS) for result in sent)
    print(f"{texts} text messages in {times[-1] - times[0]:.1f} s")


def main(orders: int, texts: int) -> None:
    """Call everything."""
    with app.connection_for_write() as connection:
        print("broker:", connection.transport.driver_name)
    sell(orders)
    remind_later()
    send_texts(texts)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--orders", type=int, default=6)
    parser.add_argument("--texts", type=int, default=10)
    arguments = parser.parse_args()
    main(arguments.orders, arguments.texts)
