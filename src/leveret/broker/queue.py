"""The queue engine: messages in order, consumers in turn. Pure: no bytes, no sockets, no clock.

A message enters a queue as an `Entry` with a position, its number in the order of arrival. It is
handed to a consumer at once if one can take it, and waits otherwise. Every entry that was ever
handed out has a lower position than all that never were; so those that come back wait in a heap
of their own, in front, and a message that is requeued is where it was (RabbitMQ, "Queues",
"Message Ordering").

Consumers take turns. One that has no credit is *parked*: taken out of the rotation until an
acknowledgement, or room in its transport, gives it credit again. So the cost of a message
depends neither on how many deliveries are unacknowledged nor on how many consumers wait for
credit. Credit has three parts (RabbitMQ, "Consumer Prefetch"):

- the consumer's own prefetch: deliveries of this consumer not settled yet;
- the receiver's limit, shared by all consumers of a channel (`basic.qos` with `global`);
- `Receiver.ready`: whether bytes may be written now at all.

Consumers that do not acknowledge know only the last one. Those with a higher `x-priority` go
first for as long as they have credit (RabbitMQ, "Consumer Priorities").

A `Receiver` is where deliveries go: a channel of a session. The session drives the queue:
`publish`, `take`, `settle`, `requeue`, and `run` after anything that may have set free messages
or credit. A queue never calls itself from `Receiver.deliver`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from ..exceptions import AccessRefused
from ..wire import Content
from .faults import fault

__all__ = ["Consumer", "Entry", "Queue", "Receiver", "Usage"]

ENTRY_BYTES = 400
"""What an entry without a body takes, in bytes: measured over 100,000 of them, CPython 3.11."""


class Usage:
    """How many bytes the messages of a broker hold, estimated.

    A message in three queues counts three times, though its body is there once.
    """

    __slots__ = ("bytes",)

    def __init__(self) -> None:
        self.bytes = 0


class Entry:
    """A message in a queue, ready or handed out.

    Attributes:
        message: what was published; shared by all the queues that it went to.
        queue: where it is.
        position: its place in the order of arrival, from 0.
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


class Receiver:
    """Where deliveries go: a channel.

    Attributes:
        ready: whether a delivery may be written now; `resume` is called when it turns true.
        limit: deliveries that all consumers together may have unsettled; 0 for any number.
        outstanding: how many they have.
        parked: the consumers out of rotation, oldest first.
    """

    __slots__ = ("limit", "outstanding", "parked", "ready")

    def __init__(self) -> None:
        self.ready = True
        self.limit = 0
        self.outstanding = 0
        self.parked: dict[Consumer, None] = {}

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """Hand out a message. Must not call the queue."""
        raise NotImplementedError

    def cancelled(self, consumer: Consumer) -> None:
        """The consumer's queue is gone. Must not call the queue."""
        raise NotImplementedError

    def resume(self) -> None:
        """There is room: let parked consumers go on, for as long as there is."""
        for consumer in list(self.parked):
            if not self.ready:
                return
            consumer.wake()

    def settled(self) -> None:
        """The limit has credit: let consumers go on that wait for it, for as long as there is."""
        for consumer in list(self.parked):
            if self.limit and self.outstanding >= self.limit:
                return
            consumer.wake()


class Consumer:
    """A subscription of a receiver to a queue.

    Attributes:
        tag: its name on its channel.
        queue, receiver: what it joins.
        no_ack: whether a delivery counts as settled at once.
        exclusive: whether it is to be the queue's only consumer.
        prefetch: deliveries it may have unsettled; 0 for any number.
        priority: higher ones go first.
        arguments: as given to basic.consume.
        unacked: its deliveries not settled yet.
        parked: whether it is out of rotation.
        active: false once it is cancelled.
    """

    __slots__ = (
        "active",
        "arguments",
        "exclusive",
        "no_ack",
        "parked",
        "prefetch",
        "priority",
        "queue",
        "receiver",
        "tag",
        "unacked",
    )

    def __init__(
        self,
        tag: str,
        queue: Queue,
        receiver: Receiver,
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        prefetch: int = 0,
        priority: int = 0,
        arguments: Mapping[str, object] | None = None,
    ) -> None:
        self.tag = tag
        self.queue = queue
        self.receiver = receiver
        self.no_ack = no_ack
        self.exclusive = exclusive
        self.prefetch = prefetch
        self.priority = priority
        self.arguments = arguments or {}
        self.unacked = 0
        self.parked = False
        self.active = False

    def can_take(self) -> bool:
        """Whether it has credit for one more delivery."""
        receiver = self.receiver
        if not receiver.ready:
            return False
        if self.no_ack:
            return True
        if self.prefetch and self.unacked >= self.prefetch:
            return False
        return not receiver.limit or receiver.outstanding < receiver.limit

    def wake(self) -> None:
        """Go on, if it was parked and has credit again."""
        if self.parked and self.can_take():
            self.parked = False
            del self.receiver.parked[self]
            self.queue.rejoin(self)
            self.queue.run()


class Queue:
    """A queue.

    Args:
        name: its name; texts: how error texts name it.
        durable, auto_delete, arguments: as declared.
        owner: the connection that it is exclusive to, None if it is not.
        usage: where its bytes are counted.
        clock: gives the present in seconds, for messages that expire.

    Attributes:
        consumers: in the order of subscription.
        deleted: true once it is gone; then whatever is settled or requeued is forgotten.
        had_consumers: whether it ever had one, for auto_delete.
        exclusive_consumer: the one that shuts out others.
    """

    __slots__ = (
        "_clock",
        "_fresh",
        "_levels",
        "_may_expire",
        "_next_position",
        "_returned",
        "_usage",
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
        usage: Usage | None = None,
        clock: Callable[[], float] = lambda: 0.0,
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
        self.deleted = False
        self._usage = usage or Usage()
        self._clock = clock
        self._may_expire = False
        self._next_position = 0
        self._fresh: deque[Entry] = deque()  # never handed out
        self._returned: list[tuple[int, Entry]] = []  # a heap; all of it before all of _fresh
        self._levels: dict[int, deque[Consumer]] = {0: deque()}  # by priority, highest first

    def __repr__(self) -> str:
        ready = len(self._fresh) + len(self._returned)
        return f"<Queue {self.name!r} ready={ready} consumers={len(self.consumers)}>"

    # -- messages --------------------------------------------------------------------------

    def publish(self, message: Content, expires_at: float | None = None) -> None:
        """A message arrives: hand it out, or keep it.

        Args:
            message: what was published.
            expires_at: when it is no longer wanted, on the clock of the queue.
        """
        entry = Entry(message, self, self._next_position, expires_at)
        self._next_position += 1
        self._usage.bytes += len(message.body) + ENTRY_BYTES
        if not self._fresh and not self._returned:
            consumer = self._next_consumer()
            if consumer is not None:
                self._hand_out(entry, consumer)
                return
        if expires_at is not None:
            self._may_expire = True
        self._fresh.append(entry)

    def take(self) -> Entry | None:
        """The first message, for basic.get; it has no consumer. None when there is none."""
        if self._may_expire:
            self._drop_expired()
        return self._pop() if self._fresh or self._returned else None

    def message_count(self) -> int:
        """How many messages are ready."""
        if self._may_expire:
            self._drop_expired()
        return len(self._fresh) + len(self._returned)

    def settle(self, entry: Entry) -> None:
        """A message that was handed out is done with: acknowledged, or rejected for good.

        Next: `Receiver.settled` if the receiver has a limit, else `Consumer.wake`.
        """
        self._usage.bytes -= len(entry.message.body) + ENTRY_BYTES
        consumer = entry.consumer
        if consumer is not None:
            consumer.unacked -= 1
            consumer.receiver.outstanding -= 1

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
        if entry.expires_at is not None:
            self._may_expire = True
        heapq.heappush(self._returned, (entry.position, entry))

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
                return
            if self._may_expire:
                self._drop_expired()
                if not self._fresh and not self._returned:
                    return
            self._hand_out(self._pop(), consumer)

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

    def _drop_expired(self) -> None:
        """Expired messages go when they reach the front (RabbitMQ, "Time-To-Live")."""
        now = self._clock()
        while self._fresh or self._returned:
            entry = self._returned[0][1] if self._returned else self._fresh[0]
            if entry.expires_at is None or entry.expires_at > now:
                return
            self._forget([self._pop()])
        self._may_expire = False

    # -- consumers -------------------------------------------------------------------------

    def add_consumer(self, consumer: Consumer) -> None:
        """Subscribe a consumer. Next: answer basic.consume, then `run`.

        Raises:
            AccessRefused: the queue is in exclusive use, or is to be and has consumers.
        """
        if self.exclusive_consumer is not None or (consumer.exclusive and self.consumers):
            raise fault(AccessRefused, f"{self.texts} in exclusive use")
        if consumer.exclusive:
            self.exclusive_consumer = consumer
        self.consumers[consumer] = None
        self.had_consumers = True
        consumer.active = True
        self.rejoin(consumer)

    def remove_consumer(self, consumer: Consumer) -> bool:
        """Cancel a consumer; what it has stays with it until it is settled or requeued.

        Returns:
            Whether the queue is to be deleted now, because it is `auto_delete`.
        """
        if not consumer.active:
            return False
        self._take_out(consumer)
        return self.auto_delete and not self.consumers

    def delete(self) -> int:
        """The queue is gone: its consumers are cancelled, its messages forgotten.

        Returns:
            How many messages were ready.
        """
        count = self.purge()
        self.deleted = True
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
        else:
            self._levels[consumer.priority].remove(consumer)

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
