"""What the protocol layer tells its caller: the objects in `Connection.events()`.

An event is one of
- an object of this module;
- a `wire.Returned` that no publication claims (client role);
- a `wire.Published` or a method of `wire.methods` with its `channel` set (server role).

Events come in the order in which the peer's bytes caused them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ..exceptions import LeveretError
from ..wire import Content, Delivery, Method, maker

if TYPE_CHECKING:
    from .channel import Channel
    from .confirms import Publication

__all__ = [
    "AuthenticationRequested",
    "ChannelClosed",
    "ChannelFlow",
    "ConnectionBlocked",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionUnblocked",
    "ConsumerCancelled",
    "Deliveries",
    "OpenRequested",
    "Outcomes",
    "Reply",
    "SecureResponse",
]


class ConnectionOpened:
    """The handshake is done. The limits agreed on are attributes of the connection."""

    __slots__ = ("server_properties",)

    def __init__(self, server_properties: Mapping[str, object]) -> None:
        self.server_properties = server_properties


class ConnectionClosed:
    """The connection has ended; the last event. `ChannelClosed` of every channel came before.

    Attributes:
        error: why; None after a close that this side asked for.
        tokens: of the requests on channel 0 that get no reply any more.

    Next: send what `data_to_send()` still has, then close the transport.
    """

    __slots__ = ("error", "tokens")

    def __init__(self, error: LeveretError | None, tokens: Sequence[object]) -> None:
        self.error = error
        self.tokens = tokens


class ConnectionBlocked:
    """The broker stopped reading publishes (memory or disk alarm)."""

    __slots__ = ("reason",)

    def __init__(self, reason: str) -> None:
        self.reason = reason


class ConnectionUnblocked:
    """The alarm is over."""

    __slots__ = ()


class Deliveries:
    """Client role: deliveries of open consumers, in order, as many as came one after the other.

    Attributes:
        owner: the consumer's token, which is the `owner` of each delivery, too; None where they may
            be of several consumers.
    """

    __slots__ = ("deliveries", "owner")

    def __init__(self, owner: Any, deliveries: list[Delivery]) -> None:
        self.owner = owner
        self.deliveries = deliveries


make_deliveries = maker(Deliveries, ("owner", "deliveries"), {})


class Outcomes:
    """Client role: publishes of one channel that have reached their outcome, in order."""

    __slots__ = ("publications",)

    def __init__(self, publications: list[Publication]) -> None:
        self.publications = publications


class Reply:
    """The answer to a request.

    Attributes:
        token: what the caller gave `send_request`.
        request: the method sent; reply: the method received, a `Delivery` for basic.get-ok.
    """

    __slots__ = ("channel", "reply", "request", "token")

    def __init__(
        self, channel: int, token: object, request: Method, reply: Method | Content
    ) -> None:
        self.channel = channel
        self.token = token
        self.request = request
        self.reply = reply


make_reply = maker(Reply, ("channel", "token", "request", "reply"), {})


class ChannelClosed:
    """A channel has ended, by either side, or with its connection.

    Attributes:
        channel: the channel's handle.
        error: why; None after a close that this side asked for.
        tokens: of requests that get no reply any more, the close's own token last.
        publications: those without an outcome until now; each has it now, not sent or unknown.
        blamed: the token of the request because of which the broker closed the channel; None
            where it was something else, or is not known.
    """

    __slots__ = ("blamed", "channel", "error", "publications", "tokens")

    def __init__(
        self,
        channel: Channel,
        error: LeveretError | None,
        tokens: Sequence[object],
        publications: Sequence[Publication],
        blamed: object = None,
    ) -> None:
        self.blamed = blamed
        self.channel = channel
        self.error = error
        self.tokens = tokens
        self.publications = publications


class ChannelFlow:
    """The peer asked to stop (`active` false) or to resume content on a channel."""

    __slots__ = ("active", "channel")

    def __init__(self, channel: int, active: bool) -> None:
        self.channel = channel
        self.active = active


class ConsumerCancelled:
    """The broker cancelled a consumer (RabbitMQ, "Consumer Cancel Notification")."""

    __slots__ = ("channel", "consumer_tag", "token")

    def __init__(self, channel: int, consumer_tag: str, token: object) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.token = token


class AuthenticationRequested:
    """Server role: connection.start-ok.

    Next: `accept_authentication()`, `send_challenge()` or `send_close(403, ...)`.
    """

    __slots__ = ("client_properties", "locale", "mechanism", "response")

    def __init__(
        self, mechanism: str, response: bytes, client_properties: Mapping[str, object], locale: str
    ) -> None:
        self.mechanism = mechanism
        self.response = response
        self.client_properties = client_properties
        self.locale = locale


class SecureResponse:
    """Server role: connection.secure-ok. Next: as after `AuthenticationRequested`."""

    __slots__ = ("response",)

    def __init__(self, response: bytes) -> None:
        self.response = response


class OpenRequested:
    """Server role: connection.open. Next: `accept_open()` or `send_close(530, ...)`."""

    __slots__ = ("virtual_host",)

    def __init__(self, virtual_host: str) -> None:
        self.virtual_host = virtual_host
