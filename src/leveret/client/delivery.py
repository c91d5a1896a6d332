"""A message as the user gets it, and how it is settled.

`owner` is what the delivery belongs to: its consumer, or the channel for basic.get. Settling
puts the delivery into the hands of `SETTLED`, so that a second settling finds an owner that
refuses, without a flag of its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Protocol

from .. import wire
from ..exceptions import DeliverySettledError

__all__ = ["SETTLED", "Delivery", "Owner"]


class Owner(Protocol):
    """What can settle deliveries."""

    def ack(self, delivery: Delivery, multiple: bool) -> None:
        """Acknowledge."""

    def nack(self, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        """Refuse with basic.nack."""

    def reject(self, delivery: Delivery, requeue: bool) -> None:
        """Refuse with basic.reject."""

    def is_lost(self, delivery: Delivery) -> bool:
        """Whether the broker has taken the delivery back."""


class _Settled:
    """The owner of deliveries that are settled."""

    def _refuse(self, delivery: Delivery) -> DeliverySettledError:
        return DeliverySettledError(f"delivery {delivery.delivery_tag} is settled already")

    def ack(self, delivery: Delivery, multiple: bool) -> None:
        raise self._refuse(delivery)

    def nack(self, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        raise self._refuse(delivery)

    def reject(self, delivery: Delivery, requeue: bool) -> None:
        raise self._refuse(delivery)

    def is_lost(self, delivery: Delivery) -> bool:
        return False


SETTLED = _Settled()


class Delivery(wire.Delivery):
    """A message from the broker, by a consumer or by `get`.

    Attributes:
        body: bytes.
        properties: `Properties`, decoded at the first look.
        exchange, routing_key: as published.
        redelivered: whether the broker has delivered it before.
        delivery_tag: its number on the channel.
        consumer_tag: None for `get`.
        message_count: messages left in the queue, for `get`; else None.
    """

    __slots__ = ()

    owner: Owner

    def ack(self, *, multiple: bool = False) -> None:
        """Say that the message was handled. Does not wait (AMQP 0-9-1, basic.ack).

        Args:
            multiple: all deliveries of the channel up to this one.

        Raises:
            DeliverySettledError: settled before, taken back, or delivered without need of acks.
            ChannelClosedError, ConnectionClosedError: too late; the broker requeues it.
        """
        self.owner.ack(self, multiple)

    def nack(self, *, requeue: bool = True, multiple: bool = False) -> None:
        """Give the message back (RabbitMQ, "Negative Acknowledgements").

        Args:
            requeue: True puts it back into its queue, False drops or dead-letters it.
            multiple: all deliveries of the channel up to this one.

        Raises:
            DeliverySettledError, ChannelClosedError, ConnectionClosedError: as `ack`.
        """
        self.owner.nack(self, multiple, requeue)

    def reject(self, *, requeue: bool = True) -> None:
        """Refuse the message (AMQP 0-9-1, basic.reject): as `nack`, one at a time.

        Args:
            requeue: True puts it back into its queue, False drops or dead-letters it.

        Raises:
            DeliverySettledError, ChannelClosedError, ConnectionClosedError: as `ack`.
        """
        self.owner.reject(self, requeue)

    @property
    def headers(self) -> Mapping[str, object]:
        """The headers; empty where the message has none."""
        return self.properties.headers or {}

    @property
    def lost(self) -> bool:
        """Whether settling is too late: the broker gives the message to somebody else."""
        return self.owner.is_lost(self)

    def __repr__(self) -> str:
        return (
            f"<Delivery {self.delivery_tag} exchange={self.exchange!r} "
            f"routing_key={self.routing_key!r} {len(self.body)} bytes>"
        )
