"""One channel of a connection, the broker's end: methods in, answers and deliveries out.

A channel joins the protocol (`ServerChannel`) to a virtual host. It holds what AMQP keeps by
channel: consumers, deliveries not settled, prefetch; its `Publisher` half has confirm and
transaction mode. Everything that a client may do wrong is raised as the error that RabbitMQ
answers with; the session turns it into channel.close or connection.close.

Deliveries not settled are found by tag; those of a `multiple` ack by counting up from the lowest
tag that may be open, so that each tag is visited twice at most. In a transaction those that are
settled are put aside, and come back at rollback.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import EncodeError, NotAllowed, NotFound, NotImplementedByPeer, PreconditionFailed
from ..protocol import ChannelState, ServerChannel
from .arguments import check_consumer_arguments, consumer_priority
from .consumers import Consumer
from .faults import fault
from .publisher import Outcome, Publisher
from .queue import Entry, Queue
from .replies import REPLY_QUEUE
from .vhost import VirtualHost, generated_name

if TYPE_CHECKING:
    from .session import Session

__all__ = ["BrokerChannel"]

_OPEN = ChannelState.OPEN


class BrokerChannel(Publisher):
    """The broker's end of a channel.

    Args:
        session: its connection.
        handle: its protocol, an attribute as well.
        host: the virtual host of the connection.
    """

    __slots__ = ("_consumers", "_lowest", "_next_tag", "_prefetch", "_unacked", "last_queue")

    def __init__(self, session: Session, handle: ServerChannel, host: VirtualHost) -> None:
        super().__init__(session, handle, host)
        self._consumers: dict[str, Consumer] = {}
        self._unacked: dict[int, Entry] = {}
        self._next_tag = 1
        self._lowest = 1  # no delivery with a lower tag is unsettled
        self._prefetch = 0
        self.last_queue = ""

    def __repr__(self) -> str:
        return f"<BrokerChannel {self.handle.number} unacked={len(self._unacked)}>"

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
        queues = dict.fromkeys(consumer.queue for consumer in self._consumers.values())
        for consumer in list(self._consumers.values()):
            self._remove(consumer)
        self._consumers.clear()
        entries = list(self._unacked.values())
        self._unacked.clear()
        if self._transaction is not None:
            for settled, _ in self._transaction.settled:
                entries += settled.values()
            self._transaction = None
        self._settle(entries, Outcome.REQUEUED)
        for queue in queues | dict.fromkeys(entry.queue for entry in entries):
            queue.touch()
            queue.run()

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

    def _settle(self, entries: Iterable[Entry], outcome: Outcome) -> None:
        acknowledged, rejected = outcome is Outcome.ACKNOWLEDGED, outcome is Outcome.REJECTED
        consumers: dict[Consumer, None] = {}
        queues: dict[Queue, None] = {}  # which have messages again
        for entry in entries:
            if entry.consumer is not None:
                consumers[entry.consumer] = None
            if acknowledged:
                entry.queue.settle(entry)
            elif rejected:
                entry.queue.reject(entry)
            else:
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

    def _finish(self, settled: dict[int, Entry], outcome: Outcome) -> None:
        if self._transaction is not None:
            self._transaction.settled.append((settled, outcome))
        else:
            self._settle(settled.values(), outcome)

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
        self._finish(self._collect(method.delivery_tag, method.multiple), Outcome.ACKNOWLEDGED)

    def basic_nack(self, method: wire.BasicNack) -> None:
        """See `operations`."""
        outcome = Outcome.REQUEUED if method.requeue else Outcome.REJECTED
        self._finish(self._collect(method.delivery_tag, method.multiple), outcome)

    def basic_reject(self, method: wire.BasicReject) -> None:
        """See `operations`."""
        outcome = Outcome.REQUEUED if method.requeue else Outcome.REJECTED
        self._finish(self._collect(method.delivery_tag, False), outcome)

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
        self._settle(entries.values(), Outcome.REQUEUED)

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
            consumer.queue.run()

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

    def tx_commit(self, method: wire.TxCommit) -> None:
        """See `operations`; messages that nobody took come back before the answer."""
        transaction = self.end_transaction()
        taken = True
        for message, queues, ttl in transaction.publishes:
            if not queues:
                self.unroutable(message)
            for queue in queues:
                if not queue.deleted and not queue.publish(message, ttl):
                    taken = False
        for settled, outcome in transaction.settled:
            self._settle(settled.values(), outcome)
        if not taken:
            raise fault(PreconditionFailed, "partial tx completion")
        self.send(wire.TxCommitOk())

    def tx_rollback(self, method: wire.TxRollback) -> None:
        """See `operations`."""
        for settled, _ in self.end_transaction().settled:
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
