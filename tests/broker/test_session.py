"""Sessions and channels: raw frames in, RabbitMQ's answers out. No sockets, no waiting."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from broker_peer import Clock, Peer

from leveret import wire
from leveret.broker import session as session_module
from leveret.broker.node import Node
from leveret.protocol import ServerChannel

Connect = Callable[[], Peer]


def declare(peer: Peer, name: str = "q", **options: bool) -> str:
    answer = peer.ask(wire.QueueDeclare(name, **options), wire.QueueDeclareOk)
    return str(answer.queue)


def bodies(items: list[Any]) -> list[bytes]:
    return [item.body for item in items]


def refused(peer: Peer, code: int, text: str, class_id: int, method_id: int) -> None:
    """The channel was closed, the connection lives."""
    close = peer.one(wire.ChannelClose)
    assert (close.reply_code, close.reply_text) == (code, text)
    assert (close.class_id, close.method_id) == (class_id, method_id)
    peer.send(wire.ChannelCloseOk())
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk)


def ended(peer: Peer, code: int, text: str, class_id: int, method_id: int) -> None:
    """The connection was closed."""
    close = peer.one(wire.ConnectionClose)
    assert (close.reply_code, close.reply_text) == (code, text)
    assert (close.class_id, close.method_id) == (class_id, method_id)
    peer.send(wire.ConnectionCloseOk(), channel=0)
    assert peer.closed
    assert peer.session not in peer.node.sessions


# -- handshake


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0guest\0guest"),
        ("AMQPLAIN", wire.encode_table({"LOGIN": "guest", "PASSWORD": "guest"})[4:]),
        ("ANONYMOUS", b""),
    ],
)
def test_mechanisms(connect: Connect, mechanism: str, response: bytes) -> None:
    connect().open(mechanism=mechanism, response=response)


@pytest.mark.parametrize("response", [b"\0guest\0bad", b"\0nobody\0guest", b"nonsense"])
def test_wrong_credentials(connect: Connect, response: bytes) -> None:
    peer = connect()
    (close,) = peer.handshake(response)
    assert close.reply_code == 403
    assert close.reply_text == (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile."
    )
    silent = connect()
    assert silent.handshake(response, capabilities={}) == []
    assert silent.aborted


def test_an_unknown_mechanism_is_dropped(connect: Connect) -> None:
    peer = connect()
    assert peer.handshake(mechanism="FOO") == []
    assert peer.aborted


def test_virtual_hosts_are_apart(connect: Connect) -> None:
    one, two = connect().open(), connect().open(virtual_host="other")
    declare(one, "q")
    two.send(wire.QueueDeclare("q", passive=True))
    refused(two, 404, "NOT_FOUND - no queue 'q' in vhost 'other'", 50, 10)
    (close,) = connect().handshake(virtual_host="nope")
    assert close.reply_text == "NOT_ALLOWED - vhost nope not found"
    assert (close.reply_code, close.class_id, close.method_id) == (530, 10, 40)


def test_another_protocol_is_told_which_one_is_spoken(connect: Connect) -> None:
    peer = connect()
    peer.raw(b"GET / HTTP/1.1\r\n")
    assert peer.closed
    assert bytes(peer._output) == wire.PROTOCOL_HEADER
    peer._output.clear()


def test_a_handshake_has_a_deadline(connect: Connect, clock: Clock) -> None:
    peer = connect()
    peer.raw(wire.PROTOCOL_HEADER)
    clock.now = peer.session.next_deadline()
    peer.session.tick()
    assert peer.aborted


def test_a_silent_client_is_dropped(connect: Connect, clock: Clock) -> None:
    peer = connect().open(heartbeat=1)
    end = clock.now + 5
    while not peer.closed:
        clock.now = peer.session.next_deadline()
        assert clock.now < end
        peer.session.tick()
        assert all(isinstance(item, wire.Heartbeat) for item in peer.read())


def test_update_secret(peer: Peer) -> None:
    peer.send(wire.ConnectionUpdateSecret(b"new", "because"), channel=0)
    peer.one(wire.ConnectionUpdateSecretOk)


def test_a_client_that_closes(peer: Peer) -> None:
    peer.send(wire.ConnectionClose(200, "bye"), channel=0)
    peer.one(wire.ConnectionCloseOk)
    assert peer.closed
    assert not peer.lingering


def test_the_broker_closes(peer: Peer, node: Node) -> None:
    declare(peer, "mine", exclusive=True)
    peer.session.shut_down("broker forced connection closure with reason 'shutdown'")
    text = "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    assert not node.hosts["/"].queues
    ended(peer, 320, text, 0, 0)


def test_close_ok_has_a_deadline(peer: Peer, clock: Clock) -> None:
    peer.session.shut_down("bye")
    clock.now = peer.session.next_deadline()
    assert clock.now <= 1000 + session_module.CLOSING_SECONDS
    peer.session.tick()
    assert peer.aborted
    peer.read()


# -- errors


def test_what_follows_an_error_is_dropped(peer: Peer) -> None:
    peer.send(wire.QueueDeclare("nosuch", passive=True), wire.QueueDeclare("q"))
    refused(peer, 404, "NOT_FOUND - no queue 'nosuch' in vhost '/'", 50, 10)
    peer.send(wire.QueueDeclare("q", passive=True))
    refused(peer, 404, "NOT_FOUND - no queue 'q' in vhost '/'", 50, 10)


def test_an_error_and_a_close_that_cross(peer: Peer) -> None:
    peer.send(wire.QueueDeclare("nosuch", passive=True), wire.ChannelClose(200, "bye"))
    close, answer = peer.read()
    assert isinstance(close, wire.ChannelClose)
    assert isinstance(answer, wire.ChannelCloseOk)
    peer.send(wire.ChannelCloseOk())
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk)


def test_nowait_is_silent_unless_it_fails(peer: Peer) -> None:
    peer.send(
        wire.QueueDeclare("q", nowait=True),
        wire.QueueBind("q", "amq.direct", "a", nowait=True),
        wire.BasicConsume("q", "t", nowait=True),
        wire.ConfirmSelect(nowait=True),
        wire.BasicCancel("t", nowait=True),
        wire.QueuePurge("q", nowait=True),
        wire.QueueDelete("q", nowait=True),
        wire.ExchangeDeclare("x", "direct", nowait=True),
        wire.ExchangeBind("x", "amq.direct", "k", nowait=True),
        wire.ExchangeUnbind("x", "amq.direct", "k", nowait=True),
        wire.ExchangeDelete("x", nowait=True),
    )
    assert peer.read() == []
    peer.send(wire.QueueDeclare("nosuch", passive=True, nowait=True))
    refused(peer, 404, "NOT_FOUND - no queue 'nosuch' in vhost '/'", 50, 10)


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        (wire.BasicAck(42), 406, "PRECONDITION_FAILED - unknown delivery tag 42"),
        (wire.BasicAck(0), 406, "PRECONDITION_FAILED - unknown delivery tag 0"),
        (wire.BasicNack(42), 406, "PRECONDITION_FAILED - unknown delivery tag 42"),
        (wire.BasicNack(42, multiple=True), 406, "PRECONDITION_FAILED - unknown delivery tag 42"),
        (wire.BasicReject(42), 406, "PRECONDITION_FAILED - unknown delivery tag 42"),
        (wire.BasicGet("nosuch"), 404, "NOT_FOUND - no queue 'nosuch' in vhost '/'"),
        (wire.BasicConsume("nosuch"), 404, "NOT_FOUND - no queue 'nosuch' in vhost '/'"),
        (wire.BasicConsume(""), 404, "NOT_FOUND - no previously declared queue"),
        (wire.QueueBind("", "amq.direct", "k"), 404, "NOT_FOUND - no previously declared queue"),
        (wire.QueuePurge("nosuch"), 404, "NOT_FOUND - no queue 'nosuch' in vhost '/'"),
        (wire.TxCommit(), 406, "PRECONDITION_FAILED - channel is not transactional"),
        (wire.TxRollback(), 406, "PRECONDITION_FAILED - channel is not transactional"),
        (
            wire.BasicConsume("amq.rabbitmq.reply-to", no_ack=False),
            406,
            "PRECONDITION_FAILED - reply consumer cannot acknowledge",
        ),
        (
            wire.BasicGet("amq.rabbitmq.reply-to"),
            404,
            "NOT_FOUND - no queue 'amq.rabbitmq.reply-to' in vhost '/'",
        ),
    ],
)
def test_channel_errors(peer: Peer, method: wire.Method, code: int, text: str) -> None:
    peer.send(method)
    refused(peer, code, text, method.class_id, method.method_id)


@pytest.mark.parametrize(
    ("method", "code", "text"),
    [
        (wire.BasicQos(10, 1), 540, "NOT_IMPLEMENTED - prefetch_size!=0 (10)"),
        (wire.BasicRecover(False), 540, "NOT_IMPLEMENTED - requeue=false"),
        (wire.ChannelFlow(False), 540, "NOT_IMPLEMENTED - active=false"),
    ],
)
def test_connection_errors(peer: Peer, method: wire.Method, code: int, text: str) -> None:
    peer.send(method)
    ended(peer, code, text, method.class_id, method.method_id)


def test_a_consumer_tag_used_twice(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.BasicConsume("q", "t"), wire.BasicConsumeOk)
    peer.send(wire.BasicConsume("q", "t"))
    ended(peer, 530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", 60, 20)


def test_an_argument_that_is_not_supported_ends_the_connection(peer: Peer) -> None:
    peer.send(wire.QueueDeclare("q", durable=True, arguments={"x-queue-type": "quorum"}))
    text = (
        "NOT_IMPLEMENTED - argument 'x-queue-type' = 'quorum' of queue 'q' in vhost '/': "
        "the embedded broker does not support it"
    )
    ended(peer, 540, text, 50, 10)


def test_a_bug_closes_the_connection_and_is_logged(
    peer: Peer, node: Node, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node.hosts["/"], "declare_queue", lambda *_, **__: 1 / 0)
    peer.send(wire.QueueDeclare("q"))
    ended(peer, 541, "INTERNAL_ERROR - the embedded broker failed; see its log", 0, 0)
    assert "ZeroDivisionError" in caplog.text


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


# -- consuming


def consume(peer: Peer, tag: str = "t", queue: str = "q", **options: Any) -> None:
    peer.ask(wire.BasicConsume(queue, tag, **options), wire.BasicConsumeOk)


def test_deliveries(connect: Connect) -> None:
    publisher, consumer = connect().open(), connect().open()
    declare(publisher)
    publisher.publish(body=b"early")
    consumer.send(wire.BasicConsume("q", "t"))
    answer, first = consumer.read()
    assert answer == wire.BasicConsumeOk("t")
    publisher.publish(body=b"late")
    (second,) = consumer.deliveries()
    assert [(d.body, d.delivery_tag, d.consumer_tag) for d in (first, second)] == [
        (b"early", 1, "t"),
        (b"late", 2, "t"),
    ]
    consumer.send(wire.BasicAck(2, multiple=True))
    assert consumer.read() == []


def test_a_consumer_without_a_tag_gets_one(peer: Peer) -> None:
    declare(peer)
    answer = peer.ask(wire.BasicConsume(""), wire.BasicConsumeOk)
    assert answer.consumer_tag.startswith("amq.ctag-")


def test_large_bodies_are_split(connect: Connect) -> None:
    peer = connect().open(frame_max=8192)
    declare(peer)
    body = bytes(range(256)) * 100
    publish = wire.encode_publish(1, "", "q", False, False, b"\0\0", body, 8192)
    peer.raw(publish if isinstance(publish, bytes) else b"".join(publish))
    peer.send(wire.BasicGet("q"))
    data = bytes(peer._output)
    assert peer.read()[0].body == body
    found = wire.decode_frames(data, 0, 8192)[0]
    assert found[0].body == body


def test_properties_that_do_not_fit_the_frames_of_a_consumer(connect: Connect) -> None:
    peer, small, getter = connect().open(), connect().open(frame_max=8192), connect()
    getter.open(frame_max=8192)
    declare(peer)
    consume(small)
    peer.publish(headers={"large": "x" * 10_000})
    close = small.one(wire.ConnectionClose)
    assert close.reply_text.startswith("FRAME_ERROR - basic.deliver: properties of ")
    getter.send(wire.BasicGet("q", no_ack=True))
    assert getter.one(wire.ConnectionClose).reply_code == 501
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).redelivered


def test_prefetch_and_settling(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.BasicQos(0, 3), wire.BasicQosOk)
    consume(peer)
    for number in range(6):
        peer.publish(body=b"%d" % number)
    assert bodies(peer.deliveries()) == [b"0", b"1", b"2"]
    peer.send(wire.BasicAck(1))
    assert bodies(peer.deliveries()) == [b"3"]
    peer.send(wire.BasicReject(2, requeue=False))
    assert bodies(peer.deliveries()) == [b"4"]
    peer.send(wire.BasicNack(4, multiple=True, requeue=True))
    again = peer.deliveries()
    assert bodies(again) == [b"2", b"3"]
    assert all(delivery.redelivered for delivery in again)
    peer.send(wire.BasicAck(0, multiple=True))
    assert bodies(peer.deliveries()) == [b"5"]


def test_the_channels_limit(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.BasicQos(0, 2, global_=True), wire.BasicQosOk)
    consume(peer, "a")
    consume(peer, "b")
    for number in range(4):
        peer.publish(body=b"%d" % number)
    assert [d.consumer_tag for d in peer.deliveries()] == ["a", "b"]
    peer.send(wire.BasicQos(0, 3, global_=True))
    answer, third = peer.read()
    assert isinstance(answer, wire.BasicQosOk)
    assert third.body == b"2"


def test_a_multiple_ack_of_a_tag_that_is_gone(peer: Peer) -> None:
    declare(peer)
    consume(peer)
    for _ in range(3):
        peer.publish()
    peer.deliveries()
    peer.send(wire.BasicAck(2))
    assert peer.read() == []
    peer.send(wire.BasicAck(2, multiple=True))
    refused(peer, 406, "PRECONDITION_FAILED - unknown delivery tag 2", 60, 80)


def test_recover_answers_before_it_delivers_again(peer: Peer) -> None:
    declare(peer)
    consume(peer)
    peer.publish(body=b"0")
    peer.publish(body=b"1")
    peer.deliveries()
    peer.send(wire.BasicRecover(True))
    answer, *again = peer.read()
    assert isinstance(answer, wire.BasicRecoverOk)
    assert [(d.body, d.delivery_tag, d.redelivered) for d in again] == [
        (b"0", 3, True),
        (b"1", 4, True),
    ]
    peer.send(wire.BasicRecoverAsync(True))
    assert [d.delivery_tag for d in peer.deliveries()] == [5, 6]


def test_cancel_keeps_what_is_unsettled(peer: Peer) -> None:
    declare(peer)
    consume(peer)
    peer.publish(body=b"0")
    peer.deliveries()
    assert peer.ask(wire.BasicCancel("t"), wire.BasicCancelOk).consumer_tag == "t"
    peer.ask(wire.BasicCancel("nosuch"), wire.BasicCancelOk)
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)
    peer.send(wire.BasicNack(1, requeue=True))
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).redelivered


def test_consumers_are_told_when_their_queue_is_deleted(connect: Connect) -> None:
    owner, told, untold = connect().open(), connect().open(), connect().open(capabilities={})
    declare(owner)
    consume(owner)
    consume(told)
    consume(untold)
    owner.send(wire.QueueDelete("q"))
    answer, news = owner.read()
    assert answer == wire.QueueDeleteOk(0)
    assert news == wire.BasicCancel("t", True)
    assert told.one(wire.BasicCancel) == wire.BasicCancel("t", True)
    assert untold.read() == []
    assert owner.ask(wire.QueueDelete("q"), wire.QueueDeleteOk).message_count == 0
    declare(told)
    consume(told)


def test_auto_delete_and_exclusive_queues_go(connect: Connect, node: Node) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer, "auto", auto_delete=True)
    declare(peer, "mine", exclusive=True)
    consume(peer, "a", "auto")
    consume(other, "b", "auto")
    other.ask(wire.BasicCancel("b"), wire.BasicCancelOk)
    assert set(node.hosts["/"].queues) == {"auto", "mine"}
    other.send(wire.BasicGet("mine"))
    assert other.one(wire.ChannelClose).reply_code == 405
    peer.ask(wire.BasicCancel("a"), wire.BasicCancelOk)
    assert set(node.hosts["/"].queues) == {"mine"}
    peer.session.drop()
    assert not node.hosts["/"].queues


def test_a_closed_channel_gives_back_what_it_had(connect: Connect) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer)
    consume(peer)
    for number in range(3):
        peer.publish(body=b"%d" % number)
    peer.deliveries()
    peer.ask(wire.ChannelClose(200, "bye"), wire.ChannelCloseOk)
    other.send(wire.BasicConsume("q", "t"))
    _, *given = other.read()
    assert [(d.body, d.redelivered) for d in given] == [(b"0", True), (b"1", True), (b"2", True)]


def test_a_lost_connection_gives_back_what_it_had(connect: Connect) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer)
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk, channel=2)
    consume(peer)
    peer.ask(wire.BasicConsume("q", "t"), wire.BasicConsumeOk, channel=2)
    peer.publish(body=b"0")
    peer.publish(body=b"1")
    peer.session.receive_eof()
    assert peer.closed
    other.send(wire.BasicConsume("q", "t"))
    _, *given = other.read()
    assert bodies(given) == [b"0", b"1"]


def test_a_message_for_a_channel_that_closes_in_the_same_packet(peer: Peer) -> None:
    """Whether it is still delivered is open; it may not be lost."""
    declare(peer)
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk, channel=2)
    peer.ask(wire.BasicConsume("q", "t"), wire.BasicConsumeOk, channel=2)
    publish = wire.encode_publish(1, "", "q", False, False, b"\0\0", b"x", 0)
    assert isinstance(publish, bytes)
    peer.raw(publish + wire.ChannelClose(200, "bye").encode(2))
    assert isinstance(peer.read()[-1], wire.ChannelCloseOk)
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).body == b"x"


def test_the_queue_declared_last_is_the_default(peer: Peer) -> None:
    name = declare(peer, "")
    peer.ask(wire.QueueBind("", "amq.direct", ""), wire.QueueBindOk)
    peer.publish(name, exchange="amq.direct")
    assert peer.ask(wire.BasicGet(""), wire.Delivery).routing_key == name
    assert peer.ask(wire.QueuePurge(""), wire.QueuePurgeOk).message_count == 0
    peer.ask(wire.QueueUnbind("", "amq.direct", ""), wire.QueueUnbindOk)
    peer.ask(wire.QueueDelete(""), wire.QueueDeleteOk)


def test_small_answers(peer: Peer) -> None:
    assert peer.ask(wire.ChannelFlow(True), wire.ChannelFlowOk).active
    assert peer.ask(wire.AccessRequest("/data"), wire.AccessRequestOk).ticket == 1
    peer.ask(wire.ExchangeDeclare("x", "topic"), wire.ExchangeDeclareOk)
    peer.ask(wire.ExchangeBind("x", "amq.direct", "k"), wire.ExchangeBindOk)
    peer.ask(wire.ExchangeUnbind("x", "amq.direct", "k"), wire.ExchangeUnbindOk)
    peer.ask(wire.ExchangeDelete("x"), wire.ExchangeDeleteOk)


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


# -- direct reply-to


def test_direct_reply_to(connect: Connect) -> None:
    client, server = connect().open(), connect().open()
    declare(server)
    consume(client, "r", "amq.rabbitmq.reply-to", no_ack=True)
    client.publish(reply_to="amq.rabbitmq.reply-to", correlation_id="c")
    request = server.ask(wire.BasicGet("q", no_ack=True), wire.Delivery)
    name = request.properties.reply_to
    assert name.startswith("amq.rabbitmq.reply-to.")
    assert len(name) == 91
    assert request.properties.correlation_id == "c"
    found = server.ask(wire.QueueDeclare(name, passive=True), wire.QueueDeclareOk)
    assert (found.message_count, found.consumer_count) == (0, 1)
    server.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    server.publish(name, b"reply", mandatory=True)
    server.one(wire.BasicAck)
    (reply,) = client.deliveries()
    assert (reply.body, reply.consumer_tag, reply.delivery_tag) == (b"reply", "r", 1)
    assert (reply.exchange, reply.routing_key) == ("", name)
    client.session.drop()
    server.publish(name, b"late", mandatory=True)
    server.one(wire.BasicAck)
    server.publish(name + "x", b"nobody", mandatory=True)
    returned, _ = server.read()
    assert returned.reply_code == 312
    server.send(wire.QueueDeclare(name, passive=True))
    assert server.one(wire.ChannelClose).reply_code == 404


def test_one_reply_consumer_a_channel(peer: Peer) -> None:
    consume(peer, "r", "amq.rabbitmq.reply-to", no_ack=True)
    peer.ask(wire.BasicCancel("r"), wire.BasicCancelOk)
    consume(peer, "r", "amq.rabbitmq.reply-to", no_ack=True)
    peer.send(wire.BasicConsume("amq.rabbitmq.reply-to", "s", no_ack=True))
    refused(peer, 406, "PRECONDITION_FAILED - reply consumer already set", 60, 20)
    answer = peer.ask(wire.QueueDeclare("amq.rabbitmq.reply-to"), wire.QueueDeclareOk)
    assert (answer.queue, answer.consumer_count) == ("amq.rabbitmq.reply-to", 1)


# -- slow clients, alarms


def test_a_backlog_is_delivered_in_portions(peer: Peer) -> None:
    declare(peer)
    body = b"x" * 1000
    for _ in range(1000):
        peer.publish(body=body)
    consume_ok_and_some = wire.BasicConsume("q", "t", no_ack=True)
    peer.send(consume_ok_and_some)
    assert peer.size < session_module.DELIVERY_BYTES + 2000
    received = len(peer.read()) - 1
    while received < 1000:
        peer.turn()
        assert peer.size < session_module.DELIVERY_BYTES + 2000
        received += len(peer.deliveries())
    assert received == 1000


def test_channels_and_consumers_share_the_room(peer: Peer) -> None:
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk, channel=2)
    for number in range(4):
        declare(peer, f"q{number}")
        for _ in range(1000):
            peer.publish(f"q{number}", b"x" * 1000)
    for number in range(4):
        consume = wire.BasicConsume(f"q{number}", no_ack=True, nowait=True)
        peer.send(consume, channel=1 + number // 2)
    given = set()
    for _ in range(6):
        given |= {delivery.routing_key for delivery in peer.deliveries()}
        peer.turn()
    assert given == {"q0", "q1", "q2", "q3"}


def test_a_full_transport_stops_deliveries(connect: Connect) -> None:
    slow, quick = connect().open(), connect().open()
    declare(slow)
    consume(slow, no_ack=True)
    slow.session.pause()
    slow.publish(body=b"0")
    assert slow.read() == []
    consume_ok = wire.BasicConsume("q", "t", no_ack=True)
    quick.send(consume_ok)
    assert bodies(quick.read()[1:]) == [b"0"]
    quick.session.pause()
    quick.publish(body=b"1")
    slow.session.resume()
    assert bodies(slow.deliveries()) == [b"1"]


def test_a_client_that_reads_no_answers_is_not_read_from(peer: Peer) -> None:
    peer.session.pause()
    peer.unsent = session_module.REPLY_BYTES
    peer.publish("nokey", exchange="amq.direct", mandatory=True)
    assert peer.reading
    peer.unsent += 1
    peer.publish("nokey", exchange="amq.direct", mandatory=True)
    assert not peer.reading
    peer.unsent = 0
    peer.session.resume()
    assert peer.reading
    assert len(peer.read()) == 2


def test_an_alarm_holds_publishers_back(connect: Connect, node: Node, clock: Clock) -> None:
    publisher, idle = connect().open(heartbeat=1), connect().open(capabilities={})
    declare(publisher)
    node.block("low on memory")
    assert publisher.read() == idle.read() == []
    publisher.publish()
    assert publisher.one(wire.ConnectionBlocked).reason == "low on memory"
    assert not publisher.reading
    assert idle.reading
    idle.publish()
    assert not idle.reading
    for _ in range(10):  # a client that is not read from is not dead
        clock.now = publisher.session.next_deadline()
        publisher.session.tick()
    assert not publisher.closed
    publisher.read()
    node.unblock()
    publisher.one(wire.ConnectionUnblocked)
    assert idle.read() == []
    assert publisher.reading
    assert idle.reading
    answer = publisher.ask(wire.QueueDeclare("q", passive=True), wire.QueueDeclareOk)
    assert answer.message_count == 2


def test_the_alarm_of_memory(connect: Connect, node: Node) -> None:
    node.options.memory_limit = 100_000
    publisher, consumer = connect().open(), connect().open()
    declare(publisher)
    for _ in range(10):
        publisher.publish(body=b"x" * 11_000)
        if not publisher.reading:
            break
    assert publisher.one(wire.ConnectionBlocked).reason == "low on memory"
    assert 100_000 < node.usage.bytes < 115_000
    consumer.send(wire.BasicConsume("q", "t", no_ack=True))
    assert publisher.reading
    publisher.one(wire.ConnectionUnblocked)
    assert node.usage.bytes == 0


# -- names that are not UTF-8

BAD = "a\udcffb"


@pytest.mark.parametrize(
    "method",
    [
        wire.QueueDeclare(BAD),
        wire.QueueBind("q", "amq.direct", BAD),
        wire.BasicConsume("q", BAD),
        wire.BasicGet(BAD),
        wire.ChannelClose(200, BAD),
    ],
)
def test_a_method_with_a_malformed_text(peer: Peer, method: wire.Method) -> None:
    """As RabbitMQ 3 and 4."""
    peer.send(method)
    ended(peer, 501, "FRAME_ERROR - Malformed UTF-8 in shortstr", 0, 0)


def test_a_publish_takes_any_bytes(connect: Connect) -> None:
    """As RabbitMQ 3 and 4. The names of what is refused are worded, and nothing is lost."""
    peer, other = connect().open(), connect().open()
    declare(peer)
    peer.publish()
    peer.ask(wire.BasicGet("q"), wire.Delivery)
    peer.publish(BAD, mandatory=True)
    assert peer.one(wire.Returned).routing_key == BAD
    peer.publish(exchange=BAD)
    refused(peer, 404, "NOT_FOUND - no exchange 'a?b' in vhost '/'", 60, 40)
    assert other.ask(wire.BasicGet("q"), wire.Delivery).redelivered


def test_a_fault_of_ours_loses_nothing(connect: Connect, monkeypatch: pytest.MonkeyPatch) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer)
    peer.publish()
    peer.ask(wire.BasicGet("q"), wire.Delivery)

    def fail(*_: object, **__: object) -> None:
        raise ValueError("a bug")

    monkeypatch.setattr(ServerChannel, "send_close", fail)
    peer.send(wire.BasicGet("nosuch"))
    close = peer.one(wire.ConnectionClose)
    assert close.reply_code == 541
    assert other.ask(wire.BasicGet("q"), wire.Delivery).redelivered
