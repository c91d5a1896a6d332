"""What both sides bring to the handshake, and what they agree on (AMQP 0-9-1, 4.2.2 and 1.4.2).

    client                                   server
    protocol header            ->
                               <-            start (properties, mechanisms)
    start-ok (mechanism)       ->
                               <-            tune (channel-max, frame-max, heartbeat)
    tune-ok, open (vhost)      ->
                               <-            open-ok
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from .. import wire
from ..exceptions import ConfigurationError, RemoteProtocolError
from .auth import Credentials

__all__ = [
    "CAPABILITIES",
    "ClientOptions",
    "Limits",
    "ServerOptions",
    "check_start",
    "check_tune_ok",
    "negotiate",
]

CAPABILITIES: Mapping[str, object] = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "consumer_priorities": True,
    "direct_reply_to": True,
    "exchange_exchange_bindings": True,
    "per_consumer_qos": True,
    "publisher_confirms": True,
}
"""RabbitMQ, "AMQP 0-9-1 Errata and Extensions", "Capabilities"."""

CHANNEL_MAX = 65535


@dataclass(frozen=True, slots=True)
class Limits:
    """What tune negotiates.

    Attributes:
        channel_max: the highest channel number.
        frame_max: bytes of a whole frame; 0 means no limit.
        heartbeat: seconds; 0 means none.
    """

    channel_max: int = CHANNEL_MAX
    frame_max: int = 0
    heartbeat: int = 0


@dataclass(frozen=True, slots=True)
class ClientOptions:
    """The client's side of the handshake.

    Attributes:
        credentials: user, password, mechanisms.
        virtual_host: as connection.open sends it.
        heartbeat: seconds; None takes the server's, 0 switches heartbeats off.
        channel_max: 0 takes the server's.
        frame_max: bytes; 0 takes the server's; else at least 8192, as RabbitMQ 4 wants.
        client_properties: sent in start-ok; `capabilities` are filled in where they are missing.
        locale: of error texts.
    """

    credentials: Credentials = field(default_factory=Credentials)
    virtual_host: str = "/"
    heartbeat: int | None = None
    channel_max: int = 0
    frame_max: int = 0
    client_properties: Mapping[str, object] = field(default_factory=dict)
    locale: str = "en_US"

    def __post_init__(self) -> None:
        _check_range("channel_max", self.channel_max, 0, CHANNEL_MAX)
        _check_range("heartbeat", self.heartbeat or 0, 0, 65535)
        if self.frame_max:
            _check_range("frame_max", self.frame_max, wire.RABBITMQ_FRAME_MIN, 2**32 - 1)
        try:
            name = self.virtual_host.encode()
        except UnicodeEncodeError:
            raise ConfigurationError("virtual_host is not a text that UTF-8 can hold") from None
        if len(name) > 255:
            raise ConfigurationError("virtual_host is longer than 255 bytes")


@dataclass(frozen=True, slots=True)
class ServerOptions:
    """The server's side of the handshake.

    Attributes:
        server_properties: sent in start.
        mechanisms: names separated by spaces, as start sends them.
        heartbeat, channel_max, frame_max: proposed in tune; 0 means no limit.
        max_body: bytes a message body may announce; 0 for any.
    """

    server_properties: Mapping[str, object] = field(default_factory=dict)
    mechanisms: str = "AMQPLAIN PLAIN"
    heartbeat: int = 60
    channel_max: int = 2047
    frame_max: int = 131072
    max_body: int = 0


def _check_range(name: str, value: int, low: int, high: int) -> None:
    if not low <= value <= high:
        raise ConfigurationError(f"{name} is {value}: expected {low} to {high}")


def _lower(mine: int, theirs: int) -> int:
    """The lower of two limits of which 0 means none."""
    return min(mine, theirs) if mine and theirs else mine or theirs


def negotiate(options: ClientOptions, tune: wire.ConnectionTune) -> Limits:
    """What a client answers to tune.

    Raises:
        RemoteProtocolError: the server offers frames smaller than the specification's minimum.
    """
    if 0 < tune.frame_max < wire.FRAME_MIN_SIZE:
        raise RemoteProtocolError(
            f"connection.tune offers frame_max {tune.frame_max}: "
            f"expected 0 or at least {wire.FRAME_MIN_SIZE}",
            reply_code=wire.ReplyCode.SYNTAX_ERROR,
            class_id=tune.class_id,
            method_id=tune.method_id,
        )
    heartbeat = tune.heartbeat
    if options.heartbeat is not None:
        heartbeat = _lower(options.heartbeat, tune.heartbeat) if options.heartbeat else 0
    return Limits(
        channel_max=_lower(options.channel_max, tune.channel_max) or CHANNEL_MAX,
        frame_max=_lower(options.frame_max, tune.frame_max),
        heartbeat=heartbeat,
    )


def check_start(start: wire.ConnectionStart) -> None:
    """Refuse a server of another protocol version.

    Raises:
        RemoteProtocolError: not 0-9.
    """
    if (start.version_major, start.version_minor) != (0, 9):
        raise RemoteProtocolError(
            f"the server speaks AMQP {start.version_major}-{start.version_minor}, expected 0-9",
            reply_code=wire.ReplyCode.SYNTAX_ERROR,
            class_id=start.class_id,
            method_id=start.method_id,
        )


def check_tune_ok(options: ServerOptions, tune_ok: wire.ConnectionTuneOk) -> Limits:
    """What a server makes of tune-ok, with the bounds of RabbitMQ 4.

    Where the server has a limit, "no limit" (0) is outside of it.

    Raises:
        RemoteProtocolError: a value outside of what was offered.
    """
    frame_min = min(wire.RABBITMQ_FRAME_MIN, options.frame_max or wire.RABBITMQ_FRAME_MIN)
    for name, floor, offered, value in (
        ("frame_max", frame_min, options.frame_max, tune_ok.frame_max),
        ("channel_max", 1, options.channel_max, tune_ok.channel_max),
    ):
        if (offered and not floor <= value <= offered) or 0 < value < floor:
            expected = f"{floor} to {offered}" if offered else f"0 or at least {floor}"
            raise RemoteProtocolError(
                f"connection.tune-ok has {name} {value}: expected {expected}",
                reply_code=wire.ReplyCode.NOT_ALLOWED,
                class_id=tune_ok.class_id,
                method_id=tune_ok.method_id,
            )
    return Limits(
        channel_max=_lower(options.channel_max, tune_ok.channel_max) or CHANNEL_MAX,
        frame_max=_lower(options.frame_max, tune_ok.frame_max),
        heartbeat=tune_ok.heartbeat,
    )
