"""A broker without sockets and with a clock of its own, and its clients."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from broker_peer import Clock, Peer

from leveret.broker.node import Node, NodeOptions


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def node(clock: Clock) -> Iterator[Node]:
    node = Node(NodeOptions(virtual_hosts=("/", "other"), memory_limit=0), clock)
    yield node
    for session in list(node.sessions):
        session.drop()
    assert not node.sessions
    assert not any(queue.owner for host in node.hosts.values() for queue in host.queues.values())


@pytest.fixture
def connect(node: Node) -> Callable[[], Peer]:
    """A new client, before the handshake."""
    return lambda: Peer(node)


@pytest.fixture
def peer(connect: Callable[[], Peer]) -> Peer:
    """A client with channel 1 open."""
    return connect().open()
