"""One channel of a connection, the broker's end: methods in, answers and deliveries out.

A channel joins the protocol (`ServerChannel`) to a virtual host. It holds what AMQP keeps by
channel: consumers, deliveries not settled, prefetch, confirm or transaction mode. Everything
that a client may do wrong is raised as the error that RabbitMQ answers with; the session turns
it into channel.close or connection.close.

Publishes are settled as they are read, since queues are in memory: confirms are therefore only
counted here, and leave as one `multiple` ack when the session has read all that was there.
Deliveries not settled are found by tag; those of a `multiple` ack by counting up from the lowest
tag that may be open, so that each tag is visited twice at most.

In a transaction publishes are routed when they come and enter their queues at commit; settled
deliveries are put aside, and come back at rollback (AMQP 0-9-1, 1.9; RabbitMQ, "Semantics of
tx").
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import (
    AccessRefused,
    EncodeError,
    NotAllowed,
    NotFound,
    NotImplementedByPeer,
    PreconditionFailed,
)
from ..protocol import ChannelState, ServerChannel
from .arguments import check_consumer_arguments, consumer_priority
from .faults import entity, fault
from .publishing import expiry, is_plain, routing_keys, with_properties, without_bcc
from .queue import Consumer, Entry, Queue, Receiver
from .replies import REPLY_QUEUE, ReplyConsumer
from .vhost import REPLY_QUEUE_PREFIX, Exchange, VirtualHost, generated_name

if TYPE_CHECKING:
    from .session import Session

__all__ = ["BrokerChannel"]

_OPEN = ChannelState.OPEN


class _Transaction:
    """What waits for a commit."""

    __slots__ = ("publishes", "settled")

    def __init__(self) -> None:
        self.publishes: list[tuple[wire.Published, Sequence[Queue], float | None]] = []
        self.settled: list[tuple[dict[int, Entry], bool]] = []  # and whether to requeue


class BrokerChannel(Receiver):
    """The broker's end of a channel.

    Args:
        session: its connection.
        handle: its protocol, an attribute as well.
        host: the virtual host of the connection.
    """

    __slots__ = (
        "_confirming",
        "_consumers",
        "_lowest",
        "_next_tag",
        "_prefetch",
        "_published",
        "_reply_consumer",
        "_transaction",
        "_unacked",
        "_unconfirmed",
        "handle",
        "host",
        "last_queue",
        "session",
    )

    def __init__(self, session: Session, handle: ServerChannel, host: VirtualHost) -> None:
        super().__init__()
        self.session = session
        self.handle = handle
        self.host = host
        self._consumers: dict[str, Consumer] = {}
        self._reply_consumer: ReplyConsumer | None = None
        self._unacked: dict[int, Entry] = {}
        self._next_tag = 1
        self._lowest = 1  # no delivery with a lower tag is unsettled
        self._prefetch = 0
        self.last_queue = ""
        self._confirming = False
        self._published = 0  # in confirm mode
        self._unconfirmed = 0  # of them, how many the client was not told of yet
        self._transaction: _Transaction | None = None

    def __repr__(self) -> str:
        return f"<BrokerChannel {self.handle.number} unacked={len(self._unacked)}>"

    def send(self, method: wire.Method) -> None:
        if self.handle.state is _OPEN:
            self.handle.send_method(method)

    # -- deliveries ------------------------------------------------------------------------

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        """See `Receiver`."""
        tag = self._next_tag
        self._next_tag = tag + 1
        if not consumer.no_ack:
            self._unacked[tag] = entry
        message = entry.message
        handle = self.handle
        if handle.state is _OPEN:
            try:
                handle.send_deliver(
                    consumer.tag,
                    tag,
                    entry.redelivered,
                    message.exchange,
                    message.routing_key,
                    message.raw_properties,
                    message.body,
                )
            except EncodeError as error:  # its properties do not fit the frames of this client
                self.session.fail_later(error)
            self.session.delivered()

    def deliver_reply(self, consumer_tag: str, message: wire.Published) -> None:
        """A message for the reply consumer of this channel (RabbitMQ, "Direct Reply-to")."""
        tag = self._next_tag
        self._next_tag = tag + 1
        if self.handle.state is _OPEN:
            try:
                self.handle.send_deliver(
                    consumer_tag,
                    tag,
                    False,
                    message.exchange,
                    message.routing_key,
                    message.raw_properties,
                    message.body,
                )
            except EncodeError as error:
                self.session.fail_later(error)
            self.session.delivered()

    def cancelled(self, consumer: Consumer) -> None:
        """See `Receiver`."""
        self._consumers.pop(consumer.tag, None)
        if self.session.has_capability("consumer_cancel_notify"):
            self.send(wire.BasicCancel(consumer.tag, True))
            self.session.delivered()

    def end(self) -> None:
        """The channel is closed: consumers go, what is unsettled is queued again."""
        self.ready = False
        if self._reply_consumer is not None:
            self.session.replies.remove(self._reply_consumer)
            self._reply_consumer = None
        for consumer in list(self._consumers.values()):
            self._remove(consumer)
        self._consumers.clear()
        entries = list(self._unacked.values())
        self._unacked.clear()
        if self._transaction is not None:
            for settled, _ in self._transaction.settled:
                entries += settled.values()
            self._transaction = None
        self._requeue(entries)

    # -- publishing ------------------------------------------------------------------------

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
        expires_at = None
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
            if ttl is not None:
                expires_at = self.session.clock() + ttl
            message = without_bcc(message)
            queues = host.route_all(exchange, keys, message.properties.headers or {})
        if self._transaction is None:
            self._enqueue(message, queues, expires_at)
        else:
            self._transaction.publishes.append((message, queues, expires_at))
        if self._confirming:
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

    def _enqueue(
        self, message: wire.Published, queues: Sequence[Queue], expires_at: float | None
    ) -> None:
        if queues:
            for queue in queues:
                queue.publish(message, expires_at)
        elif message.routing_key.startswith(REPLY_QUEUE_PREFIX) and not message.exchange:
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
        """Tell the client of the publishes since the last time."""
        count, self._unconfirmed = self._unconfirmed, 0
        if count and self.handle.state is _OPEN:
            self.handle.send_ack(self._published, count > 1)

    # -- settling --------------------------------------------------------------------------

    def _collect(self, tag: int, multiple: bool) -> dict[int, Entry]:
        """Take the deliveries that an ack, nack or reject means."""
        unacked = self._unacked
        if not multiple:
            entry = unacked.pop(tag, None)
            if entry is None:
                raise self._unknown_tag(tag)
            if tag == self._lowest:
                self._lowest = tag + 1
            return {tag: entry}
        if tag == 0:
            self._unacked = {}
            self._lowest = self._next_tag
            return unacked
        if tag not in unacked:
            raise self._unknown_tag(tag)
        found = {}
        for number in range(self._lowest, tag + 1):
            entry = unacked.pop(number, None)
            if entry is not None:
                found[number] = entry
        self._lowest = tag + 1
        return found

    @staticmethod
    def _unknown_tag(tag: int) -> Exception:
        return fault(PreconditionFailed, f"unknown delivery tag {tag}")

    def _settle(self, entries: Iterable[Entry]) -> None:
        consumers: dict[Consumer, None] = {}
        for entry in entries:
            entry.queue.settle(entry)
            if entry.consumer is not None:
                consumers[entry.consumer] = None
        self._wake(consumers)

    def _requeue(self, entries: Iterable[Entry]) -> None:
        consumers: dict[Consumer, None] = {}
        queues: dict[Queue, None] = {}
        for entry in entries:
            if entry.consumer is not None:
                consumers[entry.consumer] = None
            entry.queue.requeue(entry)
            queues[entry.queue] = None
        self._wake(consumers)
        for queue in queues:
            queue.run()

    def _wake(self, consumers: Iterable[Consumer]) -> None:
        """Let those go on that have credit again; under a limit that may be any of the channel."""
        if self.limit:
            self.settled()
            return
        for consumer in consumers:
            consumer.wake()

    def _finish(self, settled: dict[int, Entry], requeue: bool) -> None:
        if self._transaction is not None:
            self._transaction.settled.append((settled, requeue))
        elif requeue:
            self._requeue(settled.values())
        else:
            self._settle(settled.values())

    def basic_ack(self, method: wire.BasicAck) -> None:
        """See `operations`."""
        if not method.multiple and self._transaction is None:
            tag = method.delivery_tag
            entry = self._unacked.pop(tag, None)
            if entry is None:
                raise self._unknown_tag(tag)
            if tag == self._lowest:
                self._lowest = tag + 1
            entry.queue.settle(entry)
            if self.limit:
                self.settled()
            elif entry.consumer is not None and entry.consumer.parked:
                entry.consumer.wake()
            return
        self._finish(self._collect(method.delivery_tag, method.multiple), requeue=False)

    def basic_nack(self, method: wire.BasicNack) -> None:
        """See `operations`."""
        self._finish(self._collect(method.delivery_tag, method.multiple), method.requeue)

    def basic_reject(self, method: wire.BasicReject) -> None:
        """See `operations`."""
        self._finish(self._collect(method.delivery_tag, False), method.requeue)

    def basic_recover(self, method: wire.BasicRecover) -> None:
        """See `operations`: the answer comes before what is delivered again."""
        self._recover(method.requeue, wire.BasicRecoverOk())

    def basic_recover_async(self, method: wire.BasicRecoverAsync) -> None:
        """See `operations`."""
        self._recover(method.requeue, None)

    def _recover(self, requeue: bool, answer: wire.Method | None) -> None:
        if not requeue:
            raise fault(NotImplementedByPeer, "requeue=false")
        entries, self._unacked = self._unacked, {}
        self._lowest = self._next_tag
        if answer is not None:
            self.send(answer)
        self._requeue(entries.values())

    # -- consuming -------------------------------------------------------------------------

    def queue_name(self, name: str) -> str:
        """An empty name means the queue declared last on this channel."""
        if not name and not self.last_queue:
            raise fault(NotFound, "no previously declared queue")
        return name or self.last_queue

    def basic_qos(self, method: wire.BasicQos) -> None:
        """See `operations`; as in RabbitMQ, a limit by consumer ends the one by channel."""
        if method.prefetch_size:
            raise fault(NotImplementedByPeer, f"prefetch_size!=0 ({method.prefetch_size})")
        if method.global_:
            self.limit = method.prefetch_count
        else:
            self.limit = 0
            self._prefetch = method.prefetch_count
        self.send(wire.BasicQosOk())
        self.resume()

    def basic_consume(self, method: wire.BasicConsume) -> None:
        """See `operations`."""
        name = self.queue_name(method.queue)
        tag = method.consumer_tag
        if tag in self._consumers:
            raise fault(NotAllowed, f"attempt to reuse consumer tag '{tag}'")
        tag = tag or generated_name("amq.ctag")
        if name == REPLY_QUEUE:
            self._consume_replies(method, tag)
            return
        queue = self.host.queue_for(self.session, name)
        check_consumer_arguments(method.arguments, queue.texts)
        consumer = Consumer(
            tag,
            queue,
            self,
            no_ack=method.no_ack,
            exclusive=method.exclusive,
            prefetch=0 if method.no_ack else self._prefetch,
            priority=consumer_priority(method.arguments),
            arguments=method.arguments,
        )
        queue.add_consumer(consumer)
        self._consumers[tag] = consumer
        if not method.nowait:
            self.send(wire.BasicConsumeOk(tag))
        queue.run()

    def _consume_replies(self, method: wire.BasicConsume, tag: str) -> None:
        if not method.no_ack:
            raise fault(PreconditionFailed, "reply consumer cannot acknowledge")
        if self._reply_consumer is not None:
            raise fault(PreconditionFailed, "reply consumer already set")
        self._reply_consumer = self.session.replies.add(self, tag)
        if not method.nowait:
            self.send(wire.BasicConsumeOk(tag))

    def basic_cancel(self, method: wire.BasicCancel) -> None:
        """See `operations`; a consumer that is not there is cancelled already."""
        tag = method.consumer_tag
        consumer = None
        if self._reply_consumer is not None and self._reply_consumer.consumer_tag == tag:
            self.session.replies.remove(self._reply_consumer)
            self._reply_consumer = None
        else:
            consumer = self._consumers.pop(tag, None)
        if not method.nowait:
            self.send(wire.BasicCancelOk(tag))
        if consumer is not None:
            self._remove(consumer)

    def _remove(self, consumer: Consumer) -> None:
        if consumer.queue.remove_consumer(consumer):
            self.host.remove_queue(consumer.queue)

    def basic_get(self, method: wire.BasicGet) -> None:
        """See `operations`."""
        queue = self.host.queue_for(self.session, self.queue_name(method.queue))
        entry = queue.take()
        if entry is None:
            self.send(wire.BasicGetEmpty())
            return
        tag = self._next_tag
        self._next_tag = tag + 1
        self._unacked[tag] = entry
        message = entry.message
        if self.handle.state is _OPEN:
            try:
                self.handle.send_get_ok(
                    tag,
                    entry.redelivered,
                    message.exchange,
                    message.routing_key,
                    queue.message_count(),
                    message.raw_properties,
                    message.body,
                )
            except EncodeError as error:
                self.session.fail_later(error)
                return
        if method.no_ack:
            del self._unacked[tag]
            queue.settle(entry)

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
            self._transaction = _Transaction()
        self.send(wire.TxSelectOk())

    def _end_transaction(self) -> _Transaction:
        transaction = self._transaction
        if transaction is None:
            raise fault(PreconditionFailed, "channel is not transactional")
        self._transaction = _Transaction()
        return transaction

    def tx_commit(self, method: wire.TxCommit) -> None:
        """See `operations`; messages that nobody took come back before the answer."""
        transaction = self._end_transaction()
        for message, queues, expires_at in transaction.publishes:
            alive = [queue for queue in queues if not queue.deleted]
            if alive or not queues:
                self._enqueue(message, alive, expires_at)
        for settled, requeue in transaction.settled:
            if requeue:
                self._requeue(settled.values())
            else:
                self._settle(settled.values())
        self.send(wire.TxCommitOk())

    def tx_rollback(self, method: wire.TxRollback) -> None:
        """See `operations`."""
        for settled, _ in self._end_transaction().settled:
            self._unacked.update(settled)
            self._lowest = min((self._lowest, *settled))
        self.send(wire.TxRollbackOk())

    def channel_flow(self, method: wire.ChannelFlow) -> None:
        """See `operations`."""
        if not method.active:
            raise fault(NotImplementedByPeer, "active=false")
        self.send(wire.ChannelFlowOk(True))

    def access_request(self, method: wire.AccessRequest) -> None:
        """See `operations`."""
        self.send(wire.AccessRequestOk(1))

    def ignore(self, method: wire.Method) -> None:
        """An answer of the client that nothing depends on."""
