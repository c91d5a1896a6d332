"""Queues that live by a time, and consumers that wait for one another, as a client sees them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from broker_peer import Clock, Peer

from leveret import wire
from leveret.broker.node import Node, NodeOptions

EXPIRES: dict[str, object] = {"x-expires": 1000}
SINGLE: dict[str, object] = {"x-single-active-consumer": True}


def lives(node: Node, name: str = "q") -> bool:
    node.run_timers()
    return name in node.hosts["/"].queues


@pytest.mark.parametrize(
    "use",
    [
        wire.QueueDeclare("q", arguments=EXPIRES),
        wire.QueueDeclare("q", passive=True),
        wire.BasicGet("q"),
    ],
)
def test_use_of_a_queue_gives_it_more_time(
    peer: Peer, node: Node, clock: Clock, use: wire.Method
) -> None:
    peer.ask(wire.QueueDeclare("q", arguments=EXPIRES), wire.QueueDeclareOk)
    clock.now += 0.9
    peer.send(use)
    clock.now += 0.9
    assert lives(node)
    clock.now += 0.1
    assert not lives(node)


def test_a_declaration_that_is_refused_is_use(peer: Peer, node: Node, clock: Clock) -> None:
    peer.ask(wire.QueueDeclare("q", arguments=EXPIRES), wire.QueueDeclareOk)
    clock.now += 0.9
    peer.ask(wire.QueueDeclare("q"), wire.ChannelClose)
    clock.now += 0.9
    assert lives(node)


def test_the_end_of_a_channel_with_messages_is_use(peer: Peer, node: Node, clock: Clock) -> None:
    peer.ask(wire.QueueDeclare("q", arguments=EXPIRES), wire.QueueDeclareOk)
    peer.publish()
    peer.ask(wire.BasicGet("q"), wire.Delivery)
    clock.now += 0.9
    peer.ask(wire.ChannelClose(200), wire.ChannelCloseOk)
    clock.now += 0.9
    assert lives(node)
    clock.now += 0.1
    assert not lives(node)


@pytest.mark.parametrize("end", [wire.BasicCancel("a"), wire.ChannelClose(200)])
def test_the_next_consumer_goes_on(
    peer: Peer, connect: Callable[[], Peer], end: wire.Method
) -> None:
    peer.ask(wire.QueueDeclare("q", arguments=SINGLE), wire.QueueDeclareOk)
    peer.send(wire.BasicQos(0, 1))
    peer.send(wire.BasicConsume("q", "a", no_ack=False))
    other = connect().open()
    other.ask(wire.BasicConsume("q", "b", no_ack=True), wire.BasicConsumeOk)
    for number in range(3):
        peer.publish(body=b"%d" % number)
    assert other.read() == []
    peer.send(end)
    bodies = {delivery.body for delivery in other.deliveries()}
    assert bodies >= {b"1", b"2"}


def test_the_next_consumer_goes_on_after_one_that_never_had_room(
    peer: Peer, connect: Callable[[], Peer]
) -> None:
    other = connect().open()
    peer.ask(wire.QueueDeclare("q", arguments=SINGLE), wire.QueueDeclareOk)
    for client in (peer, other):
        client.ask(wire.BasicConsume("q", "t", no_ack=True), wire.BasicConsumeOk)
    peer.session.pause()
    other.publish()
    assert other.read() == []
    peer.session.drop()
    assert len(other.deliveries()) == 1


def test_messages_that_expire_end_an_alarm(clock: Clock) -> None:
    node = Node(NodeOptions(memory_limit=1000), clock)
    peer = Peer(node).open()
    peer.ask(wire.QueueDeclare("q"), wire.QueueDeclareOk)
    for _ in range(5):
        peer.publish(expiration="1000")
    assert node.alarm is not None
    clock.now += 1.0
    node.run_timers()
    assert node.alarm is None
    peer.session.drop()
