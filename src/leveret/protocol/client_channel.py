"""A channel as the client sees it: publishes and their confirms, consumers and their deliveries.

Frames of one channel leave in the order of the calls. Requests and their replies: see `requesting`.
Whom the broker blames where it closes the channel: see `blame`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from .. import wire
from ..exceptions import (
    DeliverySettledError,
    LeveretError,
    LocalProtocolError,
    NotFound,
    PeerError,
    RemoteProtocolError,
    channel_error,
)
from ..types import Buffer
from .blame import Request, settled_tag
from .confirms import ConfirmTracker, Outcome, Publication, Unclaimed
from .events import (
    ChannelClosed,
    ChannelFlow,
    ConsumerCancelled,
    Outcomes,
)
from .replies import check_text
from .requesting import REPLIES, RequestingChannel
from .settle import SettleTracker
from .states import ChannelState

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["ClientChannel"]

P = TypeVar("P", bound=Publication)


class ClientChannel(RequestingChannel):
    """The client's end of a channel. Made by `Connection.open_channel`.

    Attributes:
        consumers: those that the broker knows, by consumer tag.
        confirms: the open publishes, None before confirm.select.
        unsettled: the deliveries that want to be settled.
        flow_active: False while the broker has asked for no content (channel.flow).
        owner: for the caller's use.
    """

    __slots__ = (
        "_blamed_token",
        "_last_exchange",
        "_last_routing_key",
        "_names_vary",
        "confirms",
        "consumers",
        "flow_active",
        "owner",
        "unsettled",
    )

    OPEN: ClassVar = ChannelState.OPEN  # for `wire.queue_publish`

    def __init__(self, connection: Connection, number: int, token: object) -> None:
        super().__init__(connection, number, token)
        self._blamed_token: object = None
        self._last_exchange: str | None = None
        self._last_routing_key = ""
        self._names_vary = False  # whether all publishes had these names
        self.consumers: dict[str | None, wire.Lane] = {}
        self.confirms: ConfirmTracker | None = None
        self.unsettled = SettleTracker(number, connection.acks)
        self.flow_active = True
        self.owner: Any = None
        self._write(wire.ChannelOpen().encode(number))

    # -- sending ---------------------------------------------------------------------------

    def _write(self, piece: bytes) -> None:
        connection = self._connection  # and `write`, without the call
        if connection.acks.noted:
            self.write_acks()
        connection.out.append(piece)
        connection.bytes_queued += len(piece)

    def write_acks(self) -> None:
        """Queue the acknowledgements that were kept back."""
        acks = self.unsettled.take_acks()
        if acks and self.state is ChannelState.OPEN:
            self._connection.write(acks)

    def send_method(self, method: wire.Method, owner: object = None) -> None:
        """Send a method that gets no reply: one with `nowait`, or recover-async.

        After confirm.select with `nowait`, a return of what was published before it is taken for
        that of an equal publish after it: there is no reply that would come between the two.

        Raises:
            ChannelClosedError, EncodeError: as `send_request`.
            LocalProtocolError: a method that gets a reply or content, or a consumer whose tag
                nobody would learn.
        """
        self.check_open()
        if method.has_content or (method.replies and not getattr(method, "nowait", False)):
            raise LocalProtocolError(f"{method!r} gets a reply: it is for send_request()")
        if isinstance(method, wire.BasicConsume) and not method.consumer_tag:
            raise LocalProtocolError("basic.consume without waiting needs a consumer tag")
        self._write(wire.encode_method(method, self.number, self._connection.limits.frame_max))
        self._sent.add(method)
        if isinstance(method, wire.BasicConsume):
            self._add_consumer(method.consumer_tag, owner, method.no_ack)
        elif isinstance(method, wire.BasicCancel):
            entry = self._remove_consumer(method.consumer_tag)
            if entry is not None and entry.unsettled is None:
                self._unheeded.add(method.consumer_tag)
                self._newly_unheeded.append(method.consumer_tag)
        elif isinstance(method, wire.BasicRecoverAsync):
            self.unsettled.recovered()
        self._note(method)

    def _add_consumer(self, tag: str, owner: object, no_ack: bool) -> None:
        unsettled = None if no_ack else self.unsettled
        lane = self.consumers[tag] = wire.Lane(tag, owner, unsettled, self.consumers)
        whole = self.state is ChannelState.OPEN and self.assembly is None
        self._connection.lanes[self.number] = lane if whole else None

    def _remove_consumer(self, tag: str) -> wire.Lane | None:
        self._connection.lanes[self.number] = None
        return self.consumers.pop(tag, None)

    def _note(self, method: wire.Method) -> None:
        """What changes with the sending of a method."""
        if isinstance(method, wire.ConfirmSelect) and self.confirms is None:
            self.confirms = ConfirmTracker(numbering=method.nowait)
        elif isinstance(method, wire.TxSelect):
            self.unsettled.select()
        elif isinstance(method, wire.BasicRecover):
            self.unsettled.recovering()
        elif isinstance(method, wire.BasicQos):
            self.unsettled.limited_to(method.prefetch_count)
            connection = self._connection
            connection.least_prefetch = min(connection.least_prefetch, self.unsettled.prefetch)

    def send_publish(
        self,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: Buffer,
        mandatory: bool,
        publication: Publication | None = None,
    ) -> int:
        """Send basic.publish with its content.

        Args:
            raw_properties: `Properties.encode()`.
            publication: takes the outcome, in confirm mode.

        Returns:
            How many bytes are queued, as `Connection.bytes_waiting`.

        Raises:
            ChannelClosedError, EncodeError: as `send_request`.
        """
        if self.state is not ChannelState.OPEN:
            self.check_open()
        connection = self._connection
        content = wire.encode_publish(
            self.number,
            exchange,
            routing_key,
            mandatory,
            False,
            raw_properties,
            body,
            connection.limits.frame_max,
        )
        if connection.acks.noted:
            self.write_acks()
        if content.__class__ is bytes:  # as `write`, without the call
            connection.out.append(content)
            connection.bytes_queued += len(content)
        else:
            connection.write_content(content)
        if routing_key != self._last_routing_key or exchange != self._last_exchange:
            self._names_vary = self._last_exchange is not None
            self._last_exchange = exchange
            self._last_routing_key = routing_key
        if self.confirms is not None:
            if publication is None and mandatory:
                publication = Unclaimed(exchange, routing_key, body, True)
            self.confirms.add(publication, connection.bytes_queued, raw_properties)
        return connection.bytes_queued - connection.bytes_sent

    def send_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Acknowledge a delivery, or with `multiple` all up to it (0: all that came).

        A single one may wait for `data_to_send` and leave together with others. With 0 the last
        one's tag is sent, for the broker would count deliveries that are still under way.

        Raises:
            ChannelClosedError: the channel has ended; the broker requeues its deliveries.
            DeliverySettledError: the delivery is not unsettled; nothing is sent.
        """
        if self.state is not ChannelState.OPEN:
            self.check_open()
        unsettled = self.unsettled
        if not multiple:
            unsettled.ack(delivery_tag)
            self._connection.acks.noted = True
            return
        unsettled.gathers = False
        if not delivery_tag and not unsettled.transactional:
            delivery_tag = unsettled.highest()
            if not delivery_tag:
                return
        piece = wire.encode_ack(self.number, delivery_tag, True)
        unsettled.check(delivery_tag)
        self._write(piece)
        unsettled.settle(delivery_tag, True)

    def send_nack(self, delivery_tag: int, multiple: bool = False, requeue: bool = True) -> None:
        """Refuse a delivery, or with `multiple` all up to it (RabbitMQ, "Negative
        Acknowledgements").

        Raises:
            ChannelClosedError, DeliverySettledError: as `send_ack`.
        """
        self.check_open()
        if multiple:
            self.unsettled.gathers = False
            if not delivery_tag and not self.unsettled.transactional:
                delivery_tag = self.unsettled.highest()
                if not delivery_tag:
                    return
        piece = wire.encode_nack(self.number, delivery_tag, multiple, requeue)
        self.unsettled.check(delivery_tag)
        self._write(piece)
        self.unsettled.settle(delivery_tag, multiple)

    def send_reject(self, delivery_tag: int, requeue: bool = True) -> None:
        """Refuse a delivery with basic.reject.

        Raises:
            ChannelClosedError, DeliverySettledError: as `send_ack`.
        """
        self.check_open()
        piece = wire.encode_reject(self.number, delivery_tag, requeue)
        self.unsettled.check(delivery_tag)
        self._write(piece)
        self.unsettled.settle(delivery_tag, False)

    def give_back(self, delivery_tag: int) -> None:
        """Requeue a delivery that nobody has seen, unless it is settled or back already.

        Raises:
            ChannelClosedError: as `send_ack`.
        """
        with contextlib.suppress(DeliverySettledError):
            self.send_nack(delivery_tag, requeue=True)

    def send_close(
        self,
        reply_code: int = 200,
        reply_text: str = "",
        *,
        class_id: int = 0,
        method_id: int = 0,
        token: object = None,
        error: LeveretError | None = None,
    ) -> None:
        """See `Channel`.

        Raises:
            EncodeError: the text is not one that UTF-8 can hold.
        """
        check_text(wire.ChannelClose(reply_code, reply_text))
        super().send_close(
            reply_code,
            reply_text,
            class_id=class_id,
            method_id=method_id,
            token=token,
            error=error,
        )
        self._is_over()

    def connection_closes(self) -> None:
        """See `Channel`."""
        super().connection_closes()
        self._is_over()

    def _is_over(self) -> None:
        """Deliveries are not taken any more, nor settled."""
        self._connection.lanes[self.number] = None
        self.unsettled.end()

    # -- receiving -------------------------------------------------------------------------

    def _receive_late(self, item: wire.Item) -> None:
        """See `Channel`: what is known about publishes is worth having."""
        if self.confirms is None:
            return
        if self.assembly is not None or isinstance(item, wire.Returned):
            content = self.assembly.receive(item) if self.assembly is not None else item
            if content is not None:
                self.assembly = None
            if isinstance(content, wire.Returned):
                self._receive_content(content)
        elif isinstance(item, wire.Method) and item.has_content:
            self.assembly = self._connection.new_assembly(item)
        elif isinstance(item, wire.BasicAck | wire.BasicNack):
            self._receive_confirm(item)
        elif isinstance(item, wire.ConfirmSelectOk):
            self.confirms.numbering = True

    def receive_run(self, items: Sequence[wire.Item], start: int) -> int:
        """Take what goes the short way: a reply, a delivery that follows something else, or the
        confirms from `start` on. Most deliveries are for `wire.claim`.

        Returns:
            The first item that was not taken: it is for `receive`.
        """
        if self.state is not ChannelState.OPEN or self.assembly is not None:
            return start
        first = items[start]
        if first.__class__ in REPLIES:
            self.receive_reply(first)
            return start + 1
        if isinstance(first, wire.Delivery):
            lane = self.consumers.get(first.consumer_tag)
            if lane is None:
                return start
            self._deliver(lane, first)
            self._connection.lanes[self.number] = lane
            return start + 1
        if isinstance(first, wire.BasicAck) and self.confirms is not None:
            settled: list[Publication] = []
            stop = self.confirms.confirm_run(items, start, self.number, settled)
            if settled:
                self._connection.emit(Outcomes(settled))
            return stop
        return start

    def _receive_method(self, method: wire.Method) -> None:
        kind = type(method)
        if self.state is ChannelState.OPENING and kind is not wire.ChannelOpenOk:
            raise self._unexpected(method)
        if kind is wire.BasicAck or kind is wire.BasicNack:
            self._receive_confirm(method)
        elif kind is wire.BasicCancel:
            self._receive_cancel(method)
        elif kind is wire.ChannelFlow:
            self._receive_flow(method)
        else:
            self.receive_reply(method)

    def _receive_confirm(self, method: wire.Method) -> None:
        assert isinstance(method, wire.BasicAck | wire.BasicNack)
        outcome = Outcome.CONFIRMED if isinstance(method, wire.BasicAck) else Outcome.NACKED
        settled: list[Publication] = []
        if self.confirms is None or not self.confirms.settle(
            method.delivery_tag, method.multiple, outcome, settled
        ):
            raise RemoteProtocolError(
                f"{method.name} for publish {method.delivery_tag}, which was never sent",
                reply_code=wire.ReplyCode.COMMAND_INVALID,
                channel=self.number,
                class_id=method.class_id,
                method_id=method.method_id,
            )
        if settled:
            self._connection.emit(Outcomes(settled))

    def _receive_cancel(self, method: wire.Method) -> None:
        assert isinstance(method, wire.BasicCancel)
        entry = self._remove_consumer(method.consumer_tag)
        if not method.nowait:
            self._write(wire.BasicCancelOk(method.consumer_tag).encode(self.number))
        if entry is not None:
            self._connection.emit(ConsumerCancelled(self.number, method.consumer_tag, entry.owner))

    def _receive_flow(self, method: wire.Method) -> None:
        assert isinstance(method, wire.ChannelFlow)
        self.flow_active = method.active
        self._write(wire.ChannelFlowOk(method.active).encode(self.number))
        self._connection.emit(ChannelFlow(self.number, method.active))

    def take_confirm(self, item: wire.Method, publication: P) -> P | None:
        """The only open publish, if it is this one and the item confirms it; None otherwise, and
        nothing was done.
        """
        if (
            item.__class__ is wire.BasicAck
            and item.channel == self.number
            and self.assembly is None
            and self.confirms is not None
            and self.confirms.confirm_only(item.delivery_tag, publication)
        ):
            return publication
        return None

    def _heed(self, request: Request, reply: wire.Method | wire.Content) -> None:
        """What changes with a reply of `_HEEDED`."""
        if isinstance(reply, wire.ChannelOpenOk):
            self.state = ChannelState.OPEN
            self.unsettled.gathers = True
        elif isinstance(reply, wire.BasicConsumeOk):
            assert isinstance(request.method, wire.BasicConsume)
            self._add_consumer(reply.consumer_tag, request.owner, request.method.no_ack)
        elif isinstance(reply, wire.BasicCancelOk):
            self._remove_consumer(reply.consumer_tag)
        elif isinstance(reply, wire.BasicRecoverOk):
            self.unsettled.recovered()
        elif self.confirms is not None:  # confirm.select-ok
            self.confirms.numbering = True

    def _receive_content(self, content: wire.Content) -> None:
        if self.state is ChannelState.OPENING:
            raise RemoteProtocolError(
                "content before channel.open-ok",
                reply_code=wire.ReplyCode.COMMAND_INVALID,
                channel=self.number,
            )
        if isinstance(content, wire.Delivery):
            self._receive_delivery(content)
        elif isinstance(content, wire.Returned):
            publication = None
            if self.confirms is not None:  # it may be without tracked publishes, and thus "empty"
                publication = self.confirms.match_return(content)
            if publication is None:
                self._connection.emit(content)
        else:
            raise self._unexpected(wire.BasicPublish())

    def _receive_delivery(self, delivery: wire.Delivery) -> None:
        if delivery.consumer_tag is None:
            index = self._answered(wire.BasicGetOk, delivery)
            if index is not None:
                request = self._sent.requests[index].method
                if isinstance(request, wire.BasicGet) and not request.no_ack:
                    self.unsettled.delivered(delivery.delivery_tag)
            self.receive_reply(delivery)
            return
        lane = self.consumers.get(delivery.consumer_tag)
        if lane is None:  # cancelled by us without waiting: give it back
            if delivery.consumer_tag in self._unheeded:
                return
            self.unsettled.delivered(delivery.delivery_tag)
            with contextlib.suppress(DeliverySettledError):  # basic.recover was sent: it goes back
                self.send_reject(delivery.delivery_tag, requeue=True)
            return
        self._deliver(lane, delivery)

    def _deliver(self, lane: wire.Lane, delivery: wire.Delivery) -> None:
        if lane.unsettled is not None:
            self.unsettled.delivered(delivery.delivery_tag)
        delivery.owner = lane.owner
        self._connection.emit_deliveries(None, [delivery])

    # -- the end ---------------------------------------------------------------------------

    def _peer_error(self, close: wire.ChannelClose) -> LeveretError | None:
        name, arguments = self.blamed(close.class_id, close.method_id, close.reply_text)
        kind = wire.METHODS.get(close.class_id << 16 | close.method_id)
        index = self._sent.find_request(kind, close.reply_text)
        self._blamed_token = None if index is None else self._sent.requests[index].token
        return channel_error(close.reply_code)(
            close.reply_text,
            reply_code=close.reply_code,
            class_id=close.class_id,
            method_id=close.method_id,
            operation=name,
            arguments=arguments,
            channel=self.number,
        )

    def blamed(
        self, class_id: int, method_id: int, text: str
    ) -> tuple[str | None, Mapping[str, object]]:
        """The name and the arguments of the operation that the broker blames; {} if unknown."""
        kind = wire.METHODS.get(class_id << 16 | method_id)
        if kind is None:
            return None, {}
        if kind is wire.BasicPublish:
            return kind.name, self._blamed_publish(text)
        if kind is wire.BasicAck or kind is wire.BasicNack or kind is wire.BasicReject:
            return kind.name, settled_tag(text)
        return kind.name, self._sent.find(kind, text)

    def _blamed_publish(self, text: str) -> Mapping[str, object]:
        if self._last_exchange is None:
            return {}
        if not self._names_vary:
            return {"exchange": self._last_exchange, "routing_key": self._last_routing_key}
        confirms = self.confirms
        for exchange in [self._last_exchange] if confirms is None else confirms.exchanges():
            if f"exchange '{exchange}'" in text:
                return {"exchange": exchange}
        return {}

    def _receive_close(self, close: wire.ChannelClose) -> None:
        cross = self.state is ChannelState.CLOSING
        super()._receive_close(close)
        if cross:
            self._connection.strays.add(self.number)
            self._end()

    def _receive_close_ok(self, close_ok: wire.ChannelCloseOk) -> None:
        strays = self._connection.strays
        if self.state is not ChannelState.CLOSING and self.number in strays:
            strays.remove(self.number)
        else:
            super()._receive_close_ok(close_ok)

    def _end(self) -> None:
        super()._end()
        self._is_over()
        tokens = [request.token for request in self._sent.requests]
        self._sent.requests.clear()
        if self.close_token is not None:
            tokens.append(self.close_token)
        publications: list[Publication] = []
        if self.confirms is not None:
            publications = self.confirms.abandon(
                max(self._connection.bytes_sent, self._connection.bytes_leaving),
                self.error,
                self._refusal(),
            )
        self.consumers.clear()
        self._connection.emit(
            ChannelClosed(self, self.error, tokens, publications, self._blamed_token)
        )

    def _refusal(self) -> Callable[[Publication], bool] | None:
        """Which publishes the broker can mean where it closed the channel because of one."""
        error = self.error
        if not isinstance(error, PeerError) or error.operation != wire.BasicPublish.name:
            return None
        if isinstance(error, NotFound):
            return lambda publication: f"exchange '{publication.exchange}'" in error.reply_text
        return lambda publication: True
