"""Whatever legal methods two clients send in whatever order: the broker answers and lives on.

No reply may be 541, the log stays empty of exceptions, and when both are gone nothing is left.
"""

from __future__ import annotations

import itertools
import logging
from typing import Any

import pytest
from broker_peer import Clock, Peer
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from leveret import wire
from leveret.broker.node import Node, NodeOptions

QUEUES = st.sampled_from(["", "a", "b", "amq.rabbitmq.reply-to", "amq.x"])
EXCHANGES = st.sampled_from(["", "x", "y", "amq.direct", "amq.topic", "amq.headers", "amq.fanout"])
KEYS = st.sampled_from(["", "a", "b", "#", "a.*"])
TYPES = st.sampled_from(["direct", "fanout", "topic", "headers", "foo"])
TAGS = st.integers(0, 6)
CONSUMERS = st.sampled_from(["", "s", "t"])
FLAG = st.booleans()
SMALL = st.integers(0, 2)
ARGUMENTS: st.SearchStrategy[dict[str, object]] = st.sampled_from(
    [{}, {}, {}, {"x-match": "any", "h": 1}, {"alternate-exchange": "y"}, {"x-priority": 2}]
)


def method(kind: Any, *values: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    return st.builds(lambda *given: kind(*given).encode(1), *values)


def encoded_publish(
    exchange: str, key: str, mandatory: bool, body: bytes, properties: wire.Properties
) -> bytes:
    out = wire.encode_publish(1, exchange, key, mandatory, False, properties.encode(), body, 131072)
    assert isinstance(out, bytes)
    return out


PUBLISH = st.builds(
    encoded_publish,
    EXCHANGES,
    KEYS,
    FLAG,
    st.sampled_from([b"", b"body"]),
    st.builds(
        wire.Properties,
        expiration=st.sampled_from([None, None, "0", "10", "bad"]),
        priority=st.sampled_from([None, 0, 3, 200]),
        reply_to=st.sampled_from([None, None, "amq.rabbitmq.reply-to"]),
        headers=st.sampled_from([None, None, {"h": 1}, {"CC": ["a"], "BCC": ["b"]}]),
    ),
)

RULES: st.SearchStrategy[dict[str, object]] = st.dictionaries(
    st.sampled_from(
        [
            "x-expires",
            "x-message-ttl",
            "x-dead-letter-exchange",
            "x-max-length",
            "x-max-length-bytes",
            "x-max-priority",
        ]
    ),
    st.integers(0, 9),
    max_size=3,
).map(
    lambda given: (
        given
        | ({"x-dead-letter-exchange": ""} if "x-dead-letter-exchange" in given else {})
        | ({"x-overflow": "reject-publish-dlx"} if given.get("x-max-length") == 1 else {})
        | ({"x-single-active-consumer": True} if len(given) == 1 else {})
    )
)
"""Arguments of queues, most of them good ones; dead letters go round in circles."""

STEP = st.one_of(
    PUBLISH,
    PUBLISH,
    method(wire.QueueDeclare, QUEUES, FLAG, FLAG, FLAG, FLAG, FLAG, ARGUMENTS),
    method(wire.QueueDeclare, QUEUES, FLAG, FLAG, FLAG, FLAG, FLAG, RULES),
    method(wire.QueueBind, QUEUES, EXCHANGES, KEYS, FLAG, ARGUMENTS),
    method(wire.QueueUnbind, QUEUES, EXCHANGES, KEYS, ARGUMENTS),
    method(wire.QueuePurge, QUEUES, FLAG),
    method(wire.QueueDelete, QUEUES, FLAG, FLAG, FLAG),
    method(wire.ExchangeDeclare, EXCHANGES, TYPES, FLAG, FLAG, FLAG, FLAG, FLAG, ARGUMENTS),
    method(wire.ExchangeDelete, EXCHANGES, FLAG, FLAG),
    method(wire.ExchangeBind, EXCHANGES, EXCHANGES, KEYS, FLAG, ARGUMENTS),
    method(wire.ExchangeUnbind, EXCHANGES, EXCHANGES, KEYS, FLAG, ARGUMENTS),
    method(wire.BasicQos, st.just(0), SMALL, FLAG),
    method(wire.BasicConsume, QUEUES, CONSUMERS, FLAG, FLAG, FLAG, FLAG, ARGUMENTS),
    method(wire.BasicCancel, CONSUMERS, FLAG),
    method(wire.BasicGet, QUEUES, FLAG),
    method(wire.BasicAck, TAGS, FLAG),
    method(wire.BasicNack, TAGS, FLAG, FLAG),
    method(wire.BasicReject, TAGS, FLAG),
    method(wire.BasicRecover, st.just(True)),
    method(wire.ConfirmSelect, FLAG),
    method(wire.TxSelect),
    method(wire.TxCommit),
    method(wire.TxRollback),
    method(wire.ChannelClose, st.just(200)),
)


def answer(peer: Peer) -> None:
    """Read, and agree to what the broker closes; a closed channel is opened anew."""
    for item in peer.read():
        if isinstance(item, wire.ConnectionClose):
            assert item.reply_code != wire.ReplyCode.INTERNAL_ERROR, item
            peer.send(wire.ConnectionCloseOk(), channel=0)
            assert peer.closed
        elif isinstance(item, wire.ChannelClose):
            peer.send(wire.ChannelCloseOk(), wire.ChannelOpen())
        elif isinstance(item, wire.ChannelCloseOk) and not peer.closed:
            peer.send(wire.ChannelOpen())


@settings(
    max_examples=300, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    st.lists(st.tuples(st.integers(0, 1), st.lists(STEP, min_size=1, max_size=3)), max_size=40),
    st.booleans(),
)
def test_whatever_is_sent(
    caplog: pytest.LogCaptureFixture,
    steps: list[tuple[int, list[bytes]]],
    pausing: bool,
) -> None:
    clock = Clock()
    node = Node(NodeOptions(memory_limit=0), clock)
    peers = [Peer(node).open(), Peer(node).open()]
    for turn, (index, packet) in enumerate(steps):
        if peers[index].closed:
            peers[index] = Peer(node).open()
        if pausing and turn % 3 == 0:
            peers[1 - index].session.pause()
        peers[index].raw(b"".join(packet))
        clock.now += 0.004
        node.run_timers()
        for peer in itertools.chain(peers, peers):
            if not peer.closed:
                peer.session.resume()
                peer.turn()
            answer(peer)
    for peer in peers:
        peer.session.drop()
    assert not [record for record in caplog.records if record.levelno >= logging.ERROR]
    assert not node.sessions
    host = node.hosts["/"]
    for queue in list(host.queues.values()):
        assert queue.owner is None
        assert not queue.consumers
        host.remove_queue(queue)
    node.flush()
    assert node.usage.bytes == 0
    clock.now += 1e9
    node.run_timers()
    assert node.timers.next_deadline() is None
    assert not host._bound.keys() - set(host.exchanges.values())
    assert not host._owned
