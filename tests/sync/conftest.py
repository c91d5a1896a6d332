"""A broker for the tests of threads, and channels on it; clients of a scripted one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import leveret
from leveret.broker import Broker
from leveret.sync import engine

from ..support.asking import SECONDS, Asking
from ..support.scripted import LIMITED_STEPS, scripted_broker


@pytest.fixture(scope="module")
def broker() -> Iterator[Broker]:
    """One for the module."""
    with Broker() as broker:
        yield broker


@pytest.fixture
def channel(broker: Broker) -> Iterator[leveret.Channel]:
    """A channel of a connection of its own."""
    with leveret.connect(broker.url) as connection, connection.channel() as channel:
        yield channel


@pytest.fixture
def other(broker: Broker) -> Iterator[leveret.Channel]:
    """A channel of another connection."""
    with leveret.connect(broker.url) as connection, connection.channel() as channel:
        yield channel


@pytest.fixture
def asking() -> Iterator[Asking]:
    """A client that has asked, and would lead."""
    with (
        scripted_broker(script=LIMITED_STEPS) as broker,
        leveret.connect(f"amqp://{broker.address}", timeout=SECONDS) as connection,
    ):
        asking = Asking(broker, connection)
        asking.lead()
        yield asking


@pytest.fixture
def idle_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    """The I/O thread stands by for ever, once it does."""
    for name in ("STANDBY", "STANDBY_MAX", "WATCH"):
        monkeypatch.setattr(engine, name, 10 * SECONDS)


@pytest.fixture
def publishing(asking: Asking) -> Asking:
    """One that has published with a confirm."""
    asking.publish()
    asking.lead()
    return asking
