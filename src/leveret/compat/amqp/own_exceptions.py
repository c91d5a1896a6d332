"""The errors of py-amqp as Leveret defines them, for where py-amqp itself is not there.

    AMQPError
    ├── ConnectionError
    │   ├── RecoverableConnectionError
    │   │   ├── Blocked   ConsumerCancelled   ConnectionForced 320   ResourceError 506
    │   └── IrrecoverableConnectionError
    │       ├── InvalidPath 402     FrameError 501        FrameSyntaxError 502
    │       ├── InvalidCommand 503  ChannelNotOpen 504    UnexpectedFrame 505
    │       └── NotAllowed 530      AMQPNotImplementedError 540   InternalError 541
    └── ChannelError
        ├── RecoverableChannelError
        │   └── ContentTooLarge 311   NoConsumers 313     ResourceLocked 405
        └── IrrecoverableChannelError
            └── AccessRefused 403     NotFound 404        PreconditionFailed 406
    MessageNacked
"""

from __future__ import annotations

from typing import Any

from leveret import wire

__all__ = [
    "ERROR_MAP",
    "METHOD_NAME_MAP",
    "AMQPDeprecationWarning",
    "AMQPError",
    "AMQPNotImplementedError",
    "AccessRefused",
    "Blocked",
    "ChannelError",
    "ChannelNotOpen",
    "ConnectionError",
    "ConnectionForced",
    "ConsumerCancelled",
    "ContentTooLarge",
    "FrameError",
    "FrameSyntaxError",
    "InternalError",
    "InvalidCommand",
    "InvalidPath",
    "IrrecoverableChannelError",
    "IrrecoverableConnectionError",
    "MessageNacked",
    "NoConsumers",
    "NotAllowed",
    "NotFound",
    "PreconditionFailed",
    "RecoverableChannelError",
    "RecoverableConnectionError",
    "ResourceError",
    "ResourceLocked",
    "UnexpectedFrame",
    "error_for_code",
]


def _method_names() -> dict[Any, str]:
    """`Queue.declare_ok` by both keys: the pair of numbers, and the two as one number."""
    names: dict[Any, str] = {}
    for key, kind in wire.METHODS.items():
        group, _, name = kind.name.partition(".")
        names[key] = names[key >> 16, key & 0xFFFF] = (
            f"{group.capitalize()}.{name.replace('-', '_')}"
        )
    return names


METHOD_NAME_MAP = _method_names()


class AMQPDeprecationWarning(UserWarning):
    """Something that will go away."""


class MessageNacked(Exception):
    """The broker refused a message (basic.nack)."""


class AMQPError(Exception):
    """The root.

    Attributes:
        reply_code, reply_text: the broker's words; `message` is the text too.
        method_sig, method_name: the method that is blamed; `method` is the name where known.
    """

    code = 0

    def __init__(
        self,
        reply_text: Any = None,
        method_sig: Any = None,
        method_name: str | None = None,
        reply_code: int | None = None,
    ) -> None:
        name = method_name or (METHOD_NAME_MAP.get(method_sig, "") if method_sig else "")
        super().__init__(reply_code, reply_text, method_sig, name)
        self.message = self.reply_text = reply_text
        self.reply_code = reply_code or self.code
        self.method_sig = method_sig
        self.method_name = name

    def __str__(self) -> str:
        if self.method:
            return f"{self.method}: ({self.reply_code}) {self.reply_text}"
        return self.reply_text or f"<{type(self).__name__}: unknown error>"

    @property
    def method(self) -> Any:
        """The name of the method that is blamed, or its numbers."""
        return self.method_name or self.method_sig


class ConnectionError(AMQPError):  # py-amqp's name
    """The connection has ended."""


class ChannelError(AMQPError):
    """The channel has ended."""


class RecoverableChannelError(ChannelError):
    """It may go well another time."""


class IrrecoverableChannelError(ChannelError):
    """It will not go well another time."""


class RecoverableConnectionError(ConnectionError):
    """It may go well on another connection."""


class IrrecoverableConnectionError(ConnectionError):
    """It will not go well on another connection."""


class Blocked(RecoverableConnectionError):
    """The broker has blocked the connection."""


class ConsumerCancelled(RecoverableConnectionError):
    """The broker has cancelled a consumer."""


class ContentTooLarge(RecoverableChannelError):
    """311."""

    code = 311


class NoConsumers(RecoverableChannelError):
    """313."""

    code = 313


class ConnectionForced(RecoverableConnectionError):
    """320: an operator closed the connection, or heartbeats were missed."""

    code = 320


class InvalidPath(IrrecoverableConnectionError):
    """402."""

    code = 402


class AccessRefused(IrrecoverableChannelError):
    """403, on a channel or with the credentials."""

    code = 403


class NotFound(IrrecoverableChannelError):
    """404."""

    code = 404


class ResourceLocked(RecoverableChannelError):
    """405."""

    code = 405


class PreconditionFailed(IrrecoverableChannelError):
    """406."""

    code = 406


class FrameError(IrrecoverableConnectionError):
    """501."""

    code = 501


class FrameSyntaxError(IrrecoverableConnectionError):
    """502, and a table value that AMQP has no type for."""

    code = 502


class InvalidCommand(IrrecoverableConnectionError):
    """503."""

    code = 503


class ChannelNotOpen(IrrecoverableConnectionError):
    """504."""

    code = 504


class UnexpectedFrame(IrrecoverableConnectionError):
    """505, and a frame with a wrong end."""

    code = 505


class ResourceError(RecoverableConnectionError):
    """506, and no channel number left."""

    code = 506


class NotAllowed(IrrecoverableConnectionError):
    """530."""

    code = 530


class AMQPNotImplementedError(IrrecoverableConnectionError):
    """540."""

    code = 540


class InternalError(IrrecoverableConnectionError):
    """541."""

    code = 541


#: The class for a reply code.
ERROR_MAP: dict[int, type[AMQPError]] = {
    kind.code: kind
    for kind in list(globals().values())
    if isinstance(kind, type) and issubclass(kind, AMQPError) and kind.code
}


def error_for_code(code: int, text: str, method: Any, default: Any) -> Any:
    """The error for a reply code; `default` makes it where the code has no class."""
    return ERROR_MAP.get(code, default)(text, method, reply_code=code)
