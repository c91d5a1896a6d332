"""The Celery application: both workers, and the client that buys; on every broker."""

from __future__ import annotations

import signal
import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.brokers import BrokerUnderTest

from .scripts import ROOT, Script

pytest.importorskip("celery")

FOLDER = ROOT / "celery"
COMMAND = ["-m", "celery", "-A", "shop", "worker", "-l", "info"]
WORKERS = {
    "orders": ["-Q", "orders", "-P", "prefork", "-c", "2"],
    "post": ["-Q", "post", "-P", "threads", "-c", "4"],
}
ORDERS, TEXTS = 6, 5


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what has been started, the last first."""
    with ExitStack() as found:
        yield found


def start(stack: ExitStack, url: str, *command: str) -> Script:
    script = Script([sys.executable, *command], cwd=FOLDER, environment={"BROKER_URL": url})
    stack.callback(script.close)
    return script


def test_the_shop_sells(stack: ExitStack, broker: BrokerUnderTest) -> None:
    workers = {
        name: start(stack, broker.url, *COMMAND, "-n", f"{name}@%h", *options)
        for name, options in WORKERS.items()
    }
    for worker in workers.values():
        worker.read_until(" ready.")
    buy = start(stack, broker.url, "buy.py", "--orders", str(ORDERS), "--texts", str(TEXTS))
    said = buy.finish()

    assert said[0] == "broker: leveret"
    letters = said[1 : 1 + ORDERS]
    for number, line in enumerate(letters, 1):
        assert line.startswith(f"order {number}: shipped by orders@"), line
        assert ", letter by post@" in line, line
    reminded, paid, texts = said[1 + ORDERS :]
    assert reminded == "bill 1: reminded at its time"
    assert paid == "bill 2: paid, nobody reminded"
    seconds = float(texts.split()[-2])
    assert seconds >= (TEXTS - 1) / 10 * 0.9, f"faster than the rate limit: {texts}"

    for name, worker in workers.items():
        lines = worker.end(signal.SIGTERM)  # Celery's status after Ctrl-C is 1
        trouble = [line for line in lines if "ERROR" in line or "Traceback" in line]
        assert not trouble, f"{name}: {trouble}"
        retries = sum("Retry in" in line for line in lines)
        expected = sum(number % 3 for number in range(1, ORDERS + 1)) if name == "orders" else 0
        assert retries == expected, f"{name}: {retries} retries"
