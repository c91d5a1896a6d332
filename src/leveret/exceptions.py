"""Every error of Leveret, one tree.

    LeveretError
    ├── ConfigurationError (ValueError)       a URL, option or certificate that cannot be used
    ├── LocalProtocolError                    the caller asked for what the protocol does not allow
    │   ├── EncodeError (ValueError)          a value that no AMQP field of that type can hold
    │   ├── ConnectionClosedError             used after the connection ended; `reason` says why
    │   ├── ChannelClosedError                used after the channel ended; `reason` says why
    │   └── DeliverySettledError              settled twice, or from a lost channel
    ├── RemoteProtocolError                   the peer broke the protocol
    │   └── DecodeError                       malformed bytes: what, where, on which channel
    ├── PeerError                             the peer closed a channel or the connection, in words
    │   ├── ChannelError                      one class a soft reply code
    │   │   ├── ContentTooLarge 311   NoRoute 312          NoConsumers 313
    │   │   └── AccessRefused 403     NotFound 404         ResourceLocked 405
    │   │       PreconditionFailed 406
    │   └── ConnectionError                   one class a hard reply code
    │       ├── ConnectionForced 320  InvalidPath 402      AuthenticationError 403
    │       ├── FrameError 501        FrameSyntaxError 502 CommandInvalid 503
    │       ├── ChannelNumberError 504  UnexpectedFrame 505  ResourceError 506
    │       └── NotAllowed 530        NotImplementedByPeer 540  InternalError 541
    ├── ConnectionLost (OSError)              the transport ended without a closing handshake
    │   ├── ConnectFailed                     it never came up
    │   ├── HeartbeatTimeout                  the peer went silent
    │   └── ForkedError                       the connection belongs to the parent process
    ├── DeadlineExceeded (TimeoutError)       a wait ended by its deadline
    │   └── BlockedTimeout                    ... while the broker had the connection blocked
    ├── ConsumerCancelled                     the broker cancelled the consumer
    └── PublishError                          a publish that was not confirmed
        ├── PublishReturned                   no queue took it; the broker gave it back
        ├── PublishNacked                     the broker refused it
        ├── PublishNotSent                    it never left: safe to send again
        ├── PublishUnknown                    it left, no outcome came: it may have arrived
        └── PublishFailures                   several of the above, from a publisher's flush

Errors of the peer and of the caller are different classes. Attributes hold the facts, `__str__`
words them, and `retryable` says whether the same operation may be tried again (on a new
connection or channel) with a chance of another result. Reply codes: AMQP 0-9-1 reference,
"Constants".
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

__all__ = [
    "AccessRefused",
    "AuthenticationError",
    "BlockedTimeout",
    "ChannelClosedError",
    "ChannelError",
    "ChannelNumberError",
    "CommandInvalid",
    "ConfigurationError",
    "ConnectFailed",
    "ConnectionClosedError",
    "ConnectionError",
    "ConnectionForced",
    "ConnectionLost",
    "ConsumerCancelled",
    "ContentTooLarge",
    "DeadlineExceeded",
    "DecodeError",
    "DeliverySettledError",
    "EncodeError",
    "ForkedError",
    "FrameError",
    "FrameSyntaxError",
    "HeartbeatTimeout",
    "InternalError",
    "InvalidPath",
    "LeveretError",
    "LocalProtocolError",
    "NoConsumers",
    "NoRoute",
    "NotAllowed",
    "NotFound",
    "NotImplementedByPeer",
    "PeerError",
    "PreconditionFailed",
    "PublishError",
    "PublishFailures",
    "PublishNacked",
    "PublishNotSent",
    "PublishReturned",
    "PublishUnknown",
    "RemoteProtocolError",
    "ResourceError",
    "ResourceLocked",
    "UnexpectedFrame",
    "channel_error",
    "connection_error",
]


class LeveretError(Exception):
    """The root: every error that Leveret raises on purpose is one of these."""

    retryable: bool = False


class ConfigurationError(LeveretError, ValueError):
    """A URL, an option or a certificate that cannot be used; says which and what was expected."""


class LocalProtocolError(LeveretError):
    """The caller asked for something that the protocol does not allow in this state."""


class EncodeError(LocalProtocolError, ValueError):
    """A value that the AMQP field cannot hold. Nothing was sent; the connection is usable."""


class _ClosedError(LocalProtocolError):
    """Used after the end; `reason` is the error that ended it, None after an ordinary close."""

    def __init__(self, message: str, reason: BaseException | None = None) -> None:
        super().__init__(message)
        self.reason = reason
        self.__cause__ = reason

    def __str__(self) -> str:
        words = str(self.args[0])
        return words if self.reason is None else f"{words}: {self.reason}"


class ConnectionClosedError(_ClosedError):
    """The connection has ended: nothing was sent."""

    retryable = True


class ChannelClosedError(_ClosedError):
    """The channel has ended: nothing was sent. A new channel may be opened."""

    retryable = True


class DeliverySettledError(LocalProtocolError):
    """A delivery settled twice, or one of a channel that is gone; nothing was sent."""


class RemoteProtocolError(LeveretError):
    """The peer broke the protocol.

    Attributes:
        reply_code: what AMQP answers to it, 501 to 505 (AMQP 0-9-1, 4.2.3 and "Constants").
        channel: the channel number, None where no channel is known.
        class_id, method_id: the method at fault, 0 where none is known.
    """

    def __init__(
        self,
        message: str,
        *,
        reply_code: int = 501,
        channel: int | None = None,
        class_id: int = 0,
        method_id: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.reply_code = reply_code
        self.channel = channel
        self.class_id = class_id
        self.method_id = method_id

    def __str__(self) -> str:
        return self.message if self.channel is None else f"channel {self.channel}: {self.message}"


class DecodeError(RemoteProtocolError):
    """Malformed bytes.

    Attributes:
        offset: where, in bytes from the start of the frame (or of the table given), or None.
    """

    def __init__(
        self,
        message: str,
        *,
        offset: int | None = None,
        reply_code: int = 501,
        channel: int | None = None,
        class_id: int = 0,
        method_id: int = 0,
    ) -> None:
        super().__init__(
            message,
            reply_code=reply_code,
            channel=channel,
            class_id=class_id,
            method_id=method_id,
        )
        self.offset = offset

    def __str__(self) -> str:
        words = super().__str__()
        return words if self.offset is None else f"{words} (at byte {self.offset})"


class PeerError(LeveretError):
    """The peer closed a channel or the connection and said why.

    Attributes:
        reply_code, reply_text: the peer's words.
        class_id, method_id: the method that the peer blames; 0 where it blames none.
        operation: its name (`"queue.declare"`), None where the peer blames none.
        arguments: the arguments of the operation as it was sent, empty where they are unknown.
        channel: the channel number; 0 for the connection.
    """

    code: ClassVar[int] = 0

    def __init__(
        self,
        reply_text: str,
        *,
        reply_code: int | None = None,
        class_id: int = 0,
        method_id: int = 0,
        operation: str | None = None,
        arguments: Mapping[str, object] | None = None,
        channel: int = 0,
    ) -> None:
        super().__init__(reply_text)
        self.reply_code = self.code if reply_code is None else reply_code
        self.reply_text = reply_text
        self.class_id = class_id
        self.method_id = method_id
        self.operation = operation
        self.arguments: Mapping[str, object] = arguments or {}
        self.channel = channel

    def __str__(self) -> str:
        words = f"({self.reply_code}) {self.reply_text}"
        if self.operation is None:
            return words
        if not self.arguments:
            return f"{self.operation}: {words}"
        given = ", ".join(f"{name}={value!r}" for name, value in self.arguments.items())
        return f"{self.operation}({given}): {words}"


class ChannelError(PeerError):
    """The peer closed the channel; the connection and its other channels live."""


class ContentTooLarge(ChannelError):
    """311: the body is larger than the peer takes."""

    code = 311


class NoRoute(ChannelError):
    """312: a mandatory message that no queue took (RabbitMQ returns it; it closes no channel)."""

    code = 312


class NoConsumers(ChannelError):
    """313: an immediate message without a consumer."""

    code = 313
    retryable = True


class AccessRefused(ChannelError):
    """403: the user may not do this."""

    code = 403


class NotFound(ChannelError):
    """404: no such queue, exchange or binding."""

    code = 404


class ResourceLocked(ChannelError):
    """405: exclusive to another connection."""

    code = 405
    retryable = True


class PreconditionFailed(ChannelError):
    """406: redeclared with other arguments, unknown delivery tag, bad argument and the like."""

    code = 406


class ConnectionError(PeerError):  # the field's name; the builtin is not raised here
    """The peer closed the connection."""


class ConnectionForced(ConnectionError):
    """320: an operator closed the connection or stopped the broker."""

    code = 320
    retryable = True


class InvalidPath(ConnectionError):
    """402: unknown virtual host (RabbitMQ answers 530 instead)."""

    code = 402


class AuthenticationError(ConnectionError):
    """403 on the connection: user name, password, certificate or mechanism refused."""

    code = 403


class FrameError(ConnectionError):
    """501: the peer could not decode a frame."""

    code = 501


class FrameSyntaxError(ConnectionError):
    """502: an illegal value in a frame."""

    code = 502


class CommandInvalid(ConnectionError):
    """503: a method that the peer does not take in this state."""

    code = 503


class ChannelNumberError(ConnectionError):
    """504: a channel that is not open, or open already (`channel-error` in the specification)."""

    code = 504


class UnexpectedFrame(ConnectionError):
    """505: a frame that does not belong there."""

    code = 505


class ResourceError(ConnectionError):
    """506: the peer ran out of something."""

    code = 506
    retryable = True


class NotAllowed(ConnectionError):
    """530: unknown virtual host, no access to it, a limit reached, a consumer tag reused."""

    code = 530


class NotImplementedByPeer(ConnectionError):
    """540: the peer does not implement this."""

    code = 540


class InternalError(ConnectionError):
    """541: the peer failed."""

    code = 541
    retryable = True


def _by_code(root: type[PeerError]) -> dict[int, type[PeerError]]:
    return {cls.code: cls for cls in root.__subclasses__()}


_CHANNEL_ERRORS = _by_code(ChannelError)
_CONNECTION_ERRORS = _by_code(ConnectionError)


def channel_error(reply_code: int) -> type[PeerError]:
    """The class for the reply code of a `channel.close`; `ChannelError` for an unknown code."""
    return _CHANNEL_ERRORS.get(reply_code, ChannelError)


def connection_error(reply_code: int) -> type[PeerError]:
    """The class for the reply code of a `connection.close`; `ConnectionError` if unknown."""
    return _CONNECTION_ERRORS.get(reply_code, ConnectionError)


class ConnectionLost(LeveretError, OSError):
    """The transport ended without a closing handshake: reset, end of file, network gone."""

    retryable = True


class ConnectFailed(ConnectionLost):
    """No connection came up; the message has every address tried and what each said."""


class HeartbeatTimeout(ConnectionLost):
    """Nothing was received for two heartbeat intervals (AMQP 0-9-1, 4.2.7)."""


class ForkedError(ConnectionLost):
    """The connection belongs to the parent process; open a new one in the child."""

    retryable = False


class DeadlineExceeded(LeveretError, TimeoutError):
    """A wait ended by its deadline; says which operation and how long it waited, in seconds."""

    retryable = True


class BlockedTimeout(DeadlineExceeded):
    """A publish waited to its deadline while the broker had the connection blocked.

    Attributes:
        reason: the broker's words (`"low on memory"`).
    """

    def __init__(self, message: str, reason: str = "") -> None:
        super().__init__(message)
        self.reason = reason


class ConsumerCancelled(LeveretError):
    """The broker cancelled a consumer: its queue was deleted or its node went away.

    Attributes:
        consumer_tag: the consumer; queue: its queue as it was asked for.
    """

    retryable = True

    def __init__(self, consumer_tag: str, queue: str = "") -> None:
        super().__init__(consumer_tag, queue)
        self.consumer_tag = consumer_tag
        self.queue = queue

    def __str__(self) -> str:
        return f"the broker cancelled consumer {self.consumer_tag!r} of queue {self.queue!r}"


class PublishError(LeveretError):
    """A publish that ended in anything but a confirmation.

    Attributes:
        exchange, routing_key: where it was sent.
        delivery_tag: its number on its channel; 0 where it never got one.
        publication: the publish, with its body (`Publication`); None where it did not come to one.
    """

    outcome: ClassVar[str] = "failed"

    def __init__(
        self,
        message: str = "",
        *,
        exchange: str = "",
        routing_key: str = "",
        delivery_tag: int = 0,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.exchange = exchange
        self.routing_key = routing_key
        self.delivery_tag = delivery_tag
        self.publication: Any = None

    def __str__(self) -> str:
        where = f"exchange={self.exchange!r}, routing_key={self.routing_key!r}"
        words = f"publish to {where} {self.outcome}"
        return f"{words}: {self.message}" if self.message else words


class PublishReturned(PublishError):
    """The broker gave the message back: no queue took it (AMQP 0-9-1, basic.return).

    Attributes:
        reply_code, reply_text: the broker's words, 312 `NO_ROUTE`.
        returned: the message as it came back (`wire.Returned`).
    """

    outcome = "returned"

    def __init__(
        self,
        message: str = "",
        *,
        exchange: str = "",
        routing_key: str = "",
        delivery_tag: int = 0,
        reply_code: int = 312,
        reply_text: str = "NO_ROUTE",
        returned: object = None,
    ) -> None:
        super().__init__(
            message or f"({reply_code}) {reply_text}",
            exchange=exchange,
            routing_key=routing_key,
            delivery_tag=delivery_tag,
        )
        self.reply_code = reply_code
        self.reply_text = reply_text
        self.returned = returned


class PublishNacked(PublishError):
    """The broker refused the message, as a full queue with `reject-publish` does."""

    outcome = "refused by the broker"
    retryable = True


class PublishNotSent(PublishError):
    """The broker has not taken the message, for it did not leave whole, or after another one
    for which the broker had closed the channel: safe to send again.
    """

    outcome = "not sent"
    retryable = True


class PublishUnknown(PublishError):
    """The message left, and no outcome came back: it may or may not have arrived."""

    outcome = "unknown"


class PublishFailures(PublishError):
    """Some messages were not confirmed.

    Attributes:
        errors: one `PublishError` a message, in the order in which they failed.
        more: how many failed besides, without an error kept for each.
    """

    def __init__(self, errors: Sequence[PublishError], more: int = 0) -> None:
        count = len(errors) + more
        words = "message was" if count == 1 else "messages were"
        super().__init__(f"{count} {words} not confirmed; first: {errors[0]}")
        self.errors = list(errors)
        self.more = more

    def __str__(self) -> str:
        return self.message

