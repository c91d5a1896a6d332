"""What only one side of a connection does: its handshake and its methods on channel 0.

`ClientSide` and `ServerSide` have the same face to `Connection`; `Side` is that face. Which
method is legal in which state stands in `states`.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Protocol

from .. import wire
from ..exceptions import (
    ConfigurationError,
    EncodeError,
    LeveretError,
    LocalProtocolError,
    RemoteProtocolError,
    connection_error,
)
from .auth import choose_mechanism
from .channel import Channel
from .client_channel import ClientChannel
from .events import (
    AuthenticationRequested,
    ConnectionBlocked,
    ConnectionOpened,
    ConnectionUnblocked,
    OpenRequested,
    Reply,
    SecureResponse,
)
from .handshake import (
    CAPABILITIES,
    ClientOptions,
    ServerOptions,
    check_start,
    check_tune_ok,
    negotiate,
)
from .replies import reply_text
from .states import CLIENT_RECEIVES, SERVER_RECEIVES, State

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["ClientSide", "ServerSide", "Side"]

FRAME_TYPES = b"\x01\x02\x03\x08"
SHOWN = 32  # bytes of something else
TLS_ALERT = b"\x15\x03"  # a record of that type, TLS 1.x: the answer to plain bytes


class Side(Protocol):
    """What a connection asks of its role."""

    max_body: int

    @property
    def receives(self) -> Mapping[State, frozenset[type[wire.Method]]]:
        """Which methods are legal in which state."""

    def attach(self, connection: Connection) -> None:
        """The connection is there."""

    def receive_header(self, data: bytes, now: float) -> int | None:
        """Look for a protocol header; how many bytes it took, None for "more needed"."""

    def receive_method(self, method: wire.Method, now: float) -> None:
        """A method on channel 0 that is legal in the present state."""

    def answers_faults(self, state: State) -> bool:
        """Whether a fault of the peer in `state` is answered with connection.close."""

    def peer_error(self, close: wire.ConnectionClose) -> LeveretError | None:
        """The peer's close as an error; None for an ordinary one."""

    def take_tokens(self) -> list[object]:
        """The tokens of requests on channel 0 that get no reply any more."""


def _peer_error(close: wire.ConnectionClose, channels: Iterable[Channel] = ()) -> LeveretError:
    kind = wire.METHODS.get(close.class_id << 16 | close.method_id)
    blamed = [
        arguments
        for channel in channels
        if isinstance(channel, ClientChannel)
        and (arguments := channel.blamed(close.class_id, close.method_id, close.reply_text)[1])
    ]
    return connection_error(close.reply_code)(
        close.reply_text,
        reply_code=close.reply_code,
        class_id=close.class_id,
        method_id=close.method_id,
        operation=kind.name if kind is not None else None,
        arguments=blamed[0] if len(blamed) == 1 else None,
    )


class ClientSide:
    """The client's handshake and channel 0."""

    max_body = 0
    receives = CLIENT_RECEIVES

    def __init__(self, options: ClientOptions) -> None:
        self.options = options
        self.server_properties: Mapping[str, object] = {}
        self.mechanism = ""
        self._requests: deque[tuple[wire.Method, object]] = deque()

    def attach(self, connection: Connection) -> None:
        """See `Side`."""
        self._connection = connection

    def receive_header(self, data: bytes, now: float) -> int | None:
        """A server that does not speak 0-9-1 answers with a header of its own (4.2.2)."""
        if data.startswith(TLS_ALERT):
            raise RemoteProtocolError("the server speaks TLS: connect to it with amqps://")
        if not data.startswith(b"AMQP"):
            if data and (b"AMQP".startswith(data) or TLS_ALERT.startswith(data)):
                return None
            if data and data[0] not in FRAME_TYPES:
                raise RemoteProtocolError(
                    f"the peer is not an AMQP server: it sent {data[:SHOWN]!r}"
                )
            return 0
        if len(data) < 8:
            return None
        raise RemoteProtocolError(
            f"the server refused AMQP 0-9-1 and proposes protocol header {data[:8]!r}",
            reply_code=wire.ReplyCode.NOT_IMPLEMENTED,
        )

    def receive_method(self, method: wire.Method, now: float) -> None:
        """See `Side`."""
        connection = self._connection
        if isinstance(method, wire.ConnectionStart):
            self._receive_start(method)
        elif isinstance(method, wire.ConnectionSecure):
            response = self.options.credentials.response(self.mechanism)
            connection.write(wire.ConnectionSecureOk(response).encode(0))
        elif isinstance(method, wire.ConnectionTune):
            self._receive_tune(method, now)
        elif isinstance(method, wire.ConnectionOpenOk):
            connection.state = State.OPEN
            connection.emit(ConnectionOpened(self.server_properties))
        elif isinstance(method, wire.ConnectionBlocked):
            connection.blocked = method.reason
            connection.emit(ConnectionBlocked(method.reason))
        elif isinstance(method, wire.ConnectionUnblocked):
            connection.blocked = None
            connection.emit(ConnectionUnblocked())
        else:
            self._receive_reply(method)

    def _receive_start(self, start: wire.ConnectionStart) -> None:
        check_start(start)
        options = self.options
        self.server_properties = start.server_properties
        try:
            self.mechanism = choose_mechanism(start.mechanisms, options.credentials.mechanisms)
        except ConfigurationError as error:
            self._connection.connection_lost(error)
            return
        properties = dict(options.client_properties)
        given = properties.get("capabilities")
        properties["capabilities"] = {
            **CAPABILITIES,
            **(given if isinstance(given, Mapping) else {}),
        }
        start_ok = wire.ConnectionStartOk(
            properties,
            self.mechanism,
            options.credentials.response(self.mechanism),
            options.locale,
        )
        try:
            frame_max = self._connection.limits.frame_max
            self._connection.write(wire.encode_method(start_ok, 0, frame_max))
        except EncodeError as error:
            self._connection.connection_lost(error)
            return
        self._connection.state = State.SECURE

    def _receive_tune(self, tune: wire.ConnectionTune, now: float) -> None:
        connection = self._connection
        limits = connection.limits = negotiate(self.options, tune)
        connection.write(
            wire.ConnectionTuneOk(limits.channel_max, limits.frame_max, limits.heartbeat).encode(0)
        )
        connection.start_heartbeat(now)
        connection.write(wire.ConnectionOpen(self.options.virtual_host).encode(0))
        connection.state = State.OPENING

    def send_request(self, method: wire.Method, token: object) -> None:
        """Send connection.update-secret; its `Reply` comes with `token` and channel 0.

        Raises:
            ConnectionClosedError, LocalProtocolError: the connection is not open.
            EncodeError: the secret does not fit a frame.
        """
        connection = self._connection
        connection.check_open()
        connection.write(wire.encode_method(method, 0, connection.limits.frame_max))
        self._requests.append((method, token))

    def _receive_reply(self, reply: wire.Method) -> None:
        if not self._requests or type(reply) not in self._requests[0][0].replies:
            raise RemoteProtocolError(
                f"{reply.name} was not asked for",
                reply_code=wire.ReplyCode.COMMAND_INVALID,
                channel=0,
                class_id=reply.class_id,
                method_id=reply.method_id,
            )
        request, token = self._requests.popleft()
        self._connection.emit(Reply(0, token, request, reply))

    def answers_faults(self, state: State) -> bool:
        """See `Side`."""
        return state in (State.SECURE, State.OPENING, State.OPEN)

    def peer_error(self, close: wire.ConnectionClose) -> LeveretError | None:
        """See `Side`. A close that the client did not ask for is an error, whatever its code."""
        return _peer_error(close, self._connection.channels.values())

    def take_tokens(self) -> list[object]:
        """See `Side`."""
        tokens = [token for _, token in self._requests]
        self._requests.clear()
        return tokens


class ServerSide:
    """The server's handshake and channel 0.

    Attributes:
        client_properties: as start-ok brought them.
    """

    receives = SERVER_RECEIVES

    def __init__(self, options: ServerOptions) -> None:
        self.options = options
        self.max_body = options.max_body
        self.client_properties: Mapping[str, object] = {}

    def attach(self, connection: Connection) -> None:
        """See `Side`."""
        self._connection = connection

    def receive_header(self, data: bytes, now: float) -> int | None:
        """The client's protocol header; a wrong one is answered with the right one (4.2.2)."""
        expected = wire.PROTOCOL_HEADER
        if len(data) < len(expected) and expected.startswith(data):
            return None
        if not data.startswith(expected):
            self._connection.connection_lost(
                RemoteProtocolError(
                    f"the client sent {data[:8]!r}, expected the protocol header {expected!r}"
                )
            )
            self._connection.write(expected)
            return 0
        options = self.options
        self._connection.write(
            wire.ConnectionStart(
                0,
                9,
                {"capabilities": dict(CAPABILITIES), **options.server_properties},
                options.mechanisms.encode(),
                b"en_US",
            ).encode(0)
        )
        self._connection.state = State.STARTED
        return len(expected)

    def receive_method(self, method: wire.Method, now: float) -> None:
        """See `Side`."""
        connection = self._connection
        if isinstance(method, wire.ConnectionStartOk):
            self.client_properties = method.client_properties
            connection.state = State.DECIDING
            connection.emit(
                AuthenticationRequested(
                    method.mechanism, method.response, method.client_properties, method.locale
                )
            )
        elif isinstance(method, wire.ConnectionSecureOk):
            connection.state = State.DECIDING
            connection.emit(SecureResponse(method.response))
        elif isinstance(method, wire.ConnectionTuneOk):
            connection.limits = check_tune_ok(self.options, method)
            connection.start_heartbeat(now)
            connection.state = State.TUNED
        elif isinstance(method, wire.ConnectionOpen):
            connection.state = State.ADMITTING
            connection.emit(OpenRequested(method.virtual_host))
        else:  # update-secret: the caller looks at it and answers with send_secret_ok()
            connection.emit(method)

    def has_capability(self, name: str) -> bool:
        """Whether the client announced a capability."""
        capabilities = self.client_properties.get("capabilities")
        return isinstance(capabilities, Mapping) and capabilities.get(name) is True

    def _require(self, state: State, operation: str) -> None:
        if self._connection.state is not state:
            raise LocalProtocolError(
                f"{operation} in state {self._connection.state.value}: expected {state.value}"
            )

    def accept_authentication(self) -> None:
        """The credentials are good: send tune. Follows `AuthenticationRequested`.

        Next, as after every verdict: `events()`, for the client may have sent ahead.
        """
        self._require(State.DECIDING, "accept_authentication()")
        options = self.options
        self._connection.write(
            wire.ConnectionTune(options.channel_max, options.frame_max, options.heartbeat).encode(0)
        )
        self._connection.state = State.TUNING
        self._connection.go_on()

    def send_challenge(self, challenge: bytes) -> None:
        """Ask for more: send secure. Follows `AuthenticationRequested` or `SecureResponse`."""
        self._require(State.DECIDING, "send_challenge()")
        self._connection.write(wire.ConnectionSecure(challenge).encode(0))
        self._connection.state = State.SECURING
        self._connection.go_on()

    def accept_open(self) -> None:
        """The virtual host is open to the user: send open-ok. Follows `OpenRequested`."""
        self._require(State.ADMITTING, "accept_open()")
        self._connection.write(wire.ConnectionOpenOk().encode(0))
        self._connection.state = State.OPEN
        self._connection.go_on()

    def send_secret_ok(self) -> None:
        """Answer connection.update-secret."""
        self._connection.check_open()
        self._connection.write(wire.ConnectionUpdateSecretOk().encode(0))

    def send_blocked(self, reason: str) -> None:
        """Tell a client that announced `connection.blocked` that publishes are not read."""
        self._connection.check_open()
        if self.has_capability("connection.blocked"):
            self._connection.write(wire.ConnectionBlocked(reply_text(reason)).encode(0))

    def send_unblocked(self) -> None:
        """The end of `send_blocked`."""
        self._connection.check_open()
        if self.has_capability("connection.blocked"):
            self._connection.write(wire.ConnectionUnblocked().encode(0))

    def answers_faults(self, state: State) -> bool:
        """See `Side`. RabbitMQ drops the socket for faults before tune-ok."""
        return state in (State.TUNED, State.ADMITTING, State.OPEN)

    def peer_error(self, close: wire.ConnectionClose) -> LeveretError | None:
        """See `Side`."""
        if close.reply_code == wire.ReplyCode.SUCCESS:
            return None
        return _peer_error(close)

    def take_tokens(self) -> list[object]:
        """See `Side`: a server asks nothing on channel 0."""
        return []
