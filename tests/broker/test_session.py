"""Sessions: handshake, errors, slow clients. Raw frames in, RabbitMQ's answers out; no waiting."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from broker_peer import Clock, Peer, bodies, consume, declare, ended, refused

from leveret import wire
from leveret.broker import session as session_module
from leveret.broker.node import Node
from leveret.protocol import ServerChannel

Connect = Callable[[], Peer]


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
