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

pytestmark = pytest.mark.timeout(300)  # whole programs, on a machine that does more
FOLDER = ROOT / "celery"
COMMAND = ["-m", "celery", "-A", "shop", "worker", "-l", "info"]
WORKERS = {
    "orders": ["-Q", "orders", "-P", "prefork", "-c", "2"],
    "post": ["-Q", "post", "-P", "threads", "-c", "4"],
}
ORDERS, TEXTS = 6, 5
RETRIES = sum(number % 3 for number in range(1, ORDERS + 1))
BUY = ["buy.py", "--orders", str(ORDERS), "--texts", str(TEXTS)]


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what has been started, the last first."""
    with ExitStack() as found:
        yield found


def start(stack: ExitStack, url: str, *command: str) -> Script:
    script = Script([sys.executable, *command], cwd=FOLDER, environment={"BROKER_URL": url})
    stack.callback(script.close)
    return script


def work(stack: ExitStack, url: str, name: str, *options: str) -> Script:
    return start(stack, url, *COMMAND, "-n", f"{name}@%h", *options)


def check_sales(said: list[str], orders: str, post: str) -> None:
    """What `buy.py` prints, with the names of the workers."""
    assert said[0] == "broker: leveret"
    letters = said[1 : 1 + ORDERS]
    for number, line in enumerate(letters, 1):
        assert line.startswith(f"order {number}: shipped by {orders}@"), line
        assert f", letter by {post}@" in line, line
    reminded, paid, texts = said[1 + ORDERS :]
    assert reminded == "bill 1: reminded at its time"
    assert paid == "bill 2: paid, nobody reminded"
    seconds = float(texts.split()[-2])
    assert seconds >= (TEXTS - 1) / 10 * 0.9, f"faster than the rate limit: {texts}"


def end(worker: Script, retries: int) -> None:
    """End a worker; what it has logged."""
    lines = worker.end(signal.SIGTERM)  # Celery's status after Ctrl-C is 1
    trouble = [line for line in lines if "ERROR" in line or "Traceback" in line]
    assert not trouble, trouble
    assert sum("Retry in" in line for line in lines) == retries
    assert sum("leveret, leverets are Leveret" in line for line in lines) == 1


def test_the_shop_sells(stack: ExitStack, broker: BrokerUnderTest) -> None:
    workers = {name: work(stack, broker.url, name, *WORKERS[name]) for name in WORKERS}
    for worker in workers.values():
        worker.read_until(" ready.")
    check_sales(start(stack, broker.url, *BUY).finish(), "orders", "post")
    end(workers["orders"], RETRIES)
    end(workers["post"], 0)


@pytest.mark.parametrize("pool", ["gevent", "eventlet"])
def test_the_shop_sells_on_greenlets(
    stack: ExitStack, broker: BrokerUnderTest, pool: str
) -> None:
    pytest.importorskip(pool, exc_type=ImportError)
    if broker.name != "rabbitmq-4":
        pytest.skip("one broker is enough for a pool")
    worker = work(stack, broker.url, pool, "-Q", "orders,post", "-P", pool, "-c", "20")
    worker.read_until(" ready.")
    check_sales(start(stack, broker.url, *BUY).finish(), pool, pool)
    end(worker, RETRIES)
