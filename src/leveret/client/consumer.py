"""The inner side of a consumer: what the protocol delivers to, and what settles.

The user holds a `Consumer` of one of the clients, the protocol holds a `Subscription`: so a
consumer that its user drops can be told from one in use, and is cancelled.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from .. import protocol, wire
from ..exceptions import (
    ChannelClosedError,
    ConsumerCancelled,
    DeliverySettledError,
    LeveretError,
    LocalProtocolError,
)
from .delivery import SETTLED, Delivery

if TYPE_CHECKING:
    from ..protocol.settle import Acks, SettleTracker
    from .channel import BaseChannel
    from .core import Waiter

__all__ = ["Subscription", "hastened"]

T = TypeVar("T")

BUFFER_LIMIT = 10_000  # deliveries that may wait for a consumer without a prefetch
BUFFER_BYTES = 33_554_432  # bytes of their bodies
FIRST_CHECK = 16  # deliveries; their bytes are counted here, and each time they have doubled
NEVER = 2**30 - 1  # deliveries; a number that compiled code reads without a call
AMPLE = 256  # prefetch with which a broker is not held up by reads that come a little later


class Subscription(wire.Inbox):
    """The deliveries of one consumer, or of basic.get, on one channel.

    A prefetch bounds what waits here. Without one the transport stops reading when it is too
    much, which holds up the whole connection but for callers that wait for an answer.

    Attributes:
        channel: the client's channel.
        queue: as it was asked for.
        consumer_tag: empty until the broker has named it.
        no_ack: whether deliveries need no settling.
        deliveries: received and not taken yet.
        waiters: those who wait for a delivery; None where nobody does.
        ended: no delivery comes any more; `error` says why, None where the user did it.
        closed_by_user: how, where the user closed the channel or the connection; else empty.
        on_cancel: called once with `error` when it ends otherwise than by the user's cancel.
        full: the transport was asked to stop reading.
        limit: how many deliveries want a look at whether they are too many.
        check_at: the same; 0 while somebody waits, and after the end.
        resume_at: how few let the transport read again.
    """

    __slots__ = (
        "channel",
        "closed_by_user",
        "consumer_tag",
        "ended",
        "error",
        "limit",
        "on_cancel",
        "queue",
        "resume_at",
        "waiters",
    )

    acks: Acks
    unsettled: SettleTracker

    def __init__(self, channel: BaseChannel, queue: str, no_ack: bool) -> None:
        self.channel = channel
        self.unsettled = channel.protocol.unsettled
        self.acks = channel.core.protocol.acks
        self.queue = queue
        self.consumer_tag = ""
        self.no_ack = no_ack
        self.deliveries: wire.Queue[Delivery] = wire.Queue()
        self.waiters: list[Waiter] | None = None
        self.ended = False
        self.error: LeveretError | None = None
        self.closed_by_user = ""
        self.on_cancel: Callable[[LeveretError | None], object] | None = None
        self.full = False
        self.limit = self.check_at = NEVER
        self.resume_at = 0

    def is_unlimited(self) -> None:
        """No prefetch bounds what the broker sends: the buffer has to be watched."""
        self._check_from(FIRST_CHECK)

    def _check_from(self, limit: int) -> None:
        self.limit = limit
        self.check_at = 0 if self.ended or self.waiters is not None else limit

    def is_ample(self) -> bool:
        """Whether the broker sends so many ahead that it need not be asked for each few."""
        return self.no_ack or self.unsettled.prefetch >= AMPLE

    # -- from the protocol -----------------------------------------------------------------

    def receive(self, deliveries: list[Delivery]) -> None:
        """Deliveries have come."""
        if self.ended:
            self.give_back(deliveries)
            return
        self.deliveries.extend(deliveries)
        if self.waiters is not None:
            self._wake(len(deliveries))
        if len(self.deliveries) >= self.limit:
            self._check_room()

    def _wake(self, count: int) -> None:
        waiters = self.waiters or []
        for waiter in waiters[:count]:
            waiter.set_result(None)
        self.waiters = waiters[count:] or None
        if self.waiters is None and not self.ended:
            self.check_at = self.limit

    def _check_room(self) -> None:
        waiting = list(self.deliveries)  # a copy: they are taken without a lock
        if (
            len(waiting) < BUFFER_LIMIT
            and sum(len(delivery.body) for delivery in waiting) < BUFFER_BYTES
        ):
            self._check_from(min(2 * len(waiting), BUFFER_LIMIT))
            return
        self.full = True
        self._check_from(NEVER)
        self.resume_at = len(waiting) // 2
        core = self.channel.core
        words = "consumer %r has %d deliveries waiting"
        core.log_soon(logging.DEBUG, words, self.consumer_tag, len(waiting))
        core.pause_receiving(self)

    def has_room(self) -> bool:
        """Whether a full buffer is empty enough to go on."""
        return len(self.deliveries) <= self.resume_at

    def resume(self) -> None:
        """Look again whether there is room, and go on if there is."""
        if self.full and self.has_room():
            self.full = False
            self._check_from(FIRST_CHECK)
            self.channel.core.unpause_receiving(self)

    def cancelled_by_broker(self) -> None:
        """basic.cancel from the broker: what is here may still be handled, then it says so."""
        self.end(ConsumerCancelled(self.consumer_tag, self.queue))
        self._say_so()

    def channel_ended(self, error: LeveretError | None) -> None:
        """The channel is gone, and with it what was not settled."""
        if not self.no_ack:
            self.deliveries.clear()
        if not self.ended:
            if error is None:
                alone = self.channel.core.protocol.state is protocol.State.OPEN
                self.closed_by_user = "was closed" if alone else "was closed with its connection"
            self.end(error)
            self._say_so()

    def _say_so(self) -> None:
        callback, self.on_cancel = self.on_cancel, None
        if callback is not None:
            self.channel.core.call_soon(callback, self.error)

    def set_on_cancel(self, callback: Callable[[LeveretError | None], object] | None) -> None:
        """Set `on_cancel`; of a consumer that the broker or its channel has ended, call it."""
        self.on_cancel = callback
        if self.error is not None:
            self._say_so()

    def end(self, error: LeveretError | None) -> None:
        """No delivery comes any more."""
        if self.ended:
            return
        self.ended = True
        self.check_at = 0
        self.error = error
        if self.full:
            self.full = False
            self.channel.core.unpause_receiving(self)
        if self.waiters is not None:
            self._wake(len(self.waiters))

    def cancelled(self) -> None:
        """cancel-ok: give back what nobody has taken. Without acks it stays to be taken."""
        self.end(None)
        if not self.no_ack:
            waiting = []
            with contextlib.suppress(IndexError):
                while True:  # one by one: another thread may be taking them, too
                    waiting.append(self.deliveries.popleft())
            self.give_back(waiting)

    def give_back(self, deliveries: list[Delivery]) -> None:
        """Requeue deliveries that no user has seen."""
        if self.no_ack:
            self.deliveries.extend(deliveries)
            return
        for delivery in deliveries:
            try:
                self.channel.protocol.give_back(delivery.delivery_tag)
            except LeveretError:
                return  # the channel is gone, and the broker requeues by itself

    # -- from who takes deliveries ---------------------------------------------------------

    def wants(self, waiter: Waiter) -> bool:
        """Register one who waits for a delivery; False where it need not wait."""
        if self.deliveries or self.ended:
            return False
        if self.waiters is None:
            self.waiters = [waiter]
        else:
            self.waiters.append(waiter)
        if self.limit != NEVER:
            self.limit = FIRST_CHECK
        self.check_at = 0
        return True

    def gives_up(self, waiter: Waiter) -> None:
        """A waiter has gone: if it was woken already, the next one takes what woke it."""
        if self.waiters is None:
            return
        if waiter in self.waiters:
            self.waiters.remove(waiter)
            self.waiters = self.waiters or None
            self._check_from(self.limit)
        elif self.deliveries:
            self._wake(1)

    # -- the owner of deliveries -----------------------------------------------------------

    def ack(self, delivery: Delivery, multiple: bool) -> None:
        """See `delivery.Owner`. Takes no lock: an ack is most of what a consumer costs."""
        unsettled = self.unsettled
        if multiple or self.no_ack or not unsettled.gathers:
            self.channel.core.ack(self, delivery, multiple)
            return
        acks = self.acks
        acks.waiting.append((unsettled, delivery.delivery_tag))
        if not acks.noted:
            try:
                self.channel.core.acks_waiting()
            except LeveretError:
                acks.waiting.remove((unsettled, delivery.delivery_tag))
                raise
        delivery.owner = SETTLED

    def nack(self, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        """See `delivery.Owner`."""
        self.channel.core.nack(self, delivery, multiple, requeue)

    def reject(self, delivery: Delivery, requeue: bool) -> None:
        """See `delivery.Owner`."""
        self.channel.core.reject(self, delivery, requeue)

    def is_lost(self, delivery: Delivery) -> bool:
        """See `delivery.Owner`."""
        return not self.no_ack and (
            not self.channel.is_open or self.unsettled.is_lost(delivery.delivery_tag)
        )

    def check_settle(self, delivery: Delivery) -> None:
        """Raise where settling makes no sense.

        Raises:
            DeliverySettledError: no_ack, or taken back by basic.recover.
        """
        if self.no_ack:
            raise DeliverySettledError(
                f"delivery {delivery.delivery_tag} came without need of an ack (no_ack)"
            )
        if self.unsettled.is_lost(delivery.delivery_tag):
            raise DeliverySettledError(
                f"delivery {delivery.delivery_tag} was taken back by basic.recover"
            )

    def ending(self) -> LeveretError | None:
        """Why there is nothing to take any more; None for a cancel or close by the user."""
        error = self.error
        if error is None or isinstance(error, ConsumerCancelled):
            return error
        return ChannelClosedError(f"channel {self.channel.number} is closed", error)

    def ended_by_user(self) -> LocalProtocolError:
        """What to tell who waits for a delivery after the user's own cancel or close."""
        if self.closed_by_user:
            return ChannelClosedError(f"channel {self.channel.number} {self.closed_by_user}")
        return LocalProtocolError(f"consumer {self.consumer_tag!r} was cancelled")


wire.hasten_ack(Delivery, Subscription, SETTLED)


def hastened(consumer_class: type[T]) -> type[T]:
    """Have a consumer that is not awaited take most deliveries without a step in Python."""
    if hasattr(consumer_class, "__next__"):
        wire.hasten_next(consumer_class, "_subscription")
    return consumer_class
