"""The ends: of channels and connections, from either side and from both at once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leveret import wire
from leveret.exceptions import (
    ChannelClosedError,
    ConnectionClosedError,
    ConnectionForced,
    ConnectionLost,
    LocalProtocolError,
    NotFound,
    PeerError,
    PublishNacked,
    RemoteProtocolError,
)
from leveret.protocol import (
    ChannelClosed,
    ChannelState,
    ClientOptions,
    ConnectionClosed,
    Outcome,
    ServerChannel,
    ServerOptions,
    State,
)

from .pair import NO_PROPERTIES, Pair, decode, deliver, drain, flat, frame, of, one, publish, send

# -- channels ----------------------------------------------------------------------------------


def test_the_client_closes_a_channel(pair: Pair) -> None:
    channel = pair.channel()
    channel.send_close(token="bye")
    with pytest.raises(ChannelClosedError):
        send(channel)
    with pytest.raises(LocalProtocolError):
        channel.send_close()
    pair.pump()
    closed = pair.channel_closed()
    assert (closed.channel, closed.error, closed.tokens) == (channel, None, ["bye"])
    assert one(ChannelClosed, pair.server_events).error is None
    assert channel.state is ChannelState.CLOSED
    assert not pair.server.channels
    with pytest.raises(ChannelClosedError):
        channel.send_ack(1)


def test_the_server_closes_a_channel(pair: Pair) -> None:
    channel, other = pair.consuming(), pair.channel()
    pair.answers[wire.QueueDeclare] = None
    channel.send_request(wire.QueueDeclare("q"), "declare")
    pair.to_server()
    pair.at_server(1).send_close(404, "NOT_FOUND - no queue 'q' in vhost '/'")
    pair.pump()
    closed = pair.channel_closed()
    assert isinstance(closed.error, NotFound)
    assert closed.tokens == ["declare"]
    assert not channel.consumers
    with pytest.raises(ChannelClosedError) as info:
        send(channel)
    assert info.value.reason is closed.error
    assert one(ChannelClosed, pair.server_events).error is None
    send(other)
    pair.pump()
    assert len(pair.published()) == 1


def test_both_close_a_channel_at_once(pair: Pair) -> None:
    channel = pair.channel()
    at_server = pair.at_server(1)
    channel.send_close(token="bye")
    at_server.send_close(404, "NOT_FOUND - x")
    to_server, to_client = drain(pair.client), drain(pair.server)
    pair.server.receive_data(to_server, 0.0)
    pair.client.receive_data(to_client, 0.0)
    assert (channel.state, at_server.state) == (ChannelState.CLOSED, ChannelState.CLOSING)
    pair.pump()
    closed = pair.channel_closed()
    assert isinstance(closed.error, NotFound)
    assert closed.tokens == ["bye"]
    assert at_server.state is ChannelState.CLOSED
    assert len(of(ChannelClosed, pair.server_events)) == 1
    assert pair.channel().number == 1


@pytest.mark.parametrize("comes", ["never", "at once", "before open-ok", "after open-ok"])
def test_a_close_ok_that_rabbitmq_owes(pair: Pair, comes: str) -> None:
    """Its channel process may end before the answer to a close that crosses its own has left."""
    channel = pair.channel()
    close, close_ok = wire.ChannelClose(404, "NOT_FOUND - x"), wire.ChannelCloseOk().encode(1)
    channel.send_close(token="bye")
    pair.client.receive_data(close.encode(1), 0.0)
    sent = decode(drain(pair.client))
    assert [type(item) for item in sent] == [wire.ChannelClose, wire.ChannelCloseOk]
    assert one(ChannelClosed, pair.client.events()).tokens == ["bye"]
    if comes == "at once":
        pair.client.receive_data(close_ok, 0.0)
    again = pair.client.open_channel(None)
    assert again.number == 1
    if comes == "before open-ok":
        pair.client.receive_data(close_ok, 0.0)
    pair.client.receive_data(wire.ChannelOpenOk().encode(1), 0.0)
    if comes == "after open-ok":
        pair.client.receive_data(close_ok, 0.0)
    assert pair.client.state is State.OPEN
    assert again.state is ChannelState.OPEN
    if comes != "never":  # it was the only one
        pair.client.receive_data(close_ok, 0.0)
        assert isinstance(one(ConnectionClosed, pair.client.events()).error, RemoteProtocolError)


def test_what_was_under_way_to_a_closing_channel_is_dropped(pair: Pair) -> None:
    channel = pair.consuming()
    channel.send_close()
    pair.deliver(channel, 1)
    pair.client.receive_data(deliver(2, b"x" * 100)[:60], 0.0)
    pair.client.receive_data(deliver(2, b"x" * 100)[60:], 0.0)
    assert pair.client.events() == []
    pair.pump()
    assert pair.channel_closed().error is None
    assert pair.client.state is State.OPEN


def test_what_was_under_way_to_a_channel_the_server_closed_is_dropped(pair: Pair) -> None:
    channel = pair.channel()
    pair.at_server(1).send_close(404, "NOT_FOUND - x")
    send(channel)
    channel.send_method(wire.QueueDelete("q", nowait=True))
    pair.to_server()
    assert pair.published() == []
    assert of(wire.QueueDelete, pair.server_events) == []
    pair.pump()
    assert pair.channel().number == 1


def test_answers_leave_before_close_ok(pair: Pair) -> None:
    """RabbitMQ: what comes before a close is answered before it."""
    channel = pair.confirming()
    send(channel)

    def answer(at_server: ServerChannel, method: wire.Method) -> None:
        at_server.send_ack(1)
        at_server.send_method(wire.QueueDeclareOk("q"))

    pair.answers[wire.QueueDeclare] = answer
    channel.send_request(wire.QueueDeclare("q"), "declare")
    channel.send_close()
    pair.to_server()
    assert [type(item) for item in decode(pair.to_client())] == [
        wire.BasicAck,
        wire.QueueDeclareOk,
        wire.ChannelCloseOk,
    ]


def test_an_error_before_the_clients_close_crosses_it(pair: Pair) -> None:
    """As RabbitMQ: close 404, then close-ok, and the client answers."""
    channel = pair.confirming()
    first, second = send(channel, exchange="nosuch"), send(channel)
    pair.answers[wire.BasicQos] = lambda at_server, method: at_server.send_close(
        404, "NOT_FOUND - no exchange 'nosuch' in vhost '/'", class_id=60, method_id=40
    )
    channel.send_request(wire.BasicQos(0, 1), "qos")
    channel.send_close(token="bye")
    pair.to_server()
    sent = decode(pair.to_client())
    assert [type(item) for item in sent] == [wire.ChannelClose, wire.ChannelCloseOk]
    pair.pump()
    closed = pair.channel_closed()
    assert isinstance(closed.error, NotFound)
    assert closed.tokens == ["qos", "bye"]
    assert (first.outcome, second.outcome) == (Outcome.NACKED, Outcome.NOT_SENT)
    assert isinstance(first.error, PublishNacked)
    assert pair.channel().number == 1


def test_confirms_that_cross_a_close_count(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel, b"%d" % n, mandatory=True) for n in range(4)]
    pair.to_server()
    at_server = pair.at_server(1)
    at_server.send_return(312, "NO_ROUTE", "", "q", NO_PROPERTIES, b"1")
    at_server.send_ack(3, True)
    data = drain(pair.server)
    channel.send_close()
    for byte in data:
        pair.client.receive_data(bytes([byte]), 0.0)
    pair.pump()
    assert [p.outcome for p in publications] == [
        Outcome.CONFIRMED,
        Outcome.RETURNED,
        Outcome.CONFIRMED,
        Outcome.UNKNOWN,
    ]


# -- connections -------------------------------------------------------------------------------


def test_the_client_closes(pair: Pair) -> None:
    channel = pair.channel()
    pair.answers[wire.QueueDeclare] = None
    channel.send_request(wire.QueueDeclare("q"), "declare")
    pair.client.send_close(token="bye")
    with pytest.raises(ConnectionClosedError):
        pair.client.open_channel(None)
    with pytest.raises(ConnectionClosedError):
        pair.client.send_close()
    pair.pump()
    assert (pair.closed().error, pair.closed().tokens) == (None, ["bye"])
    assert pair.channel_closed().tokens == ["declare"]
    assert isinstance(pair.client_events[-2], ChannelClosed)
    assert one(ConnectionClosed, pair.server_events).error is None
    assert pair.server.state is pair.client.state is State.CLOSED


def test_nothing_is_sent_after_a_close(pair: Pair) -> None:
    """A publish that the broker must drop may not look as if it was sent."""
    channel = pair.consuming()
    pair.deliver(channel, 1)
    pair.client.send_close()
    calls: list[Callable[[], object]] = [
        lambda: send(channel),
        lambda: channel.send_ack(1),
        lambda: channel.send_nack(1),
        lambda: channel.send_reject(1),
        lambda: channel.send_request(wire.BasicQos(), None),
        lambda: channel.send_method(wire.QueueDelete("q", nowait=True)),
        lambda: channel.send_close(),
    ]
    for call in calls:
        with pytest.raises(LocalProtocolError):
            call()
    assert isinstance(decode(drain(pair.client))[-1], wire.ConnectionClose)


def test_the_server_closes(pair: Pair) -> None:
    channel = pair.channel()
    pair.server.send_close(320, "CONNECTION_FORCED - shutdown", token="down")
    pair.to_client()
    error = pair.closed().error
    assert isinstance(error, ConnectionForced)
    assert error.retryable
    assert (error.operation, error.arguments) == (None, {})
    assert pair.channel_closed().error is error
    with pytest.raises(ConnectionClosedError) as info:
        pair.client.open_channel(None)
    assert info.value.reason is error
    with pytest.raises(ChannelClosedError):
        send(channel)
    pair.to_server()
    closed = one(ConnectionClosed, pair.server_events)
    assert (closed.error, closed.tokens) == (None, ["down"])


def test_a_close_of_the_server_with_200_is_an_error_for_the_client(pair: Pair) -> None:
    pair.server.send_close(200, "bye")
    pair.to_client()
    assert isinstance(pair.closed().error, PeerError)


def test_both_close_at_once(pair: Pair) -> None:
    pair.channel()
    pair.client.send_close(token="bye")
    pair.server.send_close(320, "CONNECTION_FORCED - shutdown")
    to_server, to_client = drain(pair.client), drain(pair.server)
    pair.server.receive_data(to_server, 0.0)
    pair.client.receive_data(to_client, 0.0)
    assert [type(item) for item in decode(drain(pair.client))] == [wire.ConnectionCloseOk]
    assert [type(item) for item in decode(drain(pair.server))] == [wire.ConnectionCloseOk]
    assert pair.client.state is pair.server.state is State.CLOSED
    pair.client_events += flat(pair.client.events())
    assert (pair.closed().error, pair.closed().tokens) == (None, ["bye"])


def test_the_closing_server_drops_what_was_under_way(pair: Pair) -> None:
    channel = pair.channel()
    pair.server.send_close(320, "bye")
    send(channel)
    channel.send_method(wire.QueueDelete("q", nowait=True))
    channel.send_close()
    pair.client.open_channel(None)
    pair.server.receive_data(drain(pair.client), 0.0)
    assert [e for e in pair.server.events() if not isinstance(e, ChannelClosed)] == []
    assert [type(item) for item in decode(drain(pair.server))] == [wire.ConnectionClose]


def test_the_closing_client_drops_deliveries_but_not_confirms(pair: Pair) -> None:
    channel = pair.confirming()
    channel.send_request(wire.BasicConsume("q", "t"), None, "owner")
    publication = send(channel)
    pair.pump()
    pair.client_events.clear()
    pair.client.send_close()
    pair.at_server(1).send_ack(1)
    pair.deliver(channel, 1)
    assert pair.client_events == [publication]
    assert publication.outcome is Outcome.CONFIRMED


def test_what_is_published_before_a_close_is_confirmed(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel) for _ in range(3)]
    pair.client.send_close()
    pair.server.receive_data(drain(pair.client), 0.0)
    assert len(of(wire.Published, pair.server.events())) == 3
    pair.at_server(1).send_ack(3, True)
    pair.to_client()
    assert [p.outcome for p in publications] == [Outcome.CONFIRMED] * 3
    assert pair.closed().error is None


def test_a_fault_is_answered_after_what_came_before_it(pair: Pair) -> None:
    pair.confirming()
    pair.server.receive_data(publish() + frame(7, 1), 0.0)
    events = pair.server.events()
    assert isinstance(events[0], wire.Published)
    assert isinstance(events[-1], ConnectionClosed)
    pair.at_server(1).send_ack(1)
    sent = decode(drain(pair.server))
    assert [type(item) for item in sent] == [wire.BasicAck, wire.ConnectionClose]
    assert not pair.server.channels


def test_requests_on_channel_0_end_too(pair: Pair) -> None:
    pair.client_side.send_request(wire.ConnectionUpdateSecret(b"x", ""), "secret")
    pair.client.send_close(token="bye")
    pair.client.receive_eof(0.0)
    assert one(ConnectionClosed, pair.client.events()).tokens == ["secret", "bye"]


@pytest.mark.parametrize("role", ["client", "server"])
def test_the_transport_ends(pair: Pair, role: str) -> None:
    pair.channel()
    side = pair.client if role == "client" else pair.server
    side.receive_eof(0.0)
    events = side.events()
    error = one(ConnectionClosed, events).error
    assert isinstance(error, ConnectionLost)
    assert one(ChannelClosed, events).error is error
    assert not side.has_data_to_send()
    assert not side.channels


def test_the_end_comes_once(pair: Pair) -> None:
    pair.server.send_close(320, "bye")
    pair.to_client()
    pair.client.connection_lost(ConnectionLost("reset"))
    pair.client.receive_eof(0.0)
    pair.client.receive_data(b"\xff" * 100, 0.0)
    pair.client.tick(1e9)
    assert pair.client.events() == []
    assert isinstance(pair.closed().error, ConnectionForced)
    assert pair.client.error is pair.closed().error


def test_a_lost_transport_while_closing_is_an_ordinary_end(pair: Pair) -> None:
    pair.client.send_close(token="bye")
    drain(pair.client)
    pair.client.connection_lost(ConnectionLost("reset"))
    closed = one(ConnectionClosed, pair.client.events())
    assert (closed.error, closed.tokens) == (None, ["bye"])


def test_a_reason_for_closing_is_kept(pair: Pair) -> None:
    reason = ConnectionLost("the user gave up")
    pair.channel()
    pair.client.send_close(error=reason)
    pair.pump()
    assert pair.closed().error is reason
    assert pair.channel_closed().error is reason


def test_a_close_before_the_handshake_is_done() -> None:
    pair = Pair(ClientOptions(), ServerOptions())
    pair.to_server()
    pair.to_client()
    pair.client.send_close(token="never mind")
    pair.pump()
    assert (pair.closed().error, pair.closed().tokens) == (None, ["never mind"])
    assert pair.server.state is State.CLOSED


def test_long_words_are_cut(pair: Pair) -> None:
    pair.server.send_close(320, "é" * 200)
    pair.to_client()
    error = pair.closed().error
    assert isinstance(error, ConnectionForced)
    assert error.reply_text == "é" * 127


# -- what is honest about publishes ------------------------------------------------------------


def test_outcomes_when_the_connection_is_lost(pair: Pair) -> None:
    channel = pair.confirming()
    confirmed, left, partly, queued = (send(channel, bytes(100)) for _ in range(4))
    data = drain(pair.client)
    pair.at_server(1).send_ack(1)
    pair.to_client()
    size = len(data) // 4
    pair.client.connection_lost(ConnectionLost("reset"), unsent=len(data) - 2 * size - 50)
    outcomes = [p.outcome for p in (confirmed, left, partly, queued)]
    assert outcomes == [Outcome.CONFIRMED, Outcome.UNKNOWN, Outcome.NOT_SENT, Outcome.NOT_SENT]
    closed = one(ChannelClosed, pair.client.events())
    assert closed.publications == [left, partly, queued]
    assert left.reason is closed.error


def processed(data: bytes) -> list[bytes]:
    """The bodies of the messages that a broker would take out of `data`: those before a close."""
    bodies = []
    body = b""
    for item in decode(data):
        if isinstance(item, wire.ConnectionClose | wire.ConnectionCloseOk):
            break
        if isinstance(item, wire.Published):
            bodies.append(item.body)
        elif isinstance(item, wire.ContentBody):
            body += item.payload
    return bodies + [body] * bool(body)


@pytest.mark.parametrize("size", [10, 100_000, 700_000])
@pytest.mark.parametrize("taken", [False, True])
@pytest.mark.parametrize("end", ["fault", "close", "eof"])
def test_not_sent_means_that_it_does_not_leave(size: int, taken: bool, end: str) -> None:
    pair = Pair().open()
    channel = pair.confirming()
    publications = [send(channel, bytes([65 + n]) * size) for n in range(4)]
    data = pair.client.data_to_send() if taken else b""
    if end == "fault":
        pair.client.receive_data(frame(7, 1), 0.0)
    elif end == "close":
        pair.server.send_close(320, "bye")
        pair.client.receive_data(drain(pair.server), 0.0)
    else:
        pair.client.receive_eof(0.0)
    rest = drain(pair.client)
    bodies = [] if end == "eof" else processed(data + rest)
    for publication in publications:
        arrived = publication.body in bodies
        assert (publication.outcome is Outcome.UNKNOWN) or not arrived
        assert publication.outcome in (Outcome.UNKNOWN, Outcome.NOT_SENT)
    if not taken and end != "fault":
        assert {p.outcome for p in publications} == {Outcome.NOT_SENT}
    if end != "eof":
        assert isinstance(decode(data + rest)[-1], wire.ConnectionClose | wire.ConnectionCloseOk)


def test_a_publish_after_the_end_is_not_sent(pair: Pair) -> None:
    channel = pair.confirming()
    pair.client.receive_eof(0.0)
    with pytest.raises(ChannelClosedError) as info:
        send(channel)
    assert isinstance(info.value.reason, ConnectionLost)
    assert info.value.retryable
