"""Channels: numbers, requests and replies, consumers, flow, blame."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from leveret import wire
from leveret.exceptions import (
    AccessRefused,
    ChannelClosedError,
    ChannelError,
    ConfigurationError,
    EncodeError,
    LocalProtocolError,
    NotAllowed,
    NotFound,
    PeerError,
    PreconditionFailed,
    ResourceLocked,
)
from leveret.protocol import (
    ChannelClosed,
    ChannelFlow,
    ChannelState,
    ClientChannel,
    ClientOptions,
    ClientSide,
    ConnectionBlocked,
    ConnectionUnblocked,
    ConsumerCancelled,
    Reply,
    ServerChannel,
    ServerOptions,
    State,
)

from .pair import Pair, decode, drain, of, one, send

# -- numbers -----------------------------------------------------------------------------------


def test_numbers_are_used_again() -> None:
    pair = Pair(ClientOptions(channel_max=3)).open()
    channels = [pair.channel() for _ in range(3)]
    assert [channel.number for channel in channels] == [1, 2, 3]
    with pytest.raises(LocalProtocolError, match="all 3 channels"):
        pair.client.open_channel(None)
    channels[1].send_close()
    with pytest.raises(LocalProtocolError):  # not before close-ok
        pair.client.open_channel(None)
    pair.pump()
    again = pair.channel("again")
    assert again.number == 2
    assert again.state is ChannelState.OPEN
    assert pair.client.state is State.OPEN


def test_the_longest_free_number_comes_first() -> None:
    pair = Pair(ClientOptions(channel_max=4)).open()
    channels = [pair.channel() for _ in range(4)]
    for index in (2, 0, 3):
        channels[index].send_close()
        pair.pump()
    assert [pair.channel().number for _ in range(3)] == [3, 1, 4]


def test_a_number_that_the_server_closed_is_free() -> None:
    pair = Pair(ClientOptions(channel_max=1)).open()
    for _ in range(5):
        channel = pair.channel()
        pair.at_server(1).send_close(404, "NOT_FOUND - x")
        pair.pump()
        assert channel.state is ChannelState.CLOSED
    assert len(of(ChannelClosed, pair.client_events)) == 5
    assert not pair.client.channels
    assert not pair.server.channels


def test_a_channel_is_not_used_before_it_is_open(pair: Pair) -> None:
    channel = pair.client.open_channel("token")
    with pytest.raises(ChannelClosedError, match="not open yet"):
        send(channel)
    with pytest.raises(ChannelClosedError):
        channel.send_request(wire.QueueDeclare("q"), None)
    pair.pump()
    assert one(wire.ChannelOpen, pair.server_events).channel == 1
    (reply,) = pair.replies()
    assert (reply.token, reply.channel) == ("token", 1)
    send(channel)


def test_no_channel_before_the_handshake() -> None:
    with pytest.raises(LocalProtocolError, match="not open yet"):
        Pair().client.open_channel(None)


def test_a_channel_closed_before_it_is_open(pair: Pair) -> None:
    channel = pair.client.open_channel("open")
    channel.send_close(token="close")
    pair.pump()
    closed = pair.channel_closed()
    assert closed.tokens == ["open", "close"]
    assert pair.replies() == []
    assert pair.channel().number == 1


# -- requests ----------------------------------------------------------------------------------


def test_replies_find_their_requests(pair: Pair) -> None:
    first, second = pair.channel(), pair.channel()
    pair.client_events.clear()
    for number in range(3):
        first.send_request(wire.QueueDeclare(f"a{number}"), ("a", number))
        second.send_request(wire.QueueDeclare(f"b{number}"), ("b", number))
        first.send_method(wire.QueueDeclare("quiet", nowait=True))
    first.send_request(wire.BasicGet("q"), "get")
    pair.pump()
    replies = pair.replies()
    assert [r.token for r in replies if r.channel == 1] == [("a", 0), ("a", 1), ("a", 2), "get"]
    assert [r.token for r in replies if r.channel == 2] == [("b", 0), ("b", 1), ("b", 2)]
    for reply in replies:
        if isinstance(reply.reply, wire.QueueDeclareOk):
            assert isinstance(reply.request, wire.QueueDeclare)
            assert reply.reply.queue == reply.request.queue


def test_get(pair: Pair) -> None:
    channel = pair.channel()
    pair.answers[wire.BasicGet] = lambda at_server, method: at_server.send_get_ok(
        7, True, "x", "k", 3, b"\0\0", b"body"
    )
    channel.send_request(wire.BasicGet("q"), "get")
    pair.pump()
    delivery = pair.replies()[-1].reply
    assert isinstance(delivery, wire.Delivery)
    assert (delivery.delivery_tag, delivery.message_count, delivery.body) == (7, 3, b"body")
    assert delivery.consumer_tag is None
    assert len(channel.unsettled) == 1
    channel.send_request(wire.BasicGet("q", no_ack=True), "get")
    pair.pump()
    assert len(channel.unsettled) == 1


def test_a_get_whose_frames_come_one_by_one(pair: Pair) -> None:
    channel = pair.channel()
    pair.answers[wire.BasicGet] = lambda at_server, method: None
    channel.send_request(wire.BasicGet("q"), "get")
    pair.pump()
    content = wire.encode_get_ok(1, 7, False, "x", "k", 3, b"\0\0", b"body", 0)
    assert isinstance(content, bytes)
    for octet in content:
        pair.client.receive_data(bytes([octet]), 0.0)
    (reply,) = of(Reply, pair.client.events())
    assert isinstance(reply.reply, wire.Delivery)
    assert (reply.token, reply.reply.body) == ("get", b"body")
    assert len(channel.unsettled) == 1


def test_update_secret(pair: Pair) -> None:
    pair.client_side.send_request(wire.ConnectionUpdateSecret(b"new", "expired"), "token")
    pair.pump()
    asked = one(wire.ConnectionUpdateSecret, pair.server_events)
    assert (asked.new_secret, asked.reason) == (b"new", "expired")
    (reply,) = pair.replies()
    assert (reply.channel, reply.token) == (0, "token")
    assert "b'new'" not in repr(asked)


def test_a_secret_that_gets_no_answer(pair: Pair) -> None:
    pair.client_side.send_request(wire.ConnectionUpdateSecret(b"new", ""), "token")
    pair.server.send_close(530, "NOT_ALLOWED - no", class_id=10, method_id=70)
    pair.to_client()
    closed = pair.closed()
    assert isinstance(closed.error, NotAllowed)
    assert closed.error.operation == "connection.update-secret"
    assert closed.tokens == ["token"]


@pytest.mark.parametrize(
    "method",
    [
        wire.QueueDeclare("q", nowait=True),
        wire.BasicRecoverAsync(),
        wire.BasicAck(1),
        wire.ChannelOpen(),
        wire.ChannelClose(200, "", 0, 0),
        wire.ConnectionUpdateSecret(b"", ""),
        wire.ConnectionOpen("/"),
    ],
)
def test_requests_that_are_none(pair: Pair, method: wire.Method) -> None:
    channel = pair.channel()
    with pytest.raises(LocalProtocolError):
        channel.send_request(method, None)
    assert not pair.client.has_data_to_send()


@pytest.mark.parametrize(
    "method", [wire.QueueDeclare("q"), wire.BasicPublish(), wire.BasicConsume("q", nowait=True)]
)
def test_methods_that_are_not_for_sending_alone(pair: Pair, method: wire.Method) -> None:
    channel = pair.channel()
    with pytest.raises(LocalProtocolError):
        channel.send_method(method)
    assert not pair.client.has_data_to_send()


@pytest.mark.parametrize(
    "method",
    [
        wire.QueueDeclare("q" * 256),
        wire.QueueDeclare("q", arguments={"x": object()}),
        wire.QueueDeclare("q", arguments={"x": "y" * 8192}),
    ],
)
def test_what_cannot_be_encoded_leaves_the_channel_usable(method: wire.QueueDeclare) -> None:
    pair = Pair(ClientOptions(frame_max=8192)).open()
    channel = pair.channel()
    with pytest.raises(EncodeError):
        channel.send_request(method, "never")
    method.nowait = True
    with pytest.raises(EncodeError):
        channel.send_method(method)
    assert not pair.client.has_data_to_send()
    channel.send_request(wire.QueueDeclare("q"), "token")
    pair.pump()
    assert pair.replies()[-1].token == "token"


def test_publishes_that_cannot_be_encoded_are_not_numbered(pair: Pair) -> None:
    channel = pair.confirming()
    with pytest.raises(EncodeError):
        send(channel, routing_key="k" * 256)
    with pytest.raises(EncodeError):
        send(channel, "text")  # type: ignore[arg-type]
    with pytest.raises(EncodeError):
        send(channel, raw_properties=b"\0" * 140_000)
    assert not pair.client.has_data_to_send()
    assert send(channel).delivery_tag == 1


# -- consumers ---------------------------------------------------------------------------------


def test_deliveries_go_to_their_consumer(pair: Pair) -> None:
    channel = pair.consuming()
    channel.send_request(wire.BasicConsume("q"), None, "named by the server")
    pair.pump()
    pair.deliver(channel, 1, 2)
    pair.deliver(channel, 3, consumer_tag="amq.ctag-1")
    deliveries = of(wire.Delivery, pair.client_events)
    assert [d.owner for d in deliveries] == ["owner", "owner", "named by the server"]
    assert [d.delivery_tag for d in deliveries] == [1, 2, 3]
    assert len(channel.unsettled) == 3


def test_a_consumer_that_does_not_wait(pair: Pair) -> None:
    channel = pair.channel()
    channel.send_method(wire.BasicConsume("q", "t", nowait=True), "owner")
    pair.pump()
    pair.deliver(channel, 1)
    assert one(wire.Delivery, pair.client_events).owner == "owner"


def test_the_broker_cancels(pair: Pair) -> None:
    channel = pair.consuming()
    pair.at_server(1).send_method(wire.BasicCancel("t", nowait=True))
    pair.at_server(1).send_method(wire.BasicCancel("unknown", nowait=True))
    pair.to_client()
    cancelled = one(ConsumerCancelled, pair.client_events)
    assert (cancelled.channel, cancelled.consumer_tag, cancelled.token) == (1, "t", "owner")
    assert not channel.consumers
    assert drain(pair.client) == b""


def test_the_broker_cancels_and_waits(pair: Pair) -> None:
    pair.consuming()
    pair.at_server(1).send_method(wire.BasicCancel("t"))
    pair.pump()
    assert one(wire.BasicCancelOk, pair.server_events).consumer_tag == "t"


def test_deliveries_before_cancel_ok_still_come(pair: Pair) -> None:
    channel = pair.consuming()
    channel.send_request(wire.BasicCancel("t"), "cancel")
    pair.deliver(channel, 1)
    pair.pump()
    assert len(of(wire.Delivery, pair.client_events)) == 1
    assert not channel.consumers


def test_what_comes_after_a_cancel_without_waiting_goes_back(pair: Pair) -> None:
    channel = pair.consuming()
    channel.send_method(wire.BasicCancel("t", nowait=True))
    pair.deliver(channel, 1, 2)
    assert of(wire.Delivery, pair.client_events) == []
    assert len(channel.unsettled) == 0
    pair.pump()
    rejects = of(wire.BasicReject, pair.server_events)
    assert [(r.delivery_tag, r.requeue) for r in rejects] == [(1, True), (2, True)]


def test_what_comes_after_such_a_cancel_without_acks_is_no_ones(pair: Pair) -> None:
    """A reject would be for an unknown delivery tag, and end the channel."""
    channel = pair.consuming(no_ack=True)
    channel.send_method(wire.BasicCancel("t", nowait=True))
    pair.deliver(channel, 1)
    channel.send_request(wire.BasicQos(0, 1), None)
    pair.deliver(channel, 2)
    pair.pump()
    assert of(wire.BasicReject, pair.server_events) == []
    pair.deliver(channel, 3)  # after a reply, the broker has seen the cancel: this is another's
    pair.pump()
    assert one(wire.BasicReject, pair.server_events).delivery_tag == 3


def test_flow(pair: Pair) -> None:
    channel = pair.channel()
    for active in (False, True):
        pair.at_server(1).send_method(wire.ChannelFlow(active))
        pair.pump()
        assert channel.flow_active is active
        assert of(wire.ChannelFlowOk, pair.server_events)[-1].active is active
        assert of(ChannelFlow, pair.client_events)[-1].active is active
    channel.send_request(wire.ChannelFlow(True), "flow")
    pair.pump()
    assert pair.replies()[-1].token == "flow"


def test_blocked_and_unblocked(pair: Pair) -> None:
    pair.server_side.send_blocked("low on memory" + "!" * 300)
    pair.to_client()
    assert pair.client.blocked is not None
    assert pair.client.blocked.startswith("low on memory!")
    assert one(ConnectionBlocked, pair.client_events).reason == pair.client.blocked
    pair.server_side.send_unblocked()
    pair.to_client()
    assert pair.client.blocked is None
    one(ConnectionUnblocked, pair.client_events)


# -- blame -------------------------------------------------------------------------------------


def refused(pair: Pair, code: int, text: str, kind: type[wire.Method]) -> PeerError:
    """The server closes channel 1 because of a method; the client's error."""
    pair.at_server(1).send_close(code, text, class_id=kind.key >> 16, method_id=kind.key & 0xFFFF)
    pair.to_client()
    error = pair.channel_closed().error
    assert isinstance(error, PeerError)
    return error


def silent(pair: Pair) -> ClientChannel:
    """A channel whose server answers nothing."""
    channel = pair.channel()
    for kind in (wire.QueueDeclare, wire.QueueBind, wire.QueueDelete, wire.ConfirmSelect):
        pair.answers[kind] = None
    return channel


def test_the_error_names_the_operation(pair: Pair) -> None:
    channel = silent(pair)
    channel.send_request(wire.QueueDeclare("q", passive=True), "token")
    pair.pump()
    error = refused(pair, 404, "NOT_FOUND - no queue 'q' in vhost '/'", wire.QueueDeclare)
    assert isinstance(error, NotFound)
    assert error.operation == "queue.declare"
    assert error.arguments == {"queue": "q", "passive": True}
    assert str(error) == (
        "queue.declare(queue='q', passive=True): (404) NOT_FOUND - no queue 'q' in vhost '/'"
    )
    assert pair.channel_closed().tokens == ["token"]


@pytest.mark.parametrize(
    ("code", "kind"),
    [(403, AccessRefused), (404, NotFound), (405, ResourceLocked), (406, PreconditionFailed)],
)
def test_reply_codes_are_classes(pair: Pair, code: int, kind: type[PeerError]) -> None:
    pair.channel()
    assert type(refused(pair, code, "text", wire.QueueDeclare)) is kind


def test_an_unknown_reply_code(pair: Pair) -> None:
    pair.channel()
    error = refused(pair, 499, "text", wire.QueueDeclare)
    assert type(error) is ChannelError
    assert error.reply_code == 499


def test_blame_for_what_was_sent_without_waiting(pair: Pair) -> None:
    channel = silent(pair)
    channel.send_method(wire.QueueDeclare("first", nowait=True))
    channel.send_method(wire.QueueBind("first", "nosuch", nowait=True))
    channel.send_method(wire.QueueBind("first", "amq.direct", nowait=True))
    pair.pump()
    error = refused(pair, 404, "NOT_FOUND - no exchange 'nosuch' in vhost '/'", wire.QueueBind)
    assert error.arguments == {"queue": "first", "exchange": "nosuch", "nowait": True}


def test_blame_does_not_fall_on_the_request_that_waits(pair: Pair) -> None:
    channel = silent(pair)
    channel.send_method(wire.QueueDeclare("bad", nowait=True))
    channel.send_request(wire.QueueDeclare("good"), None)
    pair.pump()
    error = refused(pair, 403, "ACCESS_REFUSED - queue name 'bad' contains", wire.QueueDeclare)
    assert error.arguments["queue"] == "bad"


def test_blame_does_not_fall_on_what_was_answered_or_not_reached(pair: Pair) -> None:
    channel = pair.channel()
    channel.send_method(wire.QueueDeclare("old", nowait=True))
    channel.send_request(wire.QueueDeclare("answered"), None)
    pair.pump()
    silent_kinds: list[type[wire.Method]] = [wire.QueueDeclare, wire.QueueDelete]
    for kind in silent_kinds:
        pair.answers[kind] = None
    channel.send_method(wire.QueueDeclare("culprit", nowait=True))
    channel.send_request(wire.QueueDelete("other"), None)
    channel.send_request(wire.QueueDeclare("later"), None)
    channel.send_method(wire.QueueDeclare("much later", nowait=True))
    pair.pump()
    error = refused(pair, 406, "PRECONDITION_FAILED - no names", wire.QueueDeclare)
    assert error.arguments == {"queue": "culprit", "nowait": True}


def test_blame_falls_on_one_of_several_requests(pair: Pair) -> None:
    channel = silent(pair)
    channel.send_request(wire.BasicConsume("a", "1"), "first")
    channel.send_request(wire.BasicConsume("b", "2"), "second")
    channel.send_request(wire.QueueDelete("b"), "third")
    pair.answers[wire.BasicConsume] = None
    pair.pump()
    refused(pair, 404, "NOT_FOUND - no queue 'b' in vhost '/'", wire.BasicConsume)
    closed = pair.channel_closed()
    assert (closed.tokens, closed.blamed) == (["first", "second", "third"], "second")


@pytest.mark.parametrize(
    ("kind", "text", "blamed"),
    [
        (wire.QueueDeclare, "NOT_FOUND - no queue 'good'", "token"),
        (wire.QueueDeclare, "NOT_FOUND - no queue 'bad'", None),
        (wire.QueueDeclare, "NOT_FOUND", "token"),
        (wire.QueueBind, "NOT_FOUND", None),
        (wire.BasicPublish, "NOT_FOUND - no exchange 'x'", None),
        (wire.BasicAck, "PRECONDITION_FAILED - unknown delivery tag 1", None),
        (None, "PRECONDITION_FAILED - delivery acknowledgement timed out", "token"),
    ],
)
def test_blame_falls_on_the_only_request_unless_it_was_something_else(
    pair: Pair, kind: type[wire.Method] | None, text: str, blamed: str | None
) -> None:
    channel = silent(pair)
    channel.send_method(wire.QueueDeclare("bad", nowait=True))
    channel.send_request(wire.QueueDeclare("good"), "token")
    pair.pump()
    key = kind.key if kind is not None else 0
    pair.at_server(1).send_close(404, text, class_id=key >> 16, method_id=key & 0xFFFF)
    pair.to_client()
    assert pair.channel_closed().blamed == blamed


def test_no_request_is_blamed_for_what_the_broker_does_not_name(pair: Pair) -> None:
    channel = silent(pair)
    channel.send_request(wire.QueueDeclare("a"), "first")
    channel.send_request(wire.QueueDeclare("b"), "second")
    pair.pump()
    pair.at_server(1).send_close(406, "PRECONDITION_FAILED - timed out")
    pair.to_client()
    assert pair.channel_closed().blamed is None


def test_blame_falls_on_the_first_of_equal_requests(pair: Pair) -> None:
    channel = silent(pair)
    pair.answers[wire.BasicConsume] = None
    channel.send_request(wire.BasicConsume("q"), "first")
    channel.send_request(wire.BasicConsume("q"), "second")
    pair.pump()
    refused(pair, 404, "NOT_FOUND - no queue 'q' in vhost '/'", wire.BasicConsume)
    assert pair.channel_closed().blamed == "first"


def test_blame_that_is_not_clear_names_what_is_common(pair: Pair) -> None:
    channel = silent(pair)
    channel.send_method(wire.QueueBind("q", "a", "k", nowait=True))
    channel.send_method(wire.QueueBind("q", "b", "k", nowait=True))
    pair.pump()
    error = refused(pair, 406, "PRECONDITION_FAILED - no names", wire.QueueBind)
    assert error.arguments == {"queue": "q", "routing_key": "k", "nowait": True}


def test_blame_after_more_than_is_remembered(pair: Pair) -> None:
    channel = silent(pair)
    for number in range(100):
        channel.send_method(wire.QueueBind("q", f"x{number}", nowait=True))
    pair.pump()
    text = "NOT_FOUND - no exchange '{}' in vhost '/'"
    assert channel.blamed(50, 20, text.format("x99"))[1]["exchange"] == "x99"
    assert channel.blamed(50, 20, "something")[1] == {}
    assert channel.blamed(50, 10, "something") == ("queue.declare", {})
    assert channel.blamed(0, 0, "something") == (None, {})


def test_blame_for_a_publish(pair: Pair) -> None:
    channel = pair.channel()
    send(channel, exchange="nosuch", routing_key="k")
    send(channel, exchange="nosuch", routing_key="k")
    pair.pump()
    text = "NOT_FOUND - no exchange 'nosuch' in vhost '/'"
    error = refused(pair, 404, text, wire.BasicPublish)
    assert error.arguments == {"exchange": "nosuch", "routing_key": "k"}


def test_blame_for_one_of_several_publishes(pair: Pair) -> None:
    """The last publish is not to blame only because it is the last."""
    channel = pair.channel()
    send(channel, exchange="nosuch", routing_key="k")
    send(channel, exchange="amq.direct", routing_key="other")
    pair.pump()
    text = "NOT_FOUND - no exchange 'nosuch' in vhost '/'"
    error = refused(pair, 404, text, wire.BasicPublish)
    assert error.operation == "basic.publish"
    assert error.arguments.get("exchange", "nosuch") == "nosuch"
    assert "routing_key" not in error.arguments


def test_blame_for_one_of_several_confirmed_publishes(pair: Pair) -> None:
    channel = pair.confirming()
    send(channel, exchange="nosuch", routing_key="k")
    send(channel, exchange="amq.direct", routing_key="other")
    pair.pump()
    text = "NOT_FOUND - no exchange 'nosuch' in vhost '/'"
    assert refused(pair, 404, text, wire.BasicPublish).arguments == {"exchange": "nosuch"}


@pytest.mark.parametrize("kind", [wire.BasicAck, wire.BasicNack, wire.BasicReject])
def test_blame_for_a_delivery_tag(pair: Pair, kind: type[wire.Method]) -> None:
    pair.channel()
    error = refused(pair, 406, "PRECONDITION_FAILED - unknown delivery tag 42", kind)
    assert error.operation == kind.name
    assert error.arguments == {"delivery_tag": 42}


def test_a_connection_error_names_the_arguments_too(pair: Pair) -> None:
    channel = pair.channel()
    pair.answers[wire.BasicConsume] = None
    channel.send_request(wire.BasicConsume("q", "t"), None)
    pair.to_server()
    pair.server.send_close(
        530, "NOT_ALLOWED - attempt to reuse consumer tag 't'", class_id=60, method_id=20
    )
    pair.to_client()
    error = pair.closed().error
    assert isinstance(error, NotAllowed)
    assert error.arguments == {"queue": "q", "consumer_tag": "t"}


def test_two_channels_may_be_meant(pair: Pair) -> None:
    pair.answers[wire.BasicConsume] = None
    for _ in range(2):
        pair.channel().send_request(wire.BasicConsume("q", "t"), None)
    pair.to_server()
    pair.server.send_close(530, "NOT_ALLOWED - x", class_id=60, method_id=20)
    pair.to_client()
    error = pair.closed().error
    assert isinstance(error, NotAllowed)
    assert (error.operation, error.arguments) == ("basic.consume", {})


# -- the server's end --------------------------------------------------------------------------


def test_what_the_server_sends(pair: Pair) -> None:
    pair.channel()
    at_server = pair.at_server(1)
    properties = wire.Properties(content_type="text/plain").encode()
    at_server.send_return(312, "NO_ROUTE", "x", "k", properties, b"body")
    pair.to_client()
    returned = one(wire.Returned, pair.client_events)
    assert (returned.reply_code, returned.reply_text) == (312, "NO_ROUTE")
    assert returned.properties.content_type == "text/plain"
    assert isinstance(at_server, ServerChannel)
    with pytest.raises(EncodeError):
        at_server.send_method(wire.BasicConsumeOk("t" * 256))


def test_the_server_counts_channels() -> None:
    pair = Pair(server_options=ServerOptions(channel_max=3)).open()
    for _ in range(3):
        pair.channel()
    pair.server.receive_data(wire.ChannelOpen().encode(9), 0.0)
    close = decode(drain(pair.server))[-1]
    assert isinstance(close, wire.ConnectionClose)
    assert (close.reply_code, close.reply_text) == (
        530,
        "NOT_ALLOWED - number of channels opened (3) has reached the negotiated channel_max (3)",
    )


def test_sides_are_what_they_are(pair: Pair) -> None:
    side: Any = pair.client.side
    assert isinstance(side, ClientSide)
    assert pair.client.role.value == "client"
    assert repr(pair.client) == "<Connection client open channels=0>"
    assert repr(pair.channel()) == "<ClientChannel 1 open>"


# -- texts that are not Unicode ------------------------------------------------------------------


def test_a_name_that_utf8_does_not_hold_is_not_sent(pair: Pair) -> None:
    """The broker would close the connection."""
    channel = pair.channel()
    calls: list[Callable[[], object]] = [
        lambda: channel.send_request(wire.QueueDeclare("a\udcff"), None),
        lambda: channel.send_method(wire.QueueDelete("\ud800", nowait=True)),
        lambda: channel.send_close(200, "\udcff"),
        lambda: pair.client.send_close(200, "\ud800"),
    ]
    for call in calls:
        with pytest.raises(EncodeError, match="UTF-8"):
            call()
    assert not pair.client.has_data_to_send()
    channel.send_request(wire.QueueDeclare("é"), "fine")
    pair.pump()
    assert pair.replies()[-1].token == "fine"
    with pytest.raises(ConfigurationError, match="virtual_host"):
        ClientOptions(virtual_host="\udcff")
