"""The RPC server, client and notification listener of oslo.messaging; on every broker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.brokers import BrokerUnderTest

from .scripts import ROOT, Script

pytest.importorskip("oslo_messaging")

FOLDER = ROOT / "oslo_messaging"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what has been started, the last first."""
    with ExitStack() as found:
        yield found


def start(stack: ExitStack, script: str, broker: BrokerUnderTest) -> Script:
    url = "rabbit" + broker.url.removeprefix("amqp")
    command = [sys.executable, "-W", "ignore", script, "--url", url]
    started = Script(command, cwd=FOLDER)
    stack.callback(started.close)
    return started


def test_the_stock_answers_and_notifies(stack: ExitStack, broker: BrokerUnderTest) -> None:
    listener = start(stack, "listener.py", broker)
    listener.read_until("listening")
    server = start(stack, "server.py", broker)
    server.read_until("serving")
    assert start(stack, "client.py", broker).finish() == [
        "3 apples reserved, 7 left",
        "2 apples reserved, 5 left",
        "3 apples reserved, 2 left",
        "not reserved: pear: 1 too few",
    ]
    server.finish()
    listener.read_until("stock.one stock.low: apple, 2 left")
    listener.end()
