# Made by tools/async_to_sync.py from leveret/asyncio/channel.py: change it there.
"""Channels: every operation of AMQP 0-9-1 by its own name, and the short ways of daily use."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Self

from .. import wire
from ..client.channel import check_prefetch
from ..client.consumer import Subscription
from ..client.deadline import Deadline, check_timeout
from ..client.delivery import Delivery
from ..client.publisher import check_body, encode_properties
from ..exceptions import DeadlineExceeded, LeveretError, PublishNotSent, PublishUnknown
from ..protocol import Outcome
from ..types import Buffer
from .consumer import Consumer, run_callback
from .opening import opening
from .publisher import Publication, Publisher, make_publication
from .topology import Arguments, Topology
from .transport import spawn

__all__ = ["Channel"]

class Channel(Topology):
    """A channel. Made by `Connection.channel`.

    Every operation that waits takes `timeout` in seconds (None: the connection's default) and
    raises `DeadlineExceeded` when the broker did not answer in time, `ChannelError` or one of its
    kinds when the broker refused and closed the channel, `ConnectionClosedError` or
    `ChannelClosedError` when there is nothing to send it on. Arguments that do not fit their
    AMQP field raise `EncodeError`, and nothing was sent.
    """

    # -- publishing ------------------------------------------------------------------------

    def publish(
        self,
        body: Buffer,
        exchange: str = "",
        routing_key: str = "",
        properties: wire.Properties | None = None,
        *,
        mandatory: bool = True,
        persistent: bool = True,
        timeout: float | None = None,
    ) -> None:
        """Publish a message and wait until the broker has it.

        The channel is put into confirm mode (RabbitMQ, "Publisher Confirms") by the first.

        Args:
            body: bytes; text must be encoded first.
            exchange: empty is the default exchange, which routes to the queue of that name.
            routing_key: the exchange type gives it its meaning.
            properties: the message's properties.
            mandatory: a message that no queue takes comes back, and this raises. RabbitMQ
                confirms such messages otherwise, although they are gone.
            persistent: delivery mode 2 where the properties leave it open.
            timeout: seconds for all of it; None takes the connection's default.

        Raises:
            PublishReturned: no queue took it.
            PublishNacked: the broker refused it.
            PublishNotSent: it never left, because the connection ended or the broker takes no
                publishes (then caused by `BlockedTimeout`). Safe to publish again.
            PublishUnknown: it left, and no answer came before the deadline or the end of the
                channel. It may have arrived.
            ChannelClosedError, ConnectionClosedError, EncodeError: nothing was sent.
        """
        if body.__class__ is not bytes:
            body = check_body(body)
        deadline = self.deadline(timeout)
        core = self.core
        publication = make_publication(self, exchange, routing_key, body, mandatory, None)
        if core.held and not core.may_publish(self):
            try:
                self.wait_to_publish(deadline)
            except DeadlineExceeded as late:
                raise publication.failed(PublishNotSent, late) from late
        core.select_confirms(self.protocol)
        try:
            core.publish_confirmed(
                self.protocol,
                exchange,
                routing_key,
                encode_properties(properties, persistent),
                body,
                mandatory,
                publication,
                deadline,
            )
        except LeveretError as late:
            if not publication.delivery_tag:
                raise  # nothing was sent
            if publication.outcome is Outcome.PENDING:
                raise publication.failed(PublishUnknown, late) from late
        error = publication.error
        if error is not None:
            raise error

    def publish_nowait(
        self,
        body: Buffer,
        exchange: str = "",
        routing_key: str = "",
        properties: wire.Properties | None = None,
        *,
        mandatory: bool = True,
        persistent: bool = True,
    ) -> Publication:
        """Publish a message and give a handle of its outcome, without waiting for anything.

        Nothing holds the caller back: `publisher` does. What is not confirmed is raised by the
        publication's own `wait()`, or else by `wait_for_confirms`.

        Args:
            body, exchange, routing_key, properties, mandatory, persistent: as `publish`.

        Returns:
            The publication; `wait()` waits for its outcome.

        Raises:
            ChannelClosedError, ConnectionClosedError, EncodeError: nothing was sent.
        """
        if body.__class__ is not bytes:
            body = check_body(body)
        publication = make_publication(
            self, exchange, routing_key, body, mandatory, self.window
        )
        self.core.select_confirms(self.protocol)
        self.core.publish(
            self.protocol,
            exchange,
            routing_key,
            encode_properties(properties, persistent),
            body,
            mandatory,
            publication,
        )
        return publication

    def publisher(self, max_in_flight: int = 1000) -> Publisher:
        """A window of confirmed publishes, for use in a `with` block.

        Args:
            max_in_flight: how many publishes may be without an outcome.
        """
        publisher = Publisher(self, max_in_flight)
        self.core.select_confirms(self.protocol)
        return publisher

    def wait_for_confirms(self, *, timeout: float | None = None) -> None:
        """Wait until every publish of the channel has its outcome.

        Raises:
            PublishFailures: some of `publish_nowait` were not confirmed; each is raised once.
            DeadlineExceeded: some have no outcome yet.
        """
        self.core.wait(
            self.wants_confirms,
            self.deadline(timeout),
            "waiting for confirms",
            self.gives_up_confirms,
        )
        failures = self.window.take_failures()
        if failures is not None:
            raise failures

    def basic_publish(
        self,
        body: Buffer,
        exchange: str = "",
        routing_key: str = "",
        properties: wire.Properties | None = None,
        *,
        mandatory: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Send a message and ask for no outcome (AMQP 0-9-1, basic.publish).

        Waits only while too much is queued for sending or the broker has blocked the
        connection. A lost message is not noticed: `publish` is for those that matter.

        Args:
            body, exchange, routing_key, properties: as `publish`.
            mandatory: a message that no queue takes comes back to `on_return`.
            timeout: seconds; None takes the connection's default.

        Raises:
            DeadlineExceeded, BlockedTimeout: it could not be queued in time; nothing was sent.
            ChannelClosedError, ConnectionClosedError, EncodeError: nothing was sent.
        """
        if body.__class__ is not bytes:
            body = check_body(body)
        if timeout is not None:
            check_timeout(timeout)
        core = self.core
        if core.held and not core.may_publish(self):
            self.wait_to_publish(self.deadline(timeout))
        core.publish(
            self.protocol,
            exchange,
            routing_key,
            b"\0\0" if properties is None else properties.encode(),
            body,
            mandatory,
            None,
        )

    def wait_to_publish(self, deadline: Deadline) -> None:
        """Wait until a publish may be queued: not blocked, and not too much is queued."""
        core = self.core
        while not core.may_publish(self) and self.is_open:
            try:
                core.wait(
                    lambda waiter: core.wants_to_publish(self, waiter),
                    deadline,
                    "basic.publish",
                    core.gives_up_publishing,
                )
            except DeadlineExceeded as late:
                raise core.publish_timeout(late) from None

    # -- consuming -------------------------------------------------------------------------

    @opening
    def consume(
        self,
        queue: str,
        *,
        prefetch: int | None = None,
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str = "",
        arguments: Arguments | None = None,
        timeout: float | None = None,
    ) -> Consumer:
        """Start a consumer to iterate over.

        Args:
            queue: where to consume from.
            prefetch: how many deliveries may be unsettled, 0 for any number; None leaves it to
                what `basic_qos` has set on this channel, or takes 100.
            no_ack: deliveries need no ack, and what is not handled is lost.
            exclusive: refuse if the queue has another consumer, and keep others away.
            consumer_tag: its name on the channel; empty lets the broker choose one.
            arguments: such as `x-priority`.
            timeout: see the class.

        Returns:
            The consumer: iterate over it, and `cancel()` it or leave its `with` block.
        """
        subscription = Subscription(self, queue, no_ack)
        self.core.request(
            lambda *request: self.send_consume(prefetch, *request),
            wire.BasicConsume(
                queue, consumer_tag, False, no_ack, exclusive, False, arguments or {}
            ),
            timeout,
            subscription,
        )
        return Consumer(self, subscription)

    @opening
    def basic_consume(
        self,
        queue: str,
        callback: Callable[[Delivery], object],
        *,
        no_ack: bool = False,
        exclusive: bool = False,
        consumer_tag: str = "",
        arguments: Arguments | None = None,
        timeout: float | None = None,
    ) -> Consumer:
        """Start a consumer that hands its deliveries to a callback, one after the other.

        The callback may take its time and may use the channel: nothing else waits for it.
        What it raises is logged, and the delivery stays unsettled unless the callback settled it.

        Args:
            queue, no_ack, exclusive, consumer_tag, arguments, timeout: as `consume`; the
                prefetch is what `basic_qos` has set, or 100.
            callback: called with each `Delivery`.

        Returns:
            The consumer, for `cancel()` and its tag.
        """
        consumer = self.consume(
            queue,
            no_ack=no_ack,
            exclusive=exclusive,
            consumer_tag=consumer_tag,
            arguments=arguments,
            timeout=timeout,
        )
        spawn(lambda: run_callback(consumer, callback), f"leveret consumer {consumer.consumer_tag}")
        return consumer

    def basic_cancel(self, consumer_tag: str, *, timeout: float | None = None) -> None:
        """Stop a consumer; what it was sent and nobody has taken goes back into the queue.

        Args:
            consumer_tag: its tag; that there is none of it is no error.
            timeout: see the class.
        """
        self._call(wire.BasicCancel(consumer_tag), timeout)

    def get(
        self, queue: str, *, no_ack: bool = False, timeout: float | None = None
    ) -> Delivery | None:
        """Take one message out of a queue; None if it has none (AMQP 0-9-1, basic.get).

        For streams of messages `consume` is cheaper by far.

        Args:
            queue: its name.
            no_ack: the message needs no ack.
            timeout: see the class.
        """
        kept = self.kept(queue) if no_ack else None
        if kept is None:
            reply = self._call(wire.BasicGet(queue, no_ack), timeout)
            got = reply if isinstance(reply, Delivery) else None
            kept = self.in_order(queue, got) if no_ack else got
            if kept is None:
                return None
        return self.got(queue, no_ack, kept)

    basic_get = get

    def basic_qos(
        self,
        prefetch_count: int,
        *,
        global_: bool = False,
        prefetch_size: int = 0,
        timeout: float | None = None,
    ) -> None:
        """Limit the unsettled deliveries (RabbitMQ, "Consumer Prefetch").

        Args:
            prefetch_count: messages; 0 for no limit.
            global_: for the channel as a whole; else for each consumer started after this. A
                limit for each consumer, set later, lifts the channel's in RabbitMQ 3; RabbitMQ 4
                has none for channels and takes it for each consumer.
            prefetch_size: bytes; RabbitMQ takes only 0.
            timeout: see the class.
        """
        if not global_:
            check_prefetch(prefetch_count)
        self.core.request(
            lambda *request: self.send_qos(*request),
            wire.BasicQos(prefetch_size, prefetch_count, global_),
            timeout,
        )

    def basic_ack(self, delivery_tag: int, *, multiple: bool = False) -> None:
        """Acknowledge by tag; `multiple` takes all up to it, 0 meaning all. Does not wait."""
        self.core.settle_tag(self.protocol, "send_ack", delivery_tag, multiple)

    def basic_nack(
        self, delivery_tag: int, *, multiple: bool = False, requeue: bool = True
    ) -> None:
        """Refuse by tag (RabbitMQ, "Negative Acknowledgements"). Does not wait."""
        self.core.settle_tag(self.protocol, "send_nack", delivery_tag, multiple, requeue)

    def basic_reject(self, delivery_tag: int, *, requeue: bool = True) -> None:
        """Refuse one by tag (AMQP 0-9-1, basic.reject). Does not wait."""
        self.core.settle_tag(self.protocol, "send_reject", delivery_tag, requeue)

    def basic_recover(self, requeue: bool = True, *, timeout: float | None = None) -> None:
        """Have the broker deliver again what is unsettled (AMQP 0-9-1, basic.recover).

        Args:
            requeue: RabbitMQ takes only True.
            timeout: see the class.
        """
        self._call(wire.BasicRecover(requeue), timeout)

    # -- modes and transactions ------------------------------------------------------------

    def confirm_select(self, *, timeout: float | None = None) -> None:
        """Put the channel into confirm mode; `publish` does so by itself."""
        self._call(wire.ConfirmSelect(), timeout)

    def tx_select(self, *, timeout: float | None = None) -> None:
        """Make the channel transactional (AMQP 0-9-1, tx.select); not with confirms."""
        self._call(wire.TxSelect(), timeout)

    def tx_commit(self, *, timeout: float | None = None) -> None:
        """Carry out what was published and settled since the last commit."""
        self._call(wire.TxCommit(), timeout)

    def tx_rollback(self, *, timeout: float | None = None) -> None:
        """Forget what was published and settled since the last commit."""
        self._call(wire.TxRollback(), timeout)

    def channel_flow(self, active: bool, *, timeout: float | None = None) -> bool:
        """Ask the broker to stop or resume deliveries; RabbitMQ takes only True."""
        reply = self._call(wire.ChannelFlow(active), timeout)
        assert isinstance(reply, wire.ChannelFlowOk)
        return reply.active

    # -- the end ---------------------------------------------------------------------------

    def close(
        self, reply_code: int = 200, reply_text: str = "", *, timeout: float | None = None
    ) -> None:
        """Close the channel; its unsettled deliveries go back. Closing twice does nothing.

        Args:
            reply_code, reply_text: for the broker's log.
            timeout: see the class.
        """
        self.core.close_channel(
            self.protocol, reply_code, reply_text, self.deadline(timeout)
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.core.leave(self.close, error)
