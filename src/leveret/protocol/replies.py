"""Words for closes: reply texts that fit their field, and the faults of a peer as errors."""

from __future__ import annotations

from .. import wire
from ..exceptions import EncodeError, RemoteProtocolError
from .states import State

__all__ = [
    "CONNECTION_CLASS",
    "check_text",
    "closing",
    "malformed",
    "misplaced",
    "reply_text",
    "too_many_channels",
    "unexpected_frame",
    "unimplemented",
    "untimely",
]

CONNECTION_CLASS = 10
SHORTSTR_MAX = 255


def reply_text(text: str) -> str:
    """A reply text cut to what a short string holds, 255 bytes, between characters; what is not
    Unicode becomes a question mark.
    """
    raw = text.encode(errors="replace")
    return raw[:SHORTSTR_MAX].decode(errors="ignore")


def check_text(method: wire.Method) -> wire.Method:
    """The method, if its texts are ones that a broker takes.

    Raises:
        EncodeError: one is not; RabbitMQ would close the connection (501).
    """
    name = wire.malformed_text(method)
    if name is not None:
        raise EncodeError(f"{method.name}: {name} is not a text that UTF-8 can hold")
    return method


def malformed(item: wire.Item) -> RemoteProtocolError:
    """501, in RabbitMQ's words, which name no method."""
    return RemoteProtocolError("Malformed UTF-8 in shortstr", channel=item.channel)


def _key(item: wire.Item) -> int:
    """The number of the method that an item is, or began with; 0 for other frames."""
    if isinstance(item, wire.Method):
        return item.key
    if isinstance(item, wire.Delivery):
        return (wire.BasicGetOk if item.consumer_tag is None else wire.BasicDeliver).key
    if isinstance(item, wire.Returned):
        return wire.BasicReturn.key
    return wire.BasicPublish.key if isinstance(item, wire.Published) else 0


def _fault(item: wire.Item, reply_code: int, message: str) -> RemoteProtocolError:
    key = _key(item)
    return RemoteProtocolError(
        message,
        reply_code=reply_code,
        channel=item.channel,
        class_id=key >> 16,
        method_id=key & 0xFFFF,
    )


def misplaced(item: wire.Item, message: str) -> RemoteProtocolError:
    """504: what does not belong on its channel."""
    return _fault(item, wire.ReplyCode.CHANNEL_ERROR, message)


def untimely(item: wire.Item, state: State) -> RemoteProtocolError:
    """504: a method that the state of the connection does not allow."""
    words = "running" if state is State.OPEN else state.value
    return misplaced(item, f"unexpected method in connection state {words}")


def closing(error: RemoteProtocolError) -> wire.ConnectionClose:
    """The close that answers a fault."""
    try:
        name = wire.ReplyCode(error.reply_code).name
    except ValueError:
        name = wire.ReplyCode.INTERNAL_ERROR.name
    text = reply_text(f"{name} - {error.message}")
    return wire.ConnectionClose(error.reply_code, text, error.class_id, error.method_id)


def unimplemented(item: wire.Item) -> RemoteProtocolError:
    """503: a method that has no place there at all."""
    return _fault(item, wire.ReplyCode.COMMAND_INVALID, "unimplemented method")


def unexpected_frame(item: wire.Item, message: str) -> RemoteProtocolError:
    """505: a frame that belongs to no method, or to another channel (AMQP 0-9-1, 4.2.6, 4.2.7)."""
    return RemoteProtocolError(
        message, reply_code=wire.ReplyCode.UNEXPECTED_FRAME, channel=item.channel
    )


def too_many_channels(count: int, channel_max: int) -> RemoteProtocolError:
    """530, in RabbitMQ's words."""
    return RemoteProtocolError(
        f"number of channels opened ({count}) has reached the negotiated "
        f"channel_max ({channel_max})",
        reply_code=wire.ReplyCode.NOT_ALLOWED,
    )
