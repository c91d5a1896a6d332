"""Words for closes: reply texts that fit their field, and the faults of a peer as errors."""

from __future__ import annotations

from .. import wire
from ..exceptions import RemoteProtocolError

__all__ = ["CONNECTION_CLASS", "misplaced", "reply_text", "unexpected_heartbeat", "unimplemented"]

CONNECTION_CLASS = 10
SHORTSTR_MAX = 255


def reply_text(text: str) -> str:
    """A reply text cut to what a short string holds, 255 bytes, between characters."""
    raw = text.encode()
    return text if len(raw) <= SHORTSTR_MAX else raw[:SHORTSTR_MAX].decode(errors="ignore")


def misplaced(item: wire.Item, message: str) -> RemoteProtocolError:
    """504: what does not belong on its channel."""
    method = item if isinstance(item, wire.Method) else None
    return RemoteProtocolError(
        message,
        reply_code=wire.ReplyCode.CHANNEL_ERROR,
        channel=item.channel,
        class_id=method.key >> 16 if method else 0,
        method_id=method.key & 0xFFFF if method else 0,
    )


def unimplemented(method: wire.Method) -> RemoteProtocolError:
    """503: a method that has no place there at all."""
    return RemoteProtocolError(
        "unimplemented method",
        reply_code=wire.ReplyCode.COMMAND_INVALID,
        channel=method.channel,
        class_id=method.key >> 16,
        method_id=method.key & 0xFFFF,
    )


def unexpected_heartbeat(item: wire.Heartbeat) -> RemoteProtocolError:
    """505: heartbeats have channel 0 (AMQP 0-9-1, 4.2.7)."""
    return RemoteProtocolError(
        f"heartbeat on channel {item.channel}",
        reply_code=wire.ReplyCode.UNEXPECTED_FRAME,
        channel=item.channel,
    )
