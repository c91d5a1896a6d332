"""The part of a channel that both clients share: its state, and what takes its messages."""

from __future__ import annotations

import sys
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .. import protocol, wire
from ..exceptions import ConfigurationError, LeveretError
from .consumer import Subscription
from .core import NOBODY
from .deadline import Deadline
from .delivery import Delivery
from .publisher import Window

if TYPE_CHECKING:
    from .core import Waiter

__all__ = ["DEFAULT_PREFETCH", "BaseChannel", "check_prefetch"]

DEFAULT_PREFETCH = 100


def check_prefetch(prefetch: int) -> None:
    """Raise where it fits no field of basic.qos.

    Raises:
        ConfigurationError: with what was expected.
    """
    if not 0 <= prefetch <= 65535:
        raise ConfigurationError(f"prefetch is {prefetch}: expected 0 (no limit) to 65535")


class BaseChannel:
    """One channel.

    Attributes:
        core: the connection's inside.
        protocol: the channel's inside.
        has_global_prefetch: whether basic.qos has set a limit for the channel as a whole.
        on_return: called with each returned message that belongs to no confirmed publish.
        window: the publishes of `publish_nowait`.
        confirm_waiters: who waits for all publishes to have their outcome.
    """

    def __init__(self, core: Any) -> None:
        self.core = core
        self.protocol: protocol.ClientChannel
        self.on_return: Callable[[wire.Returned], object] | None = None
        self.confirm_waiters: list[Waiter] = []
        self.window = Window(sys.maxsize)
        self.subscriptions: dict[str, Subscription] = {}
        self._gets: dict[bool, Subscription] = {}
        self._kept: dict[str, deque[Delivery]] = {}
        self._prefetch: int | None = None
        self.has_global_prefetch = False

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.protocol.state.value}>"

    @property
    def number(self) -> int:
        """The channel number on its connection."""
        return self.protocol.number

    @property
    def is_open(self) -> bool:
        """Whether the channel takes operations."""
        return self.protocol.state is protocol.ChannelState.OPEN

    @property
    def close_reason(self) -> LeveretError | None:
        """Why the channel ended; None while it is open and after an ordinary close."""
        return self.protocol.error

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of one operation: `timeout` or the connection's default, in seconds."""
        return Deadline(self.core.parameters.timeout if timeout is None else timeout)

    # -- from the core ---------------------------------------------------------------------

    def ended(self, error: LeveretError | None) -> None:
        """The channel has ended."""
        for subscription in list(self.subscriptions.values()):
            subscription.channel_ended(error)
        self.subscriptions.clear()
        for subscription in self._gets.values():
            subscription.channel_ended(error)
        self.confirmed()

    def confirmed(self) -> None:
        """A publish has its outcome: wake those who wait for the last."""
        if not self.protocol.confirms:
            waiters, self.confirm_waiters = self.confirm_waiters, []
            for waiter in waiters:
                waiter.set_result(None)

    def wants_confirms(self, waiter: Waiter) -> bool:
        """Register one who waits for all publishes to have their outcome."""
        if not self.protocol.confirms:
            return False
        self.confirm_waiters.append(waiter)
        return True

    def gives_up_confirms(self, waiter: Waiter) -> None:
        """One who waited for that has gone."""
        if waiter in self.confirm_waiters:
            self.confirm_waiters.remove(waiter)

    def keep(self, queue: str, delivery: Delivery) -> None:
        """A message got without ack whose caller has gone: the next `get` takes it."""
        self._kept.setdefault(queue, deque()).append(delivery)

    # -- for the clients -------------------------------------------------------------------

    def kept(self, queue: str) -> Delivery | None:
        """A message that was kept for the next `get` of `queue`."""
        waiting = self._kept.get(queue)
        return waiting.popleft() if waiting else None

    def in_order(self, queue: str, delivery: Delivery | None) -> Delivery | None:
        """What a `get` gives that has brought `delivery`: the reply to an earlier one, given up
        while this one waited, comes before it.
        """
        kept = self.kept(queue)
        if kept is None:
            return delivery
        if delivery is not None:
            self.keep(queue, delivery)
        return kept

    def got(self, queue: str, no_ack: bool, delivery: Delivery) -> Delivery:
        """Give a message of basic.get its owner."""
        owner = self._gets.get(no_ack)
        if owner is None:
            owner = self._gets[no_ack] = Subscription(self, queue, no_ack)
        delivery.owner = owner
        return delivery

    def prefetch_to_set(self, wanted: int | None) -> int | None:
        """The prefetch to ask for before a consumer starts; None where it is in force already.

        Args:
            wanted: messages; None leaves it to what basic_qos has set, or to the default.
        """
        if wanted is None:
            if self._prefetch is None and self.has_global_prefetch:
                return None  # RabbitMQ 3 would lift the channel's limit
            wanted = DEFAULT_PREFETCH if self._prefetch is None else self._prefetch
        check_prefetch(wanted)
        if wanted == self._prefetch:
            return None
        self._prefetch = wanted
        return wanted

    def send_qos(self, method: wire.BasicQos, waiter: Waiter, owner: object) -> None:
        """Send basic.qos: it is in force for what is sent after it."""
        self.protocol.send_request(method, waiter, owner)
        if method.global_:
            self.has_global_prefetch = method.prefetch_count > 0
        else:
            self._prefetch = method.prefetch_count

    def send_consume(
        self, prefetch: int | None, method: wire.Method, waiter: Waiter, owner: Subscription
    ) -> None:
        """Send basic.qos, if need be, and basic.consume: nothing of another consumer that starts
        at the same time may come in between.
        """
        set_to = self.prefetch_to_set(prefetch)
        if set_to is not None:
            self.protocol.send_request(wire.BasicQos(0, set_to, False), NOBODY)
        if not self.is_limited(owner.no_ack):
            owner.is_unlimited()
        self.protocol.send_request(method, waiter, owner)

    def is_limited(self, no_ack: bool) -> bool:
        """Whether a prefetch bounds what the broker sends to a consumer started now."""
        return not no_ack and self._prefetch != 0
