"""Dead letters: their headers, their way, and the circles that they do not go in."""

from __future__ import annotations

import pytest
from broker_peer import Clock, Peer

from leveret import wire
from leveret.broker.node import DEAD_LETTERS_AT_ONCE, Node

SOURCE = {"x-dead-letter-exchange": "", "x-dead-letter-routing-key": "dead"}


@pytest.fixture
def dead(peer: Peer) -> Peer:
    """A client with the queue of dead letters."""
    peer.ask(wire.QueueDeclare("dead"), wire.QueueDeclareOk)
    return peer


def declare(peer: Peer, name: str, **arguments: object) -> None:
    given = {f"x-{key.replace('_', '-')}": value for key, value in arguments.items()}
    peer.ask(wire.QueueDeclare(name, arguments=given), wire.QueueDeclareOk)


def get(peer: Peer, queue: str) -> wire.Delivery | None:
    peer.send(wire.BasicGet(queue))
    (item,) = peer.read()
    return item if isinstance(item, wire.Delivery) else None


def reject(peer: Peer, queue: str) -> None:
    found = get(peer, queue)
    assert found is not None
    peer.send(wire.BasicNack(found.delivery_tag, requeue=False))


def headers(found: wire.Delivery | None) -> dict[str, object]:
    assert found is not None
    return dict(found.properties.headers or {})


def deaths(found: wire.Delivery | None) -> list[tuple[object, object, object]]:
    table = headers(found)["x-death"]
    assert isinstance(table, list)
    return [(death["queue"], death["reason"], death["count"]) for death in table]


def test_the_record_of_a_death(dead: Peer, node: Node) -> None:
    node.timers.wall = lambda: 1234567890.9
    declare(dead, "q", dead_letter_exchange="", dead_letter_routing_key="dead")
    dead.publish(
        body=b"m",
        expiration="60000",
        priority=3,
        delivery_mode=2,
        headers={"a": 1, "CC": ["zz"], "x-death": "mine", "x-first-death-queue": "mine"},
    )
    reject(dead, "q")
    found = get(dead, "dead")
    assert found is not None
    assert (found.exchange, found.routing_key, found.body) == ("", "dead", b"m")
    assert found.properties.expiration is None
    assert (found.properties.priority, found.properties.delivery_mode) == (3, 2)
    given = headers(found)
    (death,) = given.pop("x-death")  # type: ignore[misc]
    assert int(death.pop("time").timestamp()) == 1234567890
    assert death == {
        "original-expiration": "60000",
        "count": 1,
        "reason": "rejected",
        "queue": "q",
        "exchange": "",
        "routing-keys": ["q", "zz"],
    }
    assert given == {
        "a": 1,
        "CC": ["zz"],
        "x-first-death-exchange": "",
        "x-first-death-queue": "q",
        "x-first-death-reason": "rejected",
        "x-last-death-exchange": "",
        "x-last-death-queue": "q",
        "x-last-death-reason": "rejected",
    }


def test_deaths_are_counted_by_queue_and_reason(peer: Peer, node: Node, clock: Clock) -> None:
    declare(peer, "a", dead_letter_exchange="", dead_letter_routing_key="b", message_ttl=100)
    declare(peer, "b", dead_letter_exchange="", dead_letter_routing_key="a")
    peer.publish("a")
    expected = [
        [("a", "expired", 1)],
        [("a", "expired", 2), ("b", "rejected", 1)],
        [("a", "expired", 3), ("b", "rejected", 2)],
    ]
    for record in expected:
        clock.now += 0.1
        node.run_timers()
        found = get(peer, "b")
        assert deaths(found) == record
        assert headers(found)["x-first-death-queue"] == "a"
        assert headers(found)["x-last-death-queue"] == "a"
        assert found is not None
        peer.send(wire.BasicNack(found.delivery_tag, requeue=False))


def test_a_message_does_not_go_round_by_itself(peer: Peer, node: Node, clock: Clock) -> None:
    declare(peer, "a", dead_letter_exchange="", dead_letter_routing_key="b", message_ttl=100)
    declare(peer, "b", dead_letter_exchange="", dead_letter_routing_key="a", max_length=0)
    declare(peer, "self", dead_letter_exchange="", message_ttl=100)
    peer.publish("a")
    peer.publish("self")
    for _ in range(3):
        clock.now += 0.1
        node.run_timers()
    assert [get(peer, name) for name in ("a", "b", "self")] == [None, None, None]
    assert node.usage.bytes == 0


def test_a_rejected_message_may_come_back(peer: Peer) -> None:
    declare(peer, "q", dead_letter_exchange="")
    peer.publish()
    for _ in range(3):
        reject(peer, "q")
    assert deaths(get(peer, "q")) == [("q", "rejected", 3)]


def test_without_a_key_of_its_own_it_keeps_all_that_it_had(peer: Peer) -> None:
    peer.ask(wire.ExchangeDeclare("x", "direct"), wire.ExchangeDeclareOk)
    for name in ("one", "two", "three"):
        declare(peer, name)
        peer.ask(wire.QueueBind(name, "x", name), wire.QueueBindOk)
    declare(peer, "q", dead_letter_exchange="x")
    peer.ask(wire.QueueBind("q", "amq.direct", "one"), wire.QueueBindOk)
    peer.publish("one", exchange="amq.direct", headers={"CC": ["two"], "BCC": ["three"]})
    reject(peer, "q")
    for name in ("one", "two", "three"):
        found = get(peer, name)
        assert found is not None
        assert (found.exchange, found.routing_key) == ("x", "one")
        assert "BCC" not in headers(found)
        (death,) = headers(found)["x-death"]  # type: ignore[misc]
        assert death["routing-keys"] == ["one", "two"]


def test_where_there_is_no_exchange_it_is_lost(peer: Peer, node: Node) -> None:
    declare(peer, "q", dead_letter_exchange="nowhere")
    peer.publish()
    reject(peer, "q")
    assert peer.read() == []
    assert node.usage.bytes == 0


def test_it_follows_the_alternate_exchange_and_its_new_headers(dead: Peer) -> None:
    arguments: dict[str, object] = {"alternate-exchange": "amq.headers"}
    declared = wire.ExchangeDeclare("x", "direct", internal=True, arguments=arguments)
    dead.ask(declared, wire.ExchangeDeclareOk)
    match: dict[str, object] = {"x-match": "all-with-x", "x-first-death-queue": "q"}
    dead.ask(wire.QueueBind("dead", "amq.headers", "", arguments=match), wire.QueueBindOk)
    declare(dead, "q", dead_letter_exchange="x")
    dead.publish()
    reject(dead, "q")
    assert get(dead, "dead") is not None


def test_a_long_chain_of_queues_ends(peer: Peer, node: Node) -> None:
    length = 300  # with a few calls each, more than Python's stack has room for
    for number in range(length):
        declare(
            peer,
            f"q{number}",
            dead_letter_exchange="",
            dead_letter_routing_key=f"q{number + 1}",
            max_length=0,
        )
    declare(peer, f"q{length}")
    peer.publish("q0")
    while node.timers.next_deadline() is not None:
        node.run_timers()
    found = get(peer, f"q{length}")
    assert len(deaths(found)) == length
    assert headers(found)["x-first-death-queue"] == "q0"
    assert headers(found)["x-last-death-queue"] == f"q{length - 1}"


def test_many_dead_letters_go_in_turns(dead: Peer, node: Node) -> None:
    declare(dead, "q", dead_letter_exchange="", dead_letter_routing_key="dead")
    count = 2 * DEAD_LETTERS_AT_ONCE + 1
    for number in range(count):
        dead.publish(body=b"%d" % number)
        dead.send(wire.BasicGet("q"))
    dead.read()
    dead.send(wire.BasicNack(count, True, requeue=False))
    arrived = node.hosts["/"].queues["dead"].message_count
    for expected in (DEAD_LETTERS_AT_ONCE, 2 * DEAD_LETTERS_AT_ONCE, count, count):
        assert arrived() == expected
        node.run_timers()
    assert node.timers.next_deadline() is None
    bodies = [found.body for found in iter(lambda: get(dead, "dead"), None)]
    assert bodies == [b"%d" % number for number in range(count)]


def test_a_connection_that_ends_in_the_middle_loses_nothing(
    dead: Peer, connect: object, node: Node, clock: Clock
) -> None:
    declare(dead, "q", dead_letter_exchange="", dead_letter_routing_key="dead", message_ttl=100)
    other = Peer(node).open()
    for number in range(10):
        dead.publish(body=b"%d" % number)
    assert get(other, "q") is not None
    clock.now += 1.0
    other.session.drop()  # what it had comes back, is expired, and dies in its place
    node.run_timers()
    bodies = [found.body for found in iter(lambda: get(dead, "dead"), None)]
    assert sorted(bodies) == [b"%d" % number for number in range(10)]


def test_a_full_queue_tells_its_publisher(dead: Peer) -> None:
    declare(
        dead,
        "q",
        dead_letter_exchange="",
        dead_letter_routing_key="dead",
        max_length=2,
        overflow="reject-publish-dlx",
    )
    dead.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    bodies = [b"%d" % number for number in range(5)]
    raw = wire.Properties().encode()
    packet = [wire.encode_publish(1, "", "q", False, False, raw, it, 131072) for it in bodies]
    dead.raw(b"".join(part for part in packet if isinstance(part, bytes)))
    ack, nack = dead.read()
    assert isinstance(ack, wire.BasicAck)
    assert isinstance(nack, wire.BasicNack)
    assert (ack.delivery_tag, ack.multiple) == (2, True)
    assert (nack.delivery_tag, nack.multiple) == (5, True)
    letters = [found.body for found in iter(lambda: get(dead, "dead"), None)]
    assert letters == bodies[2:]
    dead.publish("dead")
    assert dead.one(wire.BasicAck).delivery_tag == 6
    dead.publish("q")
    nack = dead.one(wire.BasicNack)
    assert (nack.delivery_tag, nack.multiple) == (7, False)


def test_a_transaction_that_a_full_queue_refuses_in_part(peer: Peer) -> None:
    declare(peer, "q", max_length=1, overflow="reject-publish")
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    peer.publish()
    peer.publish()
    closed = peer.ask(wire.TxCommit(), wire.ChannelClose)
    assert closed.reply_code == 406
    assert closed.reply_text == "PRECONDITION_FAILED - partial tx completion"
