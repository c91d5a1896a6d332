"""The handshake: what each side says, what they agree on, how it fails."""

from __future__ import annotations

import pytest

from leveret import wire
from leveret.exceptions import (
    AuthenticationError,
    ConfigurationError,
    ConnectionLost,
    EncodeError,
    LocalProtocolError,
    NotAllowed,
    RemoteProtocolError,
)
from leveret.protocol import (
    AuthenticationRequested,
    ClientOptions,
    Connection,
    ConnectionClosed,
    ConnectionOpened,
    Credentials,
    OpenRequested,
    SecureResponse,
    ServerOptions,
    ServerSide,
    State,
    parse_response,
)

from .pair import Pair, decode, drain, frame, of, one

CAPABILITIES = {
    "authentication_failure_close",
    "basic.nack",
    "connection.blocked",
    "consumer_cancel_notify",
    "direct_reply_to",
    "exchange_exchange_bindings",
    "per_consumer_qos",
    "publisher_confirms",
}


def test_properties_and_capabilities_go_both_ways() -> None:
    pair = Pair(
        ClientOptions(client_properties={"product": "test", "capabilities": {"mine": True}}),
        ServerOptions(server_properties={"product": "broker"}),
    ).open()
    request = one(AuthenticationRequested, pair.server_events)
    assert request.client_properties["product"] == "test"
    announced = request.client_properties["capabilities"]
    assert isinstance(announced, dict)
    assert announced.keys() >= CAPABILITIES | {"mine"}
    assert all(announced.values())
    opened = one(ConnectionOpened, pair.client_events)
    assert opened.server_properties["product"] == "broker"
    offered = opened.server_properties["capabilities"]
    assert isinstance(offered, dict)
    assert offered.keys() >= CAPABILITIES
    assert one(OpenRequested, pair.server_events).virtual_host == "/"


def test_a_client_may_deny_a_capability() -> None:
    options = ClientOptions(client_properties={"capabilities": {"connection.blocked": False}})
    pair = Pair(options).open()
    assert not pair.server_side.has_capability("connection.blocked")
    assert pair.server_side.has_capability("basic.nack")
    pair.server_side.send_blocked("low on memory")
    pair.server_side.send_unblocked()
    assert pair.to_client() == b""


@pytest.mark.parametrize(
    ("client", "server", "agreed"),
    [
        ({}, {}, (2047, 131072, 60)),
        ({"channel_max": 10}, {}, (10, 131072, 60)),
        ({"channel_max": 3000}, {}, (2047, 131072, 60)),
        ({}, {"channel_max": 0}, (65535, 131072, 60)),
        ({"channel_max": 7}, {"channel_max": 0}, (7, 131072, 60)),
        ({"frame_max": 8192}, {}, (2047, 8192, 60)),
        ({"frame_max": 1 << 20}, {}, (2047, 131072, 60)),
        ({"frame_max": 9000}, {"frame_max": 0}, (2047, 9000, 60)),
        ({}, {"frame_max": 0}, (2047, 0, 60)),
        ({}, {"frame_max": 4096}, (2047, 4096, 60)),
        ({"heartbeat": 5}, {}, (2047, 131072, 5)),
        ({"heartbeat": 90}, {}, (2047, 131072, 60)),
        ({"heartbeat": 0}, {}, (2047, 131072, 0)),
        ({"heartbeat": 9}, {"heartbeat": 0}, (2047, 131072, 9)),
        ({}, {"heartbeat": 0}, (2047, 131072, 0)),
    ],
)
def test_tune(client: dict[str, int], server: dict[str, int], agreed: tuple[int, ...]) -> None:
    pair = Pair(ClientOptions(**client), ServerOptions(**server)).open()  # type: ignore[arg-type]
    for limits in (pair.client.limits, pair.server.limits):
        assert (limits.channel_max, limits.frame_max, limits.heartbeat) == agreed


@pytest.mark.parametrize(
    "options",
    [
        {"frame_max": 8191},
        {"frame_max": 1 << 32},
        {"channel_max": 65536},
        {"channel_max": -1},
        {"heartbeat": -1},
        {"heartbeat": 65536},
        {"virtual_host": "v" * 256},
    ],
)
def test_options_that_no_field_holds(options: dict[str, int]) -> None:
    with pytest.raises(ConfigurationError):
        ClientOptions(**options)  # type: ignore[arg-type]


def test_a_server_that_offers_too_small_frames() -> None:
    pair = Pair(server_options=ServerOptions(frame_max=4095))
    pair.pump()
    error = pair.closed().error
    assert isinstance(error, RemoteProtocolError)
    assert error.reply_code == wire.ReplyCode.SYNTAX_ERROR
    assert pair.server.state is State.CLOSED


def server_at(state: State, options: ServerOptions | None = None) -> Connection:
    """A server, the handshake done as far as `state`."""
    server = Connection.server(options or ServerOptions())
    side = server.side
    assert isinstance(side, ServerSide)
    server.receive_data(wire.PROTOCOL_HEADER, 0.0)
    if state is not State.STARTED:
        start_ok = wire.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US")
        server.receive_data(start_ok.encode(0), 0.0)
        side.accept_authentication()
    if state in (State.TUNED, State.OPEN):
        server.receive_data(wire.ConnectionTuneOk(2047, 131072, 0).encode(0), 0.0)
    if state is State.OPEN:
        server.receive_data(wire.ConnectionOpen("/").encode(0), 0.0)
        side.accept_open()
    assert server.state is state
    server.events()
    drain(server)
    return server


@pytest.mark.parametrize(
    ("channel_max", "frame_max", "taken"),
    [
        (2047, 131072, True),
        (1, 8192, True),
        (2047, 1000, False),
        (2047, 4096, False),
        (2047, 8191, False),
        (2047, 1 << 20, False),
        (2047, 0, False),
        (65535, 131072, False),
        (0, 131072, False),
    ],
)
def test_tune_ok_within_the_offer(channel_max: int, frame_max: int, taken: bool) -> None:
    """RabbitMQ 4 drops the socket of a client that asks for more than was offered, or less."""
    server = server_at(State.TUNING)
    server.receive_data(wire.ConnectionTuneOk(channel_max, frame_max, 0).encode(0), 0.0)
    assert (server.state is State.TUNED) is taken
    assert drain(server) == b""
    if not taken:
        closed = one(ConnectionClosed, server.events())
        assert isinstance(closed.error, RemoteProtocolError)
        assert closed.error.reply_code == wire.ReplyCode.NOT_ALLOWED


def test_too_small_frames_where_the_server_has_no_limit() -> None:
    server = server_at(State.TUNING, ServerOptions(frame_max=0))
    server.receive_data(wire.ConnectionTuneOk(2047, 4096, 0).encode(0), 0.0)
    assert server.state is State.CLOSED


def test_tune_ok_without_limits_where_the_server_has_none() -> None:
    server = server_at(State.TUNING, ServerOptions(channel_max=0, frame_max=0))
    server.receive_data(wire.ConnectionTuneOk(0, 0, 0).encode(0), 0.0)
    assert server.state is State.TUNED
    assert (server.limits.channel_max, server.limits.frame_max) == (65535, 0)


# -- the protocol header -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "sent", [b"GET / HTTP/1.1\r\n", b"AMQP\1\1\x08\0", b"AMQP\0\0\x09\2", b"X", b"\x16\3\1\2\0"]
)
def test_a_wrong_header_is_answered_with_the_right_one(sent: bytes) -> None:
    server = Connection.server(ServerOptions())
    server.receive_data(sent, 0.0)
    assert drain(server) == wire.PROTOCOL_HEADER
    assert isinstance(one(ConnectionClosed, server.events()).error, RemoteProtocolError)


def test_a_header_in_single_bytes() -> None:
    server = Connection.server(ServerOptions())
    for byte in wire.PROTOCOL_HEADER:
        assert not server.has_data_to_send()
        server.receive_data(bytes([byte]), 0.0)
    (start,) = decode(drain(server))
    assert isinstance(start, wire.ConnectionStart)


@pytest.mark.parametrize("size", range(1, 9))
def test_a_server_that_speaks_another_version(size: int) -> None:
    client = Connection.client(ClientOptions())
    client.initiate(0.0)
    drain(client)
    answer = b"AMQP\0\1\0\0"
    client.receive_data(answer[:size], 0.0)
    client.receive_data(answer[size:], 0.0)
    error = one(ConnectionClosed, client.events()).error
    assert isinstance(error, RemoteProtocolError)
    assert "refused AMQP 0-9-1" in str(error)
    assert drain(client) == b""


def test_a_start_of_another_version() -> None:
    client = Connection.client(ClientOptions())
    client.initiate(0.0)
    client.receive_data(wire.ConnectionStart(0, 8, {}, b"PLAIN", b"en_US").encode(0), 0.0)
    assert "AMQP 0-8" in str(one(ConnectionClosed, client.events()).error)


def test_initiate_is_the_clients_and_once() -> None:
    client = Connection.client(ClientOptions())
    client.initiate(0.0)
    with pytest.raises(LocalProtocolError):
        client.initiate(0.0)
    with pytest.raises(LocalProtocolError):
        Connection.server(ServerOptions()).initiate(0.0)


# -- authentication ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b"\0me\0secret"),
        ("AMQPLAIN", b"\5LOGINS\0\0\0\2me\x08PASSWORDS\0\0\0\6secret"),
        ("EXTERNAL", b""),
        ("ANONYMOUS", b""),
    ],
)
def test_mechanisms(mechanism: str, response: bytes) -> None:
    pair = Pair(
        ClientOptions(credentials=Credentials("me", "secret", [mechanism.lower()])),
        ServerOptions(mechanisms="PLAIN AMQPLAIN EXTERNAL ANONYMOUS"),
    ).open()
    request = one(AuthenticationRequested, pair.server_events)
    assert (request.mechanism, request.response) == (mechanism, response)
    assert request.locale == "en_US"
    if mechanism in ("PLAIN", "AMQPLAIN"):
        parsed = parse_response(mechanism, response)
        assert (parsed.username, parsed.password) == ("me", "secret")
    elif mechanism == "ANONYMOUS":
        assert parse_response(mechanism, response).mechanisms == ("ANONYMOUS",)


def test_the_clients_order_of_mechanisms_counts() -> None:
    pair = Pair(
        ClientOptions(credentials=Credentials(mechanisms=["EXTERNAL", "AMQPLAIN", "PLAIN"])),
        ServerOptions(mechanisms="PLAIN AMQPLAIN"),
    ).open()
    assert one(AuthenticationRequested, pair.server_events).mechanism == "AMQPLAIN"


def test_no_mechanism_in_common() -> None:
    pair = Pair(server_options=ServerOptions(mechanisms="EXTERNAL GSSAPI"))
    pair.pump()
    error = pair.closed().error
    assert isinstance(error, ConfigurationError)
    assert "PLAIN, AMQPLAIN" in str(error)
    assert "EXTERNAL, GSSAPI" in str(error)


@pytest.mark.parametrize(
    ("mechanism", "response"),
    [
        ("PLAIN", b""),
        ("PLAIN", b"\0guest"),
        ("PLAIN", b"\0a\0b\0c"),
        ("PLAIN", b"\0\xff\0x"),
        ("AMQPLAIN", b"\5LOGINS\0\0\0\2me"),
        ("AMQPLAIN", b"\5LOGINS\xff\xff\xff\xff"),
        ("AMQPLAIN", b""),
        ("GSSAPI", b"token"),
    ],
)
def test_malformed_responses(mechanism: str, response: bytes) -> None:
    with pytest.raises(RemoteProtocolError) as info:
        parse_response(mechanism, response)
    assert info.value.reply_code == wire.ReplyCode.ACCESS_REFUSED


@pytest.mark.parametrize(
    ("username", "password", "mechanisms"),
    [
        ("a\0b", "x", ["PLAIN"]),
        ("a", "x\0y", ["AMQPLAIN", "PLAIN"]),
        ("a", "\ud800", ["AMQPLAIN"]),
        ("a", "b", ["KERBEROS"]),
        ("a", "b", []),
    ],
)
def test_credentials_that_cannot_be_sent(
    username: str, password: str, mechanisms: list[str]
) -> None:
    with pytest.raises(ConfigurationError) as info:
        Credentials(username, password, mechanisms)
    assert "x\0y" not in str(info.value)


def test_no_repr_has_the_password() -> None:
    credentials = Credentials("me", "secret")
    assert "secret" not in repr(credentials)
    assert "secret" not in repr(ClientOptions(credentials=credentials))
    assert "secret" not in repr(wire.ConnectionStartOk({}, "PLAIN", b"\0me\0secret", ""))


def test_a_challenge_is_answered() -> None:
    pair = Pair()
    pair.to_server()
    pair.to_client()
    pair.server.receive_data(drain(pair.client), 0.0)
    one(AuthenticationRequested, pair.server.events())
    pair.server_side.send_challenge(b"who?")
    pair.open()
    assert one(SecureResponse, pair.server_events).response == b"\0guest\0guest"


def test_refused_credentials() -> None:
    pair = Pair()
    pair.to_server()
    pair.to_client()
    pair.server.receive_data(drain(pair.client), 0.0)
    pair.server.send_close(403, "ACCESS_REFUSED - Login was refused")
    pair.to_client()
    error = pair.closed().error
    assert isinstance(error, AuthenticationError)
    assert error.reply_text == "ACCESS_REFUSED - Login was refused"
    pair.to_server()
    assert pair.server.state is State.CLOSED


def test_a_server_that_hangs_up_on_credentials() -> None:
    pair = Pair()
    pair.to_server()
    pair.to_client()
    pair.client.receive_eof(0.0)
    error = one(ConnectionClosed, pair.client.events()).error
    assert isinstance(error, ConnectionLost)
    assert "credentials" in str(error)


def test_a_virtual_host_that_is_not_there() -> None:
    pair = Pair(ClientOptions(virtual_host="nope"))
    while pair.server.state is not State.ADMITTING:
        pair.client.receive_data(drain(pair.server), 0.0)
        pair.server.receive_data(drain(pair.client), 0.0)
        if of(AuthenticationRequested, pair.server.events()):
            pair.server_side.accept_authentication()
    pair.server.send_close(530, "NOT_ALLOWED - vhost nope not found", class_id=10, method_id=40)
    pair.to_client()
    error = pair.closed().error
    assert isinstance(error, NotAllowed)
    assert error.operation == "connection.open"


@pytest.mark.parametrize("properties", [{"x": object()}, {"x": "y" * 200_000}])
def test_client_properties_that_cannot_be_sent(properties: dict[str, object]) -> None:
    pair = Pair(ClientOptions(client_properties=properties))
    pair.pump()
    assert isinstance(pair.closed().error, EncodeError)
    assert pair.client.state is State.CLOSED


# -- the server's verdicts ---------------------------------------------------------------------


def test_verdicts_out_of_turn() -> None:
    pair = Pair()
    side = pair.server_side
    for verdict in (
        side.accept_authentication,
        side.accept_open,
        lambda: side.send_challenge(b""),
        side.send_secret_ok,
        lambda: side.send_blocked("x"),
        side.send_unblocked,
    ):
        with pytest.raises(LocalProtocolError):
            verdict()
    assert not pair.server.has_data_to_send()


AHEAD = [
    wire.PROTOCOL_HEADER,
    wire.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US").encode(0),
    wire.ConnectionTuneOk(2047, 8192, 0).encode(0),
    wire.ConnectionOpen("/").encode(0),
    wire.ChannelOpen().encode(1),
    wire.QueueDeclare("q").encode(1),
]


def test_a_client_that_sends_everything_ahead() -> None:
    pair = Pair()
    pair.server.receive_data(b"".join(AHEAD), 0.0)
    pair.serve()
    assert [type(item) for item in decode(drain(pair.server))] == [
        wire.ConnectionStart,
        wire.ConnectionTune,
        wire.ConnectionOpenOk,
        wire.ChannelOpenOk,
        wire.QueueDeclareOk,
    ]


def test_the_new_frame_max_holds_from_the_next_frame_on() -> None:
    server = Pair()
    server.server.receive_data(b"".join([*AHEAD, frame(3, 1, bytes(8193 - 8))]), 0.0)
    server.serve()
    close = decode(drain(server.server))[-1]
    assert isinstance(close, wire.ConnectionClose)
    assert close.reply_code == wire.ReplyCode.FRAME_ERROR


def test_much_may_be_sent_ahead_in_one_read() -> None:
    pair = Pair()
    pair.server.receive_data(b"".join(AHEAD) + wire.HEARTBEAT_FRAME * 50_000, 0.0)
    pair.serve()
    assert pair.server.state is State.OPEN


def test_what_is_sent_ahead_is_bounded() -> None:
    server = Connection.server(ServerOptions())
    server.receive_data(b"".join(AHEAD[:2]), 0.0)
    for _ in range(16):
        server.receive_data(wire.HEARTBEAT_FRAME * 1000, 0.0)
    assert of(ConnectionClosed, server.events()) == []
    server.receive_data(wire.HEARTBEAT_FRAME * 1000, 0.0)
    assert isinstance(one(ConnectionClosed, server.events()).error, RemoteProtocolError)


def test_a_refusal_drops_what_was_sent_ahead() -> None:
    server = Connection.server(ServerOptions())
    server.receive_data(b"".join(AHEAD), 0.0)
    server.events()
    server.send_close(403, "no")
    server.receive_data(wire.ConnectionCloseOk().encode(0), 0.0)
    (event,) = server.events()
    assert isinstance(event, ConnectionClosed)
    assert event.error is None


# -- another protocol ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "shown"),
    [
        (
            b"HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain",
            b"HTTP/1.1 400 Bad Request\r\nConten",
        ),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", b"SSH-2.0-OpenSSH_9.2p1\r\n"),
        (b"A", None),
        (b"\x15", None),
    ],
)
def test_a_server_of_another_protocol(data: bytes, shown: bytes | None) -> None:
    client = Connection.client(ClientOptions())
    client.initiate(0.0)
    client.receive_data(data, 0.0)
    if shown is None:  # more is needed to tell
        assert client.events() == []
        client.receive_data(b"nother", 0.0)
        shown = data + b"nother"
    error = one(ConnectionClosed, client.events()).error
    assert isinstance(error, RemoteProtocolError)
    assert str(error) == f"the peer is not an AMQP server: it sent {shown!r}"


def test_a_server_that_closes_at_once() -> None:
    client = Connection.client(ClientOptions())
    client.initiate(0.0)
    client.receive_eof(0.0)
    error = one(ConnectionClosed, client.events()).error
    assert isinstance(error, ConnectionLost)
    assert str(error) == "the peer closed the connection before the handshake"
