"""A broker for the tests of threads, and channels on it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

import leveret
from leveret.broker import Broker


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
