"""Channels that publish: raw frames in, RabbitMQ's answers out. No sockets, no waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from broker_peer import Clock, Peer, declare, ended, refused

from leveret import wire

Connect = Callable[[], Peer]


# -- publishing


def test_publish_and_get(peer: Peer) -> None:
    declare(peer)
    peer.publish(body=b"one", message_id="m")
    peer.publish(body=b"")
    first = peer.ask(wire.BasicGet("q"), wire.Delivery)
    assert (first.body, first.delivery_tag, first.redelivered) == (b"one", 1, False)
    assert (first.exchange, first.routing_key, first.message_count) == ("", "q", 1)
    assert first.properties.message_id == "m"
    second = peer.ask(wire.BasicGet("q", no_ack=True), wire.Delivery)
    assert (second.body, second.delivery_tag, second.message_count) == (b"", 2, 0)
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)
    peer.send(wire.BasicAck(2))
    refused(peer, 406, "PRECONDITION_FAILED - unknown delivery tag 2", 60, 80)


def test_confirms_leave_as_one(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    peer.publish()
    assert peer.one(wire.BasicAck) == wire.BasicAck(1, False)
    message = wire.encode_publish(1, "", "q", False, False, b"\0\0", b"x", 131072)
    assert isinstance(message, bytes)
    peer.raw(message * 100)
    assert peer.one(wire.BasicAck) == wire.BasicAck(101, True)


def test_confirms_come_before_the_end_of_the_channel(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    good = wire.encode_publish(1, "", "q", False, False, b"\0\0", b"x", 131072)
    bad = wire.encode_publish(1, "nosuch", "q", False, False, b"\0\0", b"x", 131072)
    assert isinstance(good, bytes)
    assert isinstance(bad, bytes)
    peer.raw(good * 3 + bad + good)
    ack, close = peer.read()
    assert ack == wire.BasicAck(3, True)
    assert close.reply_text == "NOT_FOUND - no exchange 'nosuch' in vhost '/'"
    assert (close.class_id, close.method_id) == (60, 40)


def test_an_unroutable_message_comes_back_before_its_confirm(peer: Peer) -> None:
    peer.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    peer.publish("nokey", b"body", exchange="amq.direct", mandatory=True, message_id="m")
    returned, ack = peer.read()
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert (returned.exchange, returned.routing_key) == ("amq.direct", "nokey")
    assert (returned.body, returned.properties.message_id) == (b"body", "m")
    assert ack == wire.BasicAck(1)
    peer.publish("nokey", exchange="amq.direct")
    assert peer.one(wire.BasicAck) == wire.BasicAck(2)


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"exchange": "nosuch"}, "NOT_FOUND - no exchange 'nosuch' in vhost '/'"),
        (
            {"exchange": "amq.rabbitmq.trace"},
            "ACCESS_REFUSED - cannot publish to internal exchange 'amq.rabbitmq.trace' "
            "in vhost '/'",
        ),
        (
            {"user_id": "bob"},
            "PRECONDITION_FAILED - user_id property set to 'bob' but authenticated user was "
            "'guest'",
        ),
        (
            {"expiration": "abc"},
            "PRECONDITION_FAILED - invalid expiration 'abc': no_integer",
        ),
        (
            {"expiration": "-1"},
            "PRECONDITION_FAILED - invalid expiration '-1': {value_negative,-1}",
        ),
        (
            {"expiration": "12abc"},
            "PRECONDITION_FAILED - invalid expiration '12abc': {leftover_string,\"abc\"}",
        ),
        (
            {"expiration": "999999999999999"},
            "PRECONDITION_FAILED - invalid expiration '999999999999999': "
            "{value_too_large,999999999999999}",
        ),
        (
            {"headers": {"CC": "foo"}},
            'PRECONDITION_FAILED - invalid message: {unacceptable_type_in_header,"CC",longstr}',
        ),
        (
            {"reply_to": "amq.rabbitmq.reply-to"},
            "PRECONDITION_FAILED - fast reply consumer does not exist",
        ),
    ],
)
def test_publishes_refused(peer: Peer, options: dict[str, Any], text: str) -> None:
    peer.publish(**options)
    close = peer.one(wire.ChannelClose)
    assert close.reply_text == text
    assert (close.class_id, close.method_id) == (60, 40)


def test_immediate_is_not_implemented(peer: Peer) -> None:
    peer.publish(immediate=True)
    ended(peer, 540, "NOT_IMPLEMENTED - immediate=true", 60, 40)


def test_a_message_that_is_too_large(peer: Peer, monkeypatch: pytest.MonkeyPatch) -> None:
    declare(peer)
    monkeypatch.setattr(peer.session, "max_message", 10)
    peer.publish(body=b"x" * 10)
    peer.publish(body=b"x" * 11)
    text = "PRECONDITION_FAILED - message size 11 is larger than configured max size 10"
    refused(peer, 406, text, 60, 40)


def test_malformed_properties_reach_no_consumer(peer: Peer) -> None:
    declare(peer)
    peer.raw(b"".join([wire.encode_publish(1, "", "q", False, False, b"\x80\0\x05a", b"x", 0)]))
    close = peer.one(wire.ConnectionClose)
    assert close.reply_code in (501, 502)
    assert peer.closed is False
    peer.send(wire.ConnectionCloseOk(), channel=0)
    assert peer.closed


def test_expired_messages_are_not_delivered(peer: Peer, clock: Clock) -> None:
    declare(peer)
    peer.publish(body=b"short", expiration="100")
    peer.publish(body=b"long", expiration="5000")
    clock.now += 1
    assert peer.ask(wire.QueueDeclare("q", passive=True), wire.QueueDeclareOk).message_count == 1
    found = peer.ask(wire.BasicGet("q"), wire.Delivery)
    assert (found.body, found.properties.expiration) == (b"long", "5000")


def test_cc_and_bcc(peer: Peer) -> None:
    for name in "abc":
        declare(peer, name)
    peer.publish("a", headers={"CC": ["b", 5], "BCC": ["c"], "other": 1}, user_id="guest")
    for name in "abc":
        found = peer.ask(wire.BasicGet(name), wire.Delivery)
        assert found.routing_key == "a"
        assert found.properties.headers == {"CC": ["b", 5], "other": 1}


def test_headers_route(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.QueueBind("q", "amq.headers", "", arguments={"a": 1}), wire.QueueBindOk)
    for number in (1, 2):
        peer.publish("", b"%d" % number, exchange="amq.headers", headers={"a": number})
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).body == b"1"
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)


# -- transactions


def test_a_transaction_shows_nothing_before_its_commit(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    peer.publish(body=b"in")
    peer.publish("nokey", exchange="amq.direct", mandatory=True)
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)
    peer.send(wire.TxCommit())
    returned, answer = peer.read()
    assert returned.reply_code == 312
    assert isinstance(answer, wire.TxCommitOk)
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).body == b"in"
    peer.publish(body=b"never")
    peer.ask(wire.TxRollback(), wire.TxRollbackOk)
    peer.ask(wire.TxCommit(), wire.TxCommitOk)
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)


def test_settling_in_a_transaction(peer: Peer) -> None:
    declare(peer)
    for number in range(3):
        peer.publish(body=b"%d" % number)
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    for _ in range(3):
        peer.ask(wire.BasicGet("q"), wire.Delivery)
    peer.send(wire.BasicAck(1), wire.BasicNack(2, requeue=True))
    peer.ask(wire.TxRollback(), wire.TxRollbackOk)
    peer.send(wire.BasicNack(0, multiple=True, requeue=False))
    peer.send(wire.BasicNack(0, multiple=True, requeue=False))  # nothing is left
    peer.ask(wire.TxRollback(), wire.TxRollbackOk)
    peer.send(wire.BasicAck(2, multiple=True), wire.BasicReject(3, requeue=True))
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)
    peer.ask(wire.TxCommit(), wire.TxCommitOk)
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).body == b"2"


def test_an_uncommitted_ack_counts_for_nothing(connect: Connect) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer)
    peer.publish()
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    peer.ask(wire.BasicGet("q"), wire.Delivery)
    peer.send(wire.BasicAck(1))
    peer.session.drop()
    assert other.ask(wire.BasicGet("q"), wire.Delivery).redelivered


def test_modes_exclude_each_other(peer: Peer) -> None:
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    peer.send(wire.ConfirmSelect())
    text = "PRECONDITION_FAILED - cannot switch from tx to confirm mode"
    refused(peer, 406, text, 85, 10)
    peer.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    peer.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    peer.send(wire.TxSelect())
    text = "PRECONDITION_FAILED - cannot switch from confirm to tx mode"
    refused(peer, 406, text, 90, 10)


def test_a_queue_that_is_gone_at_commit(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.TxSelect(), wire.TxSelectOk)
    peer.publish(mandatory=True)
    peer.ask(wire.QueueDelete("q"), wire.QueueDeleteOk)
    peer.ask(wire.TxCommit(), wire.TxCommitOk)
