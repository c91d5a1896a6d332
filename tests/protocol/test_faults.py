"""Faults of the peer: raw frames into either role, and what it is answered.

The server's rows are RabbitMQ 4.3's answers, by code, class, method and, where its text is not
an Erlang term, by text. A row has the name of what it does.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest

from leveret import wire
from leveret.exceptions import RemoteProtocolError
from leveret.protocol import (
    ClientOptions,
    Connection,
    ConnectionClosed,
    ServerOptions,
    State,
)

from .pair import Pair, decode, deliver, drain, frame, header, joined, of, one, publish, send

PUBLISH = wire.BasicPublish("", "x").encode(1)
DELIVER = wire.BasicDeliver("t", 1, False, "", "x").encode(1)
DECLARE = wire.QueueDeclare("x", exclusive=True)
RETURN = joined(wire.encode_return(1, 312, "", "", "", b"\0\0", b"", 0))
UNKNOWN_METHOD = b"\0\x32\0\x63"
UNKNOWN_CLASS = b"\0\x63\0\x0a"


class Row(NamedTuple):
    name: str
    sent: bytes
    code: int
    method: tuple[int, int] = (0, 0)
    text: str = ""


CHANNEL_OPEN_EXPECTED = "CHANNEL_ERROR - expected 'channel.open'"
NOT_WHILE_RUNNING = "CHANNEL_ERROR - unexpected method in connection state running"
UNIMPLEMENTED = "COMMAND_INVALID - unimplemented method"
METHOD_EXPECTED = "UNEXPECTED_FRAME - expected method frame, got non method frame instead"

# The channel 1 is open, 3 is not.
SERVER_ROWS = [
    Row("bad_frame_end", frame(1, 1, DECLARE.encode(1)[7:-1], end=0), 501),
    Row("bad_frame_type", frame(7, 1), 501),
    Row("frame_over_max", frame(3, 1, bytes(9000)), 501),
    Row("heartbeat_with_payload", frame(8, 0, b"x"), 501),
    Row("short_header", PUBLISH + frame(2, 1, b"\0\x3c"), 501),
    Row("short_method", frame(1, 1, b"\0\x3c"), 501),
    Row("truncated_method", frame(1, 1, b"\0\x32\0\x0a\0\0\xc8abc"), 501, (50, 10)),
    Row("heartbeat_on_channel_1", frame(8, 1), 505),
    Row("heartbeat_on_unopened_channel", frame(8, 3), 505),
    Row("body_on_channel_0", frame(3, 0, b"x"), 505),
    Row("header_on_channel_0", header(0, 0), 505),
    Row("method_on_unopened_channel", DECLARE.encode(3), 504, (50, 10), CHANNEL_OPEN_EXPECTED),
    Row(
        "close_on_unopened_channel",
        wire.ChannelClose(0, "", 0, 0).encode(3),
        504,
        (20, 40),
        CHANNEL_OPEN_EXPECTED,
    ),
    Row(
        "close_ok_on_unopened_channel",
        wire.ChannelCloseOk().encode(3),
        504,
        (20, 41),
        CHANNEL_OPEN_EXPECTED,
    ),
    Row(
        "connection_method_on_unopened_channel",
        wire.ConnectionOpen("/").encode(3),
        504,
        (10, 40),
        CHANNEL_OPEN_EXPECTED,
    ),
    Row("header_on_unopened_channel", header(3, 0), 504),
    Row("publish_on_unopened_channel", publish(channel=3), 504, (60, 40), CHANNEL_OPEN_EXPECTED),
    Row(
        "channel_open_twice",
        wire.ChannelOpen().encode(1),
        504,
        (20, 10),
        "CHANNEL_ERROR - second 'channel.open' seen",
    ),
    Row(
        "open_before_close_ok",
        wire.ChannelClose(200, "", 0, 0).encode(1) + wire.ChannelOpen().encode(1),
        504,
        (20, 10),
        "CHANNEL_ERROR - second 'channel.open' seen",
    ),
    Row(
        "method_after_close",
        wire.ChannelClose(200, "", 0, 0).encode(1) + DECLARE.encode(1),
        504,
        (50, 10),
        CHANNEL_OPEN_EXPECTED,
    ),
    Row("unknown_method", frame(1, 1, UNKNOWN_METHOD), 540, (50, 99)),
    Row("unknown_class", frame(1, 1, UNKNOWN_CLASS), 540, (99, 10)),
    Row(
        "connection_method_on_channel_1",
        wire.ConnectionOpen("/").encode(1),
        503,
        (10, 40),
        UNIMPLEMENTED,
    ),
    Row("connection_close_on_channel_1", wire.ConnectionClose().encode(1), 503, (10, 50)),
    Row("queue_method_on_channel_0", DECLARE.encode(0), 504, (50, 10), NOT_WHILE_RUNNING),
    Row("channel_open_on_channel_0", wire.ChannelOpen().encode(0), 504, (20, 10)),
    Row(
        "connection_open_twice",
        wire.ConnectionOpen("/").encode(0),
        504,
        (10, 40),
        NOT_WHILE_RUNNING,
    ),
    Row(
        "start_ok_again",
        wire.ConnectionStartOk({}, "PLAIN", b"", "").encode(0),
        504,
        (10, 11),
        NOT_WHILE_RUNNING,
    ),
    Row(
        "connection_close_ok_unexpected",
        wire.ConnectionCloseOk().encode(0),
        504,
        (10, 51),
        NOT_WHILE_RUNNING,
    ),
    Row("blocked_from_client", wire.ConnectionBlocked("x").encode(0), 504, (10, 60)),
    Row("header_without_publish", header(1, 1), 505, (0, 0), METHOD_EXPECTED),
    Row("body_without_header", frame(3, 1, b"x"), 505, (0, 0), METHOD_EXPECTED),
    Row(
        "method_instead_of_header",
        PUBLISH + DECLARE.encode(1),
        505,
        (60, 40),
        "UNEXPECTED_FRAME - expected content header for class 60, "
        "got non content header frame instead",
    ),
    Row("publish_instead_of_header", PUBLISH + publish(), 505, (60, 40)),
    Row("body_instead_of_header", PUBLISH + frame(3, 1, b"x"), 505, (60, 40)),
    Row(
        "method_instead_of_body",
        PUBLISH + header(1, 5) + DECLARE.encode(1),
        505,
        (60, 40),
        "UNEXPECTED_FRAME - expected content body, got non content body frame instead",
    ),
    Row("header_instead_of_body", PUBLISH + header(1, 5) + header(1, 5), 505, (60, 40)),
    Row(
        "body_too_long",
        PUBLISH + header(1, 2) + frame(3, 1, b"xxxxx"),
        501,
        (60, 40),
        "FRAME_ERROR - content body frame exceeds remaining content size",
    ),
    Row(
        "header_wrong_class",
        PUBLISH + header(1, 0, 61),
        505,
        (60, 40),
        "UNEXPECTED_FRAME - expected content header for class 60, got one for class 61 instead",
    ),
    Row(
        "too_large_message",
        PUBLISH + header(1, 600_000_000),
        501,
        (60, 40),
        "FRAME_ERROR - content body size 600000000 exceeds maximum allowed size 536870912",
    ),
    Row(
        "channel_close_ok_unexpected",
        wire.ChannelCloseOk().encode(1),
        503,
        (20, 41),
        UNIMPLEMENTED,
    ),
    Row("deliver_from_client", deliver(1), 503, (60, 60), UNIMPLEMENTED),
    Row("return_from_client", RETURN, 503, (60, 50), UNIMPLEMENTED),
    Row("get_ok_from_client", wire.BasicGetOk().encode(1) + header(1, 0), 503, (60, 71)),
    Row("declare_ok_from_client", wire.QueueDeclareOk("q").encode(1), 503, (50, 11), UNIMPLEMENTED),
    Row("open_ok_from_client", wire.ChannelOpenOk().encode(1), 503, (20, 11), UNIMPLEMENTED),
]


def check(side: Connection, row: Row, *, step: int) -> list[object]:
    """Feed the row in pieces of `step` bytes; its events."""
    for position in range(0, len(row.sent), step):
        side.receive_data(row.sent[position : position + step], 0.0)
    events = side.events()
    closed = events[-1]
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.error, RemoteProtocolError)
    close = decode(drain(side))[-1]
    assert isinstance(close, wire.ConnectionClose)
    assert (close.reply_code, (close.class_id, close.method_id)) == (row.code, row.method)
    name = wire.ReplyCode(row.code).name
    assert close.reply_text.startswith(f"{name} - ")
    if row.text:
        assert close.reply_text == row.text
    assert closed.error.reply_code == row.code
    assert side.state is State.CLOSED
    return events


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize("row", SERVER_ROWS, ids=[row.name for row in SERVER_ROWS])
def test_faults_of_a_client(row: Row, step: int) -> None:
    pair = Pair(ClientOptions(frame_max=8192), ServerOptions(max_body=536870912)).open()
    pair.channel()
    events = check(pair.server, row, step=step)
    assert of(wire.Published, events) == []


@pytest.mark.parametrize("row", SERVER_ROWS, ids=[row.name for row in SERVER_ROWS])
def test_what_came_before_the_fault_counts(row: Row) -> None:
    pair = Pair(ClientOptions(frame_max=8192), ServerOptions(max_body=536870912)).open()
    pair.channel()
    events = check(pair.server, row._replace(sent=publish(b"good") + row.sent), step=1_000_000)
    assert one(wire.Published, events).body == b"good"


CLIENT_ROWS = [
    Row("bad_frame_end", frame(1, 1, wire.BasicQosOk().encode(1)[7:-1], end=0), 501),
    Row("bad_frame_type", frame(7, 1), 501),
    Row("frame_over_max", frame(3, 1, bytes(9000)), 501),
    Row("unknown_method", frame(1, 1, UNKNOWN_METHOD), 540, (50, 99)),
    Row("truncated_method", frame(1, 1, b"\0\x3c\0\x15\xc8abc"), 501, (60, 21)),
    Row("heartbeat_on_channel_1", frame(8, 1), 505),
    Row("body_on_channel_0", frame(3, 0, b"x"), 505),
    Row("delivery_on_unopened_channel", deliver(1, channel=3), 504, (60, 60)),
    Row("close_on_unopened_channel", wire.ChannelClose().encode(3), 504, (20, 40)),
    Row("open_from_server", wire.ChannelOpen().encode(3), 504, (20, 10)),
    Row("open_from_server_on_channel_1", wire.ChannelOpen().encode(1), 504, (20, 10)),
    Row("connection_method_on_channel_1", wire.ConnectionBlocked("").encode(1), 503, (10, 60)),
    Row("tune_again", wire.ConnectionTune().encode(0), 504, (10, 30)),
    Row("start_again", wire.ConnectionStart().encode(0), 504, (10, 10)),
    Row("connection_close_ok_unexpected", wire.ConnectionCloseOk().encode(0), 504, (10, 51)),
    Row("secret_ok_unexpected", wire.ConnectionUpdateSecretOk().encode(0), 503, (10, 71)),
    Row("header_without_deliver", header(1, 1), 505, (0, 0), METHOD_EXPECTED),
    Row("body_without_header", frame(3, 1, b"x"), 505, (0, 0), METHOD_EXPECTED),
    Row("method_instead_of_header", DELIVER + wire.BasicQosOk().encode(1), 505, (60, 60)),
    Row("delivery_instead_of_body", DELIVER + header(1, 5) + deliver(2), 505, (60, 60)),
    Row("body_too_long", DELIVER + header(1, 2) + frame(3, 1, b"xxx"), 501, (60, 60)),
    Row("header_wrong_class", DELIVER + header(1, 0, 61), 505, (60, 60)),
    Row("reply_to_nothing", wire.QueueDeclareOk("q").encode(1), 503, (50, 11)),
    Row("get_ok_to_nothing", wire.BasicGetOk().encode(1) + header(1, 0), 503, (60, 71)),
    Row("open_ok_twice", wire.ChannelOpenOk().encode(1), 503, (20, 11)),
    Row("channel_close_ok_unexpected", wire.ChannelCloseOk().encode(1), 503, (20, 41)),
    Row("request_from_server", DECLARE.encode(1), 503, (50, 10)),
    Row("publish_from_server", publish(), 503, (60, 40)),
    Row("ack_without_confirms", wire.BasicAck(1).encode(1), 503, (60, 80)),
    Row("nack_without_confirms", wire.BasicNack(1).encode(1), 503, (60, 120)),
]


@pytest.mark.parametrize("step", [1, 1_000_000])
@pytest.mark.parametrize("row", CLIENT_ROWS, ids=[row.name for row in CLIENT_ROWS])
def test_faults_of_a_server(row: Row, step: int) -> None:
    pair = Pair(ClientOptions(frame_max=8192)).open()
    pair.consuming()
    events = check(pair.client, row, step=step)
    assert of(wire.Delivery, events) == []


def test_a_reply_to_another_request() -> None:
    pair = Pair().open()
    channel = pair.channel()
    channel.send_request(wire.QueueDeclare("q"), "token")
    row = Row("", wire.QueueBindOk().encode(1), 503, (50, 21))
    check(pair.client, row, step=100)


OPENING_ROWS = [
    Row("delivery", deliver(1), 503),
    Row("return", RETURN, 503),
    Row("flow", wire.ChannelFlow(False).encode(1), 503, (20, 20)),
    Row("cancel", wire.BasicCancel("t").encode(1), 503, (60, 30)),
    Row("reply", wire.QueueDeclareOk("q").encode(1), 503, (50, 11)),
    Row("get-empty", wire.BasicGetEmpty().encode(1), 503, (60, 72)),
]


@pytest.mark.parametrize("row", OPENING_ROWS, ids=[row.name for row in OPENING_ROWS])
def test_before_open_ok_nothing_else_may_come(row: Row) -> None:
    pair = Pair().open()
    pair.client.open_channel("token")
    drain(pair.client)
    check(pair.client, row, step=1_000_000)


# -- before the connection is open -------------------------------------------------------------

EARLY: list[tuple[str, int, bytes]] = [
    ("garbage after the header", 1, b"\xff" * 20),
    ("tune-ok for start-ok", 1, wire.ConnectionTuneOk().encode(0)),
    ("open for start-ok", 1, wire.ConnectionOpen("/").encode(0)),
    ("channel.open for start-ok", 1, wire.ChannelOpen().encode(1)),
    ("a method for start-ok", 1, DECLARE.encode(0)),
    ("a body for start-ok", 1, frame(3, 0, b"x")),
    ("open for tune-ok", 2, wire.ConnectionOpen("/").encode(0)),
    ("start-ok for tune-ok", 2, wire.ConnectionStartOk().encode(0)),
]


@pytest.mark.parametrize(("name", "stage", "sent"), EARLY, ids=[row[0] for row in EARLY])
def test_a_client_that_has_not_authenticated_gets_no_answer(
    name: str, stage: int, sent: bytes
) -> None:
    """RabbitMQ drops the socket."""
    server = Pair()
    server.to_server()
    if stage == 2:
        server.to_client()
        server.to_server()
    drain(server.server)
    server.server.receive_data(sent, 0.0)
    closed = server.server.events()[-1]
    assert isinstance(closed, ConnectionClosed)
    assert isinstance(closed.error, RemoteProtocolError)
    assert drain(server.server) == b""


@pytest.mark.parametrize(
    ("sent", "method"),
    [
        (wire.ChannelOpen().encode(1), (20, 10)),
        (wire.ConnectionTuneOk().encode(0), (10, 31)),
        (DECLARE.encode(1), (50, 10)),
    ],
)
def test_a_client_that_has_not_opened_the_connection(sent: bytes, method: tuple[int, int]) -> None:
    pair = Pair()
    pair.to_server()
    pair.to_client()
    pair.to_server()
    pair.server.receive_data(wire.ConnectionTuneOk(2047, 131072, 0).encode(0), 0.0)
    assert pair.server.state is State.TUNED
    drain(pair.server)
    check(pair.server, Row("", sent, 504, method), step=100)


def test_a_server_that_opens_too_early() -> None:
    pair = Pair()
    pair.client.receive_data(wire.ConnectionOpenOk().encode(0), 0.0)
    closed = one(ConnectionClosed, pair.client.events())
    assert isinstance(closed.error, RemoteProtocolError)


# -- while closing -----------------------------------------------------------------------------


@pytest.mark.parametrize("row", CLIENT_ROWS, ids=[row.name for row in CLIENT_ROWS])
def test_a_closing_client_drops_all_or_ends(row: Row) -> None:
    pair = Pair(ClientOptions(frame_max=8192)).open()
    pair.consuming()
    pair.client.send_close(token="bye")
    drain(pair.client)
    pair.client.receive_data(row.sent, 0.0)
    pair.client.receive_data(wire.ConnectionCloseOk().encode(0), 0.0)
    closed = one(ConnectionClosed, pair.client.events())
    assert closed.tokens == ["bye"]
    assert drain(pair.client) == b""


def test_a_channel_that_closes_drops_what_would_be_faults(pair: Pair) -> None:
    channel = pair.confirming()
    send(channel)
    pair.pump()
    channel.send_close()
    for sent in (
        wire.QueueDeclareOk("q").encode(1),
        header(1, 5),
        frame(3, 1, b"x"),
        deliver(1),
        publish(),
        wire.BasicAck(1).encode(1),
    ):
        pair.client.receive_data(sent, 0.0)
    pair.pump()
    assert pair.client.state is State.OPEN
    assert pair.channel_closed().error is None
