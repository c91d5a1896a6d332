"""Replies that RabbitMQ sends after those to later requests."""

from __future__ import annotations

import pytest

from leveret import NotFound, RemoteProtocolError, wire
from leveret.protocol import ChannelClosed, ConnectionClosed, Reply

from .pair import Pair, of, one


def silent(pair: Pair, *kinds: type[wire.Method]) -> None:
    """The server leaves these unanswered."""
    pair.answers.update(dict.fromkeys(kinds))


def say(pair: Pair, *frames: bytes) -> None:
    """Bytes to the client, past the server."""
    pair.client.receive_data(b"".join(frames), pair.now)
    pair.client_events += pair.client.events()


@pytest.mark.parametrize(
    ("late", "late_reply"),
    [
        (wire.BasicCancel("t"), wire.BasicCancelOk("t")),
        (wire.BasicConsume("q"), wire.BasicConsumeOk("amq.ctag-1")),
        (wire.TxCommit(), wire.TxCommitOk()),
    ],
)
def test_a_late_reply_finds_its_request(
    pair: Pair, late: wire.Method, late_reply: wire.Method
) -> None:
    channel = pair.channel("open")
    silent(pair, type(late), wire.QueueDeclare, wire.BasicGet)
    channel.send_request(late, "late")
    channel.send_request(wire.QueueDeclare("q"), "declare")
    channel.send_request(wire.BasicGet("q"), "get")
    pair.pump()
    got = wire.encode_get_ok(1, 7, False, "", "q", 0, b"\0\0", b"x", 0)
    assert isinstance(got, bytes)
    say(pair, wire.QueueDeclareOk("q", 0, 0).encode(1), got, late_reply.encode(1))
    assert [reply.token for reply in of(Reply, pair.client_events)][-3:] == [
        "declare",
        "get",
        "late",
    ]
    assert len(channel.unsettled) == 1


def test_tags_tell_consumers_apart(pair: Pair) -> None:
    channel = pair.channel()
    silent(pair, wire.BasicConsume)
    for tag in ("a", "b"):
        channel.send_request(wire.BasicConsume("q", tag), tag, f"owner of {tag}")
    pair.pump()
    say(pair, *(wire.BasicConsumeOk(tag).encode(1) for tag in ("b", "a")))
    assert [reply.token for reply in of(Reply, pair.client_events)][-2:] == ["b", "a"]
    assert channel.consumers["b"].owner == "owner of b"


def test_other_replies_are_not_late(pair: Pair) -> None:
    channel = pair.channel()
    silent(pair, wire.QueueDeclare, wire.BasicQos)
    channel.send_request(wire.QueueDeclare("q"), "declare")
    channel.send_request(wire.BasicQos(0, 1, False), "qos")
    pair.pump()
    say(pair, wire.BasicQosOk().encode(1))
    error = one(ConnectionClosed, pair.client_events).error
    assert isinstance(error, RemoteProtocolError)
    assert "basic.qos-ok does not answer what was asked: queue.declare" in str(error)


def test_a_fault_after_a_late_reply_is_blamed_on_the_right_request(pair: Pair) -> None:
    channel = pair.channel()
    silent(pair, wire.BasicConsume, wire.QueueDeclare)
    channel.send_request(wire.BasicConsume("q", "t"), "consume")
    channel.send_request(wire.QueueDeclare("missing", passive=True), "declare")
    pair.pump()
    say(pair, wire.ChannelClose(404, "NOT_FOUND - no queue 'missing'", 50, 10).encode(1))
    error = one(ChannelClosed, pair.client_events).error
    assert isinstance(error, NotFound)
    assert error.arguments["queue"] == "missing"
