"""The queue engine: messages in order, consumers in turn. Pure: no bytes, no sockets, no clock.

A message enters a queue as an `Entry` with a position, its number in the order of arrival. It is
handed to a consumer at once if one can take it, and waits otherwise. Every entry that was ever
handed out has a lower position than all that never were; so those that come back wait in a heap
of their own, in front, and a message that is requeued is where it was (RabbitMQ, "Queues",
"Message Ordering").

Consumers take turns; see `consumers` for what credit is. The cost of a message depends neither
on how many deliveries are unacknowledged nor on how many consumers wait for credit. Those with a
higher `x-priority` go first for as long as they have credit (RabbitMQ, "Consumer Priorities").
With `x-single-active-consumer` only one of them is in the rotation, and the others wait for it
to go (RabbitMQ, "Single Active Consumer").

A message with a time to live goes when it is at the front and its time is over, whoever asked
for the time (RabbitMQ, "Time-To-Live"); a queue with `x-expires` goes when it was not used for
so long. Both wait for one moment of `Timers`. What else arguments ask of a queue is in `rules`,
so that a queue without them pays nothing for it.

The session drives the queue: `publish`, `take`, `settle`, `reject`, `requeue`, and `run` after
anything that may have set free messages or credit. A queue never calls itself from
`Receiver.deliver`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Mapping
from enum import Enum

from ..exceptions import AccessRefused
from ..wire import Content
from .clock import Timers
from .consumers import Consumer
from .faults import fault

__all__ = ["ENTRY_BYTES", "Entry", "Home", "Queue", "Reason", "Usage", "seconds"]

ENTRY_BYTES = 400
"""What an entry without a body takes, in bytes: measured over 100,000 of them, CPython 3.11."""

EXPIRED_AT_ONCE = 200
"""Expired messages that go before others have their turn."""


def seconds(milliseconds: object) -> float | None:
    """A time in an argument, in seconds; None if it is not there."""
    return milliseconds / 1000 if isinstance(milliseconds, int) else None


class Reason(Enum):
    """Why a message is a dead letter (RabbitMQ, "Dead Letter Exchanges")."""

    REJECTED = "rejected"
    EXPIRED = "expired"
    MAXLEN = "maxlen"


class Usage:
    """How many bytes the messages of a broker hold, estimated.

    A message in three queues counts three times, though its body is there once.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Home:
    """What a queue needs of the place where it lives; a virtual host is one.

    Attributes:
        usage: where its bytes are counted.
        timers: the time it lives by.
    """

    def __init__(self, usage: Usage | None = None, timers: Timers | None = None) -> None:
        self.usage = usage or Usage()
        self.timers = timers or Timers()

    def lapsed(self, queue: Queue) -> None:
        """It is to be deleted, since it was not used for so long."""

    def bury(self, queue: Queue, message: Content, reason: Reason) -> None:
        """A message has died in it. Must not call a queue."""


class Entry:
    """A message in a queue, ready or handed out.

    Attributes:
        message: what was published; shared by all the queues that it went to.
        queue: where it is.
        position: its place in the order of delivery.
        redelivered: whether it was handed out before.
        expires_at: when it is no longer wanted, on the queue's clock; None for never.
        consumer: who has it; None while it is ready, and for basic.get.
    """

    __slots__ = ("consumer", "expires_at", "message", "position", "queue", "redelivered")

    def __init__(
        self, message: Content, queue: Queue, position: int, expires_at: float | None
    ) -> None:
        self.message = message
        self.queue = queue
        self.position = position
        self.redelivered = False
        self.expires_at = expires_at
        self.consumer: Consumer | None = None


class Queue:
    """A queue.

    Args:
        name: its name; texts: how error texts name it.
        durable, auto_delete, arguments: as declared.
        owner: the connection that it is exclusive to, None if it is not.
        home: where it lives.

    Attributes:
        consumers: in the order of subscription.
        deleted: true once it is gone; then whatever is settled or requeued is forgotten.
        had_consumers: whether it ever had one, for auto_delete.
        exclusive_consumer: the one that shuts out others.
        active_consumer: with `x-single-active-consumer`, the only one that gets messages.
        timer_at: see `Timed`.
    """

    __slots__ = (
        "_clock",
        "_expires",
        "_fresh",
        "_home",
        "_lapses_at",
        "_levels",
        "_may_expire",
        "_next_position",
        "_returned",
        "_single_active",
        "_timers",
        "_usage",
        "active_consumer",
        "arguments",
        "auto_delete",
        "consumers",
        "deleted",
        "durable",
        "exclusive_consumer",
        "had_consumers",
        "name",
        "owner",
        "texts",
        "timer_at",
    )

    def __init__(
        self,
        name: str,
        *,
        texts: str = "",
        durable: bool = False,
        auto_delete: bool = False,
        owner: object = None,
        arguments: Mapping[str, object] | None = None,
        home: Home | None = None,
    ) -> None:
        self.name = name
        self.texts = texts or f"queue '{name}'"
        self.durable = durable
        self.auto_delete = auto_delete
        self.owner = owner
        self.arguments = arguments or {}
        self.consumers: dict[Consumer, None] = {}
        self.had_consumers = False
        self.exclusive_consumer: Consumer | None = None
        self.active_consumer: Consumer | None = None
        self.deleted = False
        self.timer_at: float | None = None
        self._home = home or Home()
        self._usage = self._home.usage
        self._timers = self._home.timers
        self._clock = self._timers.clock
        self._expires = seconds(self.arguments.get("x-expires"))
        self._lapses_at: float | None = None
        self._single_active = self.arguments.get("x-single-active-consumer") is True
        self._may_expire = False  # whether there may be a ready message with a time to live
        self._next_position = 0
        self._fresh: deque[Entry] = deque()  # never handed out
        self._returned: list[tuple[int, Entry]] = []  # a heap; all of it before all of _fresh
        self._levels: dict[int, deque[Consumer]] = {0: deque()}  # by priority, highest first
        self.touch()

    def __repr__(self) -> str:
        ready = len(self._fresh) + len(self._returned)
        return f"<Queue {self.name!r} ready={ready} consumers={len(self.consumers)}>"

    # -- messages --------------------------------------------------------------------------

    def publish(self, message: Content, ttl: float | None = None) -> bool:
        """A message arrives: hand it out, or keep it.

        Args:
            message: what was published.
            ttl: how long it is wanted, in seconds; None for ever. With 0 it is handed out at
                once or not at all.

        Returns:
            Whether the queue took it: it may be full.
        """
        expires_at = None if ttl is None else self._clock() + ttl
        entry = Entry(message, self, self._next_position, expires_at)
        self._next_position += 1
        self._usage.bytes += len(message.body) + ENTRY_BYTES
        if not self._fresh and not self._returned:
            consumer = self._next_consumer()
            if consumer is not None:
                self._hand_out(entry, consumer)
                return True
        self._fresh.append(entry)
        if ttl is not None:
            self._expires_some_time(ttl)
        return True

    def take(self) -> Entry | None:
        """The first message, for basic.get; it has no consumer. None when there is none."""
        if self._expires is not None:
            self.touch()
        if self._may_expire:
            self._drop_expired()
        if not self._fresh and not self._returned:
            return None
        entry = self._pop()
        if self._may_expire:
            self._set_timer()
        return entry

    def message_count(self) -> int:
        """How many messages are ready."""
        if self._may_expire:
            self._drop_expired()
        return len(self._fresh) + len(self._returned)

    def settle(self, entry: Entry) -> None:
        """A message that was handed out is acknowledged.

        Next: `Receiver.settled` if the receiver has a limit, else `Consumer.wake`.
        """
        self._usage.bytes -= len(entry.message.body) + ENTRY_BYTES
        consumer = entry.consumer
        if consumer is not None:
            consumer.unacked -= 1
            consumer.receiver.outstanding -= 1

    def reject(self, entry: Entry) -> None:
        """A message that was handed out is rejected for good. Next: as for `settle`."""
        self.settle(entry)

    def requeue(self, entry: Entry) -> None:
        """A message that was handed out is ready again, in its place. Next: `run`."""
        consumer = entry.consumer
        if consumer is not None:
            consumer.unacked -= 1
            consumer.receiver.outstanding -= 1
            entry.consumer = None
        if self.deleted:
            self._usage.bytes -= len(entry.message.body) + ENTRY_BYTES
            return
        entry.redelivered = True
        heapq.heappush(self._returned, (entry.position, entry))
        if entry.expires_at is not None:
            self._may_expire = True
            self._set_timer()

    def purge(self) -> int:
        """Forget what is ready.

        Returns:
            How many messages that were.
        """
        count = self.message_count()
        self._forget(self._fresh)
        self._forget(entry for _, entry in self._returned)
        self._fresh.clear()
        self._returned.clear()
        self._may_expire = False
        return count

    def run(self) -> None:
        """Hand out what waits, for as long as there are messages and credit."""
        while self._fresh or self._returned:
            consumer = self._next_consumer()
            if consumer is None:
                break
            if self._may_expire:
                self._drop_expired()
                if not self._fresh and not self._returned:
                    return
            self._hand_out(self._pop(), consumer)
        if self._may_expire:
            self._set_timer()

    def _pop(self) -> Entry:
        if self._returned:
            return heapq.heappop(self._returned)[1]
        return self._fresh.popleft()

    def _hand_out(self, entry: Entry, consumer: Consumer) -> None:
        receiver = consumer.receiver
        if consumer.no_ack:
            self._usage.bytes -= len(entry.message.body) + ENTRY_BYTES
        else:
            entry.consumer = consumer
            consumer.unacked += 1
            receiver.outstanding += 1
        receiver.deliver(consumer, entry)

    def _forget(self, entries: Iterable[Entry]) -> None:
        self._usage.bytes -= sum(len(entry.message.body) + ENTRY_BYTES for entry in entries)

    # -- time ------------------------------------------------------------------------------

    def touch(self) -> None:
        """The queue is used: with `x-expires`, and without consumers, its time starts anew.

        Declaring it, getting from it, and the end of a channel that had messages of it count as
        use; publishing and acknowledging do not (RabbitMQ, "Time-To-Live", "Queue TTL").
        """
        if self._expires is None or self.consumers or self.deleted:
            return
        self._lapses_at = self._clock() + self._expires
        self._timers.at_latest(self, self._lapses_at)

    def on_time(self) -> None:
        """See `Timed`: the queue goes if nobody used it, or expired messages go."""
        if self._lapses_at is not None and self._lapses_at <= self._clock():
            self._home.lapsed(self)
            return
        if self._may_expire:
            self._drop_expired(EXPIRED_AT_ONCE)
        self._set_timer()

    def _set_timer(self) -> None:
        """Wait for the next thing to do: the first message expires, or the queue lapses."""
        if self._lapses_at is not None:
            self._timers.at_latest(self, self._lapses_at)
        if self._fresh or self._returned:
            first = self._returned[0][1] if self._returned else self._fresh[0]
            if first.expires_at is not None:
                self._timers.at_latest(self, first.expires_at)

    def _expires_some_time(self, ttl: float) -> None:
        """A message with a time to live was kept."""
        self._may_expire = True
        if ttl <= 0:
            self._drop_expired()
        self._set_timer()

    def _drop_expired(self, limit: int = -1) -> None:
        """Expired messages go when they reach the front, at most so many at once."""
        now = self._clock()
        while self._fresh or self._returned:
            entry = self._returned[0][1] if self._returned else self._fresh[0]
            if entry.expires_at is None or entry.expires_at > now or not limit:
                return
            limit -= 1
            self._expire(self._pop())
        self._may_expire = False

    def _expire(self, entry: Entry) -> None:
        self._usage.bytes -= len(entry.message.body) + ENTRY_BYTES

    # -- consumers -------------------------------------------------------------------------

    def add_consumer(self, consumer: Consumer) -> None:
        """Subscribe a consumer. Next: answer basic.consume, then `run`.

        Raises:
            AccessRefused: the queue is in exclusive use, or is to be and has consumers, or lets
                one consumer at a time have messages anyway.
        """
        if self.exclusive_consumer is not None or (
            consumer.exclusive and (self.consumers or self._single_active)
        ):
            raise fault(AccessRefused, f"{self.texts} in exclusive use")
        if consumer.exclusive:
            self.exclusive_consumer = consumer
        self.consumers[consumer] = None
        self.had_consumers = True
        self._lapses_at = None
        consumer.active = True
        if not self._single_active:
            self.rejoin(consumer)
        elif self.active_consumer is None:
            self.active_consumer = consumer
            self.rejoin(consumer)

    def remove_consumer(self, consumer: Consumer) -> bool:
        """Cancel a consumer; what it has stays with it until it is settled or requeued.

        Next: `run`, since another one may be the active consumer now.

        Returns:
            Whether the queue is to be deleted now, because it is `auto_delete`.
        """
        if not consumer.active:
            return False
        self._take_out(consumer)
        if self.consumers:
            if self._single_active and self.active_consumer is None:
                self._activate()
            return False
        self.touch()
        return self.auto_delete

    def delete(self) -> int:
        """The queue is gone: its consumers are cancelled, its messages forgotten.

        Returns:
            How many messages were ready.
        """
        count = self.purge()
        self.deleted = True
        self._lapses_at = None
        self._timers.cancel(self)
        for consumer in list(self.consumers):
            self._take_out(consumer)
            consumer.receiver.cancelled(consumer)
        return count

    def _take_out(self, consumer: Consumer) -> None:
        consumer.active = False
        del self.consumers[consumer]
        if self.exclusive_consumer is consumer:
            self.exclusive_consumer = None
        if consumer.parked:
            consumer.parked = False
            del consumer.receiver.parked[consumer]
        elif not self._single_active or self.active_consumer is consumer:
            self._levels[consumer.priority].remove(consumer)
        if self.active_consumer is consumer:
            self.active_consumer = None

    def _activate(self) -> None:
        """The next one is the single active consumer: the oldest of the highest priority."""
        self.active_consumer = max(self.consumers, key=lambda consumer: consumer.priority)
        self.rejoin(self.active_consumer)

    def rejoin(self, consumer: Consumer) -> None:
        """Into the rotation, last in turn. Next: `run`."""
        level = self._levels.get(consumer.priority)
        if level is None:
            self._levels[consumer.priority] = level = deque()
            self._levels = dict(sorted(self._levels.items(), reverse=True))
        level.append(consumer)

    def _next_consumer(self) -> Consumer | None:
        """Whose turn it is; consumers without credit are parked on the way."""
        for rotation in self._levels.values():
            while rotation:
                consumer = rotation[0]
                if consumer.can_take():
                    if len(rotation) > 1:
                        rotation.rotate(-1)
                    return consumer
                rotation.popleft()
                consumer.parked = True
                consumer.receiver.parked[consumer] = None
        return None
