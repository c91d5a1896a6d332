"""The RPC server, client and notification listener of oslo.messaging; on every broker."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack

import pytest

from tests.support.brokers import BrokerUnderTest

from .scripts import ROOT, Script

pytest.importorskip("oslo_messaging")

pytestmark = pytest.mark.timeout(300)  # whole programs, on a machine that does more
FOLDER = ROOT / "oslo_messaging"


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    """Ends what has been started, the last first."""
    with ExitStack() as found:
        yield found


ON_EVENTLET = """
import eventlet, runpy, sys
eventlet.monkey_patch()
sys.path.insert(0, "")
sys.argv[:] = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def start(stack: ExitStack, script: str, broker: BrokerUnderTest, eventlet: bool = False) -> Script:
    url = "rabbit" + broker.url.removeprefix("amqp")
    patched = ["-c", ON_EVENTLET] if eventlet else []
    command = [sys.executable, "-W", "ignore", *patched, script, "--url", url]
    started = Script(command, cwd=FOLDER)
    stack.callback(started.close)
    return started


@pytest.mark.parametrize("eventlet", [False, True], ids=["threads", "eventlet"])
def test_the_stock_answers_and_notifies(
    stack: ExitStack, broker: BrokerUnderTest, eventlet: bool
) -> None:
    if eventlet:
        pytest.importorskip("eventlet", exc_type=ImportError)
    listener = start(stack, "listener.py", broker, eventlet)
    listener.read_until("listening")
    server = start(stack, "server.py", broker, eventlet)
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
