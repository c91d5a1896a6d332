"""The publishing half of a channel, the broker's end: messages, confirms, transactions.

Publishes are settled as they are read, since queues are in memory: confirms are therefore only
counted here, and leave as one `multiple` ack when the session has read all that was there. A
publish that a full queue refused (`x-overflow`) is a nack, in its place among the acks.

In a transaction publishes are routed when they come and enter their queues at commit (AMQP
0-9-1, 1.9; RabbitMQ, "Semantics of tx").
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum
from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import AccessRefused, NotFound, NotImplementedByPeer, PreconditionFailed
from ..protocol import ChannelState, ServerChannel
from .consumers import Receiver
from .exchanges import Exchange
from .faults import entity, fault
from .publishing import expiry, is_plain, routing_keys, with_properties, without_bcc
from .queue import Entry, Queue
from .replies import REPLY_QUEUE, REPLY_QUEUE_PREFIX, ReplyConsumer
from .vhost import VirtualHost

if TYPE_CHECKING:
    from .session import Session

__all__ = ["Outcome", "Publisher", "Transaction"]

_OPEN = ChannelState.OPEN


class Outcome(Enum):
    """What a client says of deliveries."""

    ACKNOWLEDGED = "acknowledged"
    REJECTED = "rejected"
    REQUEUED = "requeued"


class Transaction:
    """What waits for a commit."""

    __slots__ = ("publishes", "settled")

    def __init__(self) -> None:
        self.publishes: list[tuple[wire.Published, Sequence[Queue], float | None]] = []
        self.settled: list[tuple[dict[int, Entry], Outcome]] = []


class Publisher(Receiver):
    """What a channel does with messages from its client.

    Args:
        session: its connection.
        handle: its protocol, an attribute as well.
        host: the virtual host of the connection.
    """

    __slots__ = (
        "_confirming",
        "_published",
        "_reply_consumer",
        "_taken",
        "_transaction",
        "_unconfirmed",
        "handle",
        "host",
        "session",
    )

    def __init__(self, session: Session, handle: ServerChannel, host: VirtualHost) -> None:
        super().__init__()
        self.session = session
        self.handle = handle
        self.host = host
        self._reply_consumer: ReplyConsumer | None = None
        self._confirming = False
        self._published = 0  # in confirm mode
        self._unconfirmed = 0  # of them, how many the client was not told of yet
        self._taken = True  # those, by the queues
        self._transaction: Transaction | None = None

    def send(self, method: wire.Method) -> None:
        """Send, unless the channel is closed."""
        if self.handle.state is _OPEN:
            self.handle.send_method(method)

    def publish(self, message: wire.Published) -> None:
        """A message from the client.

        Raises:
            AccessRefused: an internal exchange. NotFound: no such exchange.
            NotImplementedByPeer: `immediate`.
            PreconditionFailed: a property that the broker acts upon is not right, or the message
                is too large.
        """
        if message.immediate:
            raise fault(NotImplementedByPeer, "immediate=true")
        host = self.host
        exchange = host.exchanges.get(message.exchange)
        if exchange is None or exchange.internal or len(message.body) > self.session.max_message:
            raise self._refused(message, exchange)
        queues: Sequence[Queue] | None
        ttl = None
        if is_plain(message):
            queues = host.route(exchange, message.routing_key)
            if queues is None:
                headers = message.properties.headers or {}
                queues = host.route_all(exchange, (message.routing_key,), headers)
        else:
            message = self._with_reply_to(message)
            ttl = expiry(message.properties)
            keys = routing_keys(message)
            self._check_user(message.properties.user_id)
            message = without_bcc(message)
            queues = host.route_all(exchange, keys, message.properties.headers or {})
        if self._transaction is not None:
            self._transaction.publishes.append((message, queues, ttl))
            return
        taken = True
        if queues:
            for queue in queues:
                if not queue.publish(message, ttl):
                    taken = False
        else:
            self.unroutable(message)
        if self._confirming:
            if taken is not self._taken:
                self.send_confirms()
                self._taken = taken
            self._published += 1
            self._unconfirmed += 1
            if self._unconfirmed == 1:
                self.session.confirm_later(self)

    def _refused(self, message: wire.Published, exchange: Exchange | None) -> Exception:
        """Why a message may not go to an exchange."""
        size, limit = len(message.body), self.session.max_message
        if size > limit:
            words = f"message size {size} is larger than configured max size {limit}"
            return fault(PreconditionFailed, words)
        if exchange is None:
            return fault(NotFound, f"no {entity('exchange', message.exchange, self.host.name)}")
        return fault(AccessRefused, f"cannot publish to internal {exchange.texts}")

    def _check_user(self, user_id: str | None) -> None:
        user = self.session.user
        if user_id is not None and user_id != user:
            raise fault(
                PreconditionFailed,
                f"user_id property set to '{user_id}' but authenticated user was '{user}'",
            )

    def unroutable(self, message: wire.Published) -> None:
        """No queue is to have it: perhaps it is a direct reply, perhaps its publisher is told."""
        if message.routing_key.startswith(REPLY_QUEUE_PREFIX) and not message.exchange:
            if not self.session.replies.deliver(message) and message.mandatory:
                self._return(message)
        elif message.mandatory:
            self._return(message)

    def _return(self, message: wire.Published) -> None:
        if self.handle.state is _OPEN:
            self.handle.send_return(
                wire.ReplyCode.NO_ROUTE,
                "NO_ROUTE",
                message.exchange,
                message.routing_key,
                message.raw_properties,
                message.body,
            )

    def _with_reply_to(self, message: wire.Published) -> wire.Published:
        if message.properties.reply_to != REPLY_QUEUE:
            return message
        if self._reply_consumer is None:
            raise fault(PreconditionFailed, "fast reply consumer does not exist")
        properties = message.properties.replace(reply_to=self._reply_consumer.name)
        return with_properties(message, properties)

    def send_confirms(self) -> None:
        """Tell the client of the publishes since the last time; all were taken, or none."""
        count, self._unconfirmed = self._unconfirmed, 0
        if not count:
            return
        if not self._taken:
            self.send(wire.BasicNack(self._published, count > 1, True))
        elif self.handle.state is _OPEN:
            self.handle.send_ack(self._published, count > 1)

    # -- modes -----------------------------------------------------------------------------

    def confirm_select(self, method: wire.ConfirmSelect) -> None:
        """See `operations`."""
        if self._transaction is not None:
            raise fault(PreconditionFailed, "cannot switch from tx to confirm mode")
        self._confirming = True
        if not method.nowait:
            self.send(wire.ConfirmSelectOk())

    def tx_select(self, method: wire.TxSelect) -> None:
        """See `operations`."""
        if self._confirming:
            raise fault(PreconditionFailed, "cannot switch from confirm to tx mode")
        if self._transaction is None:
            self._transaction = Transaction()
        self.send(wire.TxSelectOk())

    def end_transaction(self) -> Transaction:
        transaction = self._transaction
        if transaction is None:
            raise fault(PreconditionFailed, "channel is not transactional")
        self._transaction = Transaction()
        return transaction
