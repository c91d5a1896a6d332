"""What operations give back where it is more than one value."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["QueueDeclared"]


class QueueDeclared(NamedTuple):
    """queue.declare-ok: the name (the server's where none was given), ready messages, consumers."""

    queue: str
    message_count: int
    consumer_count: int
