"""Consumers and where their deliveries go. Pure: no bytes, no sockets, no clock.

A consumer that has no credit is *parked*: taken out of the rotation of its queue until an
acknowledgement, or room in its transport, gives it credit again. Credit has three parts
(RabbitMQ, "Consumer Prefetch"):

- the consumer's own prefetch: deliveries of this consumer not settled yet;
- the receiver's limit, shared by all consumers of a channel (`basic.qos` with `global`);
- `Receiver.ready`: whether bytes may be written now at all.

Consumers that do not acknowledge know only the last one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .queue import Entry, Queue

__all__ = ["Consumer", "Receiver"]


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
