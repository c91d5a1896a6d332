"""A connection of the drop-in to each broker."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from tests.support.brokers import ROOT, _run

pytest.importorskip("vine")

Connect = Callable[..., Any]


@pytest.fixture(scope="session")
def certificates() -> Path:
    """The folder with the certificates of the tests, which need no broker."""
    folder = ROOT / ".rabbitmq" / "certs"
    _run("certs", str(folder))
    return folder


@pytest.fixture
def connect(broker: Any) -> Iterator[Connect]:
    """Makes connections; they are collected at the end."""
    from leveret.compat import amqp

    made = []

    def make(*, tls: bool = False, **options: Any) -> Any:
        host, port = broker.address(tls=tls)
        if tls:
            options.setdefault("ssl", {"ca_certs": str(broker.certificates / "ca.pem")})
            options.setdefault("login_method", "PLAIN")
        connection = amqp.Connection(
            f"{host}:{port}", virtual_host=broker.vhost, connect_timeout=10, **options
        )
        connection.connect()
        made.append(connection)
        return connection

    yield make
    for connection in made:
        connection.collect()


@pytest.fixture
def connection(connect: Connect) -> Any:
    """An open connection."""
    return connect()


@pytest.fixture
def channel(connection: Any) -> Any:
    """An open channel."""
    return connection.channel()


@pytest.fixture
def queue(channel: Any) -> str:
    """The name of an empty queue."""
    name: str = channel.queue_declare(exclusive=True, auto_delete=False).queue
    return name
