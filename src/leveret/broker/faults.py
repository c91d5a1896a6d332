"""How the broker words a refusal: RabbitMQ's reply text, in the exception of its reply code.

A reply text is the code's name, a dash and an explanation, and has at most 255 bytes; RabbitMQ
ends a longer one with three dots. The exceptions are those that a client raises for the same
code, so that the engine can be used and tested without a connection: whether the channel or the
connection ends is the exception's class (`ChannelError` or `ConnectionError`).
"""

from __future__ import annotations

from .. import wire
from ..exceptions import PeerError

__all__ = ["MAX_TEXT", "entity", "fault", "reply_text"]

MAX_TEXT = 255


def reply_text(reply_code: int, explanation: str) -> str:
    """RabbitMQ's text for a reply code and an explanation."""
    text = f"{wire.ReplyCode(reply_code).name} - {explanation}"
    raw = text.encode("utf-8", "surrogateescape")
    if len(raw) <= MAX_TEXT:
        return text
    return raw[: MAX_TEXT - 3].decode("utf-8", "ignore") + "..."


def fault(error: type[PeerError], explanation: str) -> PeerError:
    """An exception to raise, with RabbitMQ's words."""
    return error(reply_text(error.code, explanation))


def entity(kind: str, name: str, virtual_host: str) -> str:
    """How RabbitMQ names a queue or an exchange: `queue 'a' in vhost '/'`."""
    return f"{kind} '{name}' in vhost '{virtual_host}'"
