"""Queues whose arguments say what becomes of messages. Pure, as `queue` is.

- `x-message-ttl`: no message waits longer; its own `expiration` may be shorter (RabbitMQ,
  "Time-To-Live").
- `x-dead-letter-exchange`: messages that are rejected, expire or find no room are not forgotten
  but buried: handed to whoever publishes them there (`dead_letters`).
- `x-max-length`, `x-max-length-bytes`: how many ready messages, and bytes of their bodies, there
  may be; what is handed out does not count. When there are more, those in front go; with an
  `x-overflow` of `reject-publish` or `reject-publish-dlx` the new one is refused instead, even if
  a consumer waits (RabbitMQ, "Queue Length Limit").
- `x-max-priority`: messages of a higher priority are in front (RabbitMQ, "Classic Queues Support
  Priorities"). The position of a message holds its priority, so that the heap in front of the
  queue keeps them in order, and they expire and are dropped from the front as in any queue.
"""

from __future__ import annotations

import heapq
from typing import Any

from ..wire import Content
from .queue import ENTRY_BYTES, Entry, Queue, Reason, seconds

__all__ = ["RULES", "RuledQueue"]

RULES = (
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
)
"""The arguments that make a queue a `RuledQueue`; the others belong to one of them."""

PRIORITY_STEP = 1 << 48  # positions, and so messages, of one priority
NO_LIMIT = 1 << 62


def _limit(value: object) -> int:
    return value if isinstance(value, int) else NO_LIMIT


class RuledQueue(Queue):
    """A queue with one of `RULES` at least.

    The arguments are those of `Queue`.

    Attributes:
        dead_letter_exchange: where dead letters go; None for nowhere.
        dead_letter_key: their routing key; None for the one they had.
    """

    __slots__ = (
        "_bytes",
        "_max_bytes",
        "_max_length",
        "_max_priority",
        "_overflow",
        "_ttl",
        "dead_letter_exchange",
        "dead_letter_key",
    )

    def __init__(self, name: str, **options: Any) -> None:
        super().__init__(name, **options)
        arguments = self.arguments
        self._bytes = 0  # of the bodies that are ready
        self._ttl = seconds(arguments.get("x-message-ttl"))
        self._max_length = _limit(arguments.get("x-max-length"))
        self._max_bytes = _limit(arguments.get("x-max-length-bytes"))
        self._overflow = arguments.get("x-overflow", "drop-head")
        priority = arguments.get("x-max-priority")
        self._max_priority = priority if isinstance(priority, int) else 0
        exchange, key = (arguments.get(f"x-dead-letter-{it}") for it in ("exchange", "routing-key"))
        self.dead_letter_exchange = exchange if isinstance(exchange, str) else None
        self.dead_letter_key = key if isinstance(key, str) else None

    def publish(self, message: Content, ttl: float | None = None) -> bool:
        """See `Queue`."""
        size = len(message.body)
        if self._overflow != "drop-head" and self._is_over(1, size):
            if self._overflow == "reject-publish-dlx":
                self._die(message, Reason.MAXLEN)
            return False
        if self._ttl is not None and (ttl is None or ttl > self._ttl):
            ttl = self._ttl
        expires_at = None if ttl is None else self._clock() + ttl
        entry = Entry(message, self, self._position(message), expires_at)
        self._next_position += 1
        self._usage.bytes += size + ENTRY_BYTES
        if not self._fresh and not self._returned:
            consumer = self._next_consumer()
            if consumer is not None:
                self._hand_out(entry, consumer)
                return True
        if self._max_priority:
            heapq.heappush(self._returned, (entry.position, entry))
        else:
            self._fresh.append(entry)
        self._bytes += size
        self._drop_head()
        if ttl is not None:
            self._expires_some_time(ttl)
        return True

    def _position(self, message: Content) -> int:
        if not self._max_priority:
            return self._next_position
        priority = min(message.properties.priority or 0, self._max_priority)
        return self._next_position - priority * PRIORITY_STEP

    def reject(self, entry: Entry) -> None:
        """See `Queue`."""
        self.settle(entry)
        if not self.deleted:
            self._die(entry.message, Reason.REJECTED)

    def requeue(self, entry: Entry) -> None:
        """See `Queue`."""
        super().requeue(entry)
        if not self.deleted:
            self._bytes += len(entry.message.body)
            self._drop_head()

    def purge(self) -> int:
        """See `Queue`."""
        count = super().purge()
        self._bytes = 0
        return count

    def _pop(self) -> Entry:
        entry = super()._pop()
        self._bytes -= len(entry.message.body)
        return entry

    def _is_over(self, messages: int = 0, size: int = 0) -> bool:
        """Whether there are too many, with so many more."""
        return (
            len(self._fresh) + len(self._returned) + messages > self._max_length
            or self._bytes + size > self._max_bytes
        )

    def _drop_head(self) -> None:
        if self._overflow != "drop-head" or not self._is_over():
            return
        while self._is_over():
            entry = self._pop()
            self._usage.bytes -= len(entry.message.body) + ENTRY_BYTES
            self._die(entry.message, Reason.MAXLEN)
        if self._may_expire:
            self._set_timer()  # another one is in front

    def _expire(self, entry: Entry) -> None:
        super()._expire(entry)
        self._die(entry.message, Reason.EXPIRED)

    def _die(self, message: Content, reason: Reason) -> None:
        if self.dead_letter_exchange is not None:
            self._home.bury(self, message, reason)
