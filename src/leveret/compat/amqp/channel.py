"""A channel: the operations of AMQP, each sent at once, and what comes for its consumers.

An operation that has a reply waits for it, and dispatches on the way whatever comes. A channel
that the broker closes because of an error is opened again under its number before the error is
raised; its consumers and its prefetch are gone then, as the broker has it.
"""

from __future__ import annotations

import logging
from collections import defaultdict, deque
from queue import Queue
from typing import Any

from vine import ensure_promise

from leveret.exceptions import EncodeError
from leveret.wire import Delivery, encode_ack

from . import spec
from .abstract_channel import FULFILLED, AbstractChannel
from .basic_message import DELIVER, make_message
from .exceptions import (
    ChannelError,
    ConsumerCancelled,
    error_for_code,
)
from .method_framing import FrameWriter
from .publishing import Publishing
from .serialization import NO_PROPERTIES, decode_properties

__all__ = ["Channel", "VDeprecationWarning"]

AMQP_LOGGER = logging.getLogger("amqp")

REJECTED_MESSAGE_WITHOUT_CALLBACK = (
    "Rejecting message with delivery tag %r: nothing is registered for consumer tag %r "
    "(exchange %r, routing key %r)"
)


_NOBODY = object()


class VDeprecationWarning(DeprecationWarning):
    """Something of an old version of AMQP."""


class Channel(Publishing):
    """A channel.

    Args:
        connection: its connection.
        channel_id: its number; None for the lowest that is free.
        auto_decode: whether bodies with a content encoding become strings.
        on_open: called with the channel when it is open; may be a promise.

    Attributes:
        callbacks, cancel_callbacks: by consumer tag.
        no_ack_consumers: the tags of consumers that want no acknowledgement.
        events: callbacks by `basic_return`, `basic_ack`, `basic_nack`.
        active: False while the broker has asked for no messages (channel.flow).
    """

    _METHODS = {  # noqa: RUF012
        entry.method_sig: entry
        for entry in (
            spec.method(spec.Channel.Close, "BsBB"),
            spec.method(spec.Channel.CloseOk),
            spec.method(spec.Channel.Flow, "b"),
            spec.method(spec.Channel.FlowOk, "b"),
            spec.method(spec.Channel.OpenOk),
            spec.method(spec.Exchange.DeclareOk),
            spec.method(spec.Exchange.DeleteOk),
            spec.method(spec.Exchange.BindOk),
            spec.method(spec.Exchange.UnbindOk),
            spec.method(spec.Queue.BindOk),
            spec.method(spec.Queue.UnbindOk),
            spec.method(spec.Queue.DeclareOk, "sll"),
            spec.method(spec.Queue.DeleteOk, "l"),
            spec.method(spec.Queue.PurgeOk, "l"),
            spec.method(spec.Basic.Cancel, "s"),
            spec.method(spec.Basic.CancelOk, "s"),
            spec.method(spec.Basic.ConsumeOk, "s"),
            spec.method(spec.Basic.Deliver, "sLbss", content=True),
            spec.method(spec.Basic.GetEmpty, "s"),
            spec.method(spec.Basic.GetOk, "Lbssl", content=True),
            spec.method(spec.Basic.QosOk),
            spec.method(spec.Basic.RecoverOk),
            spec.method(spec.Basic.Return, "Bsss", content=True),
            spec.method(spec.Tx.CommitOk),
            spec.method(spec.Tx.RollbackOk),
            spec.method(spec.Tx.SelectOk),
            spec.method(spec.Confirm.SelectOk),
            spec.method(spec.Basic.Ack, "Lb"),
            spec.method(spec.Basic.Nack, "Lb"),
        )
    }
    _ALLOWED_METHODS_WHEN_CLOSING = (spec.Channel.Close, spec.Channel.CloseOk)

    def __init__(
        self,
        connection: Any,
        channel_id: Any = None,
        auto_decode: bool = True,
        on_open: Any = None,
    ) -> None:
        if channel_id:
            connection._claim_channel_id(channel_id)
        else:
            channel_id = connection._get_free_channel_id()
        AMQP_LOGGER.debug("using channel_id: %s", channel_id)
        super().__init__(connection, channel_id)
        self.is_open = False
        self.active = True
        self.returned_messages: Queue[Any] = Queue()
        self.callbacks: dict[Any, Any] = {}
        self.cancel_callbacks: dict[Any, Any] = {}
        self.auto_decode = auto_decode
        self.no_ack_consumers: set[Any] = set()
        self._consuming = 0  # calls of `basic_consume` under way
        self._early: defaultdict[Any, deque[Any]] = defaultdict(deque)  # see `_has_no_callback`
        self.on_open = ensure_promise(on_open)
        self._left: Any = None  # the connection, after a close that got no answer
        kind = type(self)
        hooks = (kind.dispatch_method, kind._on_basic_deliver)
        self.direct = hooks == (AbstractChannel.dispatch_method, Channel._on_basic_deliver)

    def then(self, on_success: Any, on_error: Any = None) -> Any:
        """Have `on_success` called with the channel when it is open."""
        return self.on_open.then(on_success, on_error)

    def _setup_listeners(self) -> None:
        self._callbacks.update(
            {
                spec.Channel.Close: self._on_close,
                spec.Channel.CloseOk: self._on_close_ok,
                spec.Channel.Flow: self._on_flow,
                spec.Channel.OpenOk: self._on_open_ok,
                spec.Basic.Cancel: self._on_basic_cancel,
                spec.Basic.CancelOk: self._on_basic_cancel_ok,
                spec.Basic.Deliver: self._on_basic_deliver,
                spec.Basic.Return: self._on_basic_return,
                spec.Basic.Ack: self._on_basic_ack,
                spec.Basic.Nack: self._on_basic_nack,
            }
        )

    # -- opening and closing ---------------------------------------------------------------

    def open(self) -> Any:
        """Open the channel, if it is not open."""
        if self.is_open:
            return None
        return self.send_method(spec.Channel.Open, "s", ("",), wait=spec.Channel.OpenOk)

    def _on_open_ok(self) -> None:
        self.is_open = True
        self.on_open(self)
        AMQP_LOGGER.debug("Channel open")

    def close(
        self,
        reply_code: int = 0,
        reply_text: str = "",
        method_sig: tuple[int, int] = (0, 0),
        argsig: str = "BsBB",
    ) -> Any:
        """Close the channel, if it is open.

        Raises:
            socket.timeout: the broker did not answer; its number stays taken until it does.
        """
        connection = self.connection
        answered = False
        try:
            if connection is None or connection.channels is None or not self.is_open:
                answered = True
                return None
            self.is_closing = True
            result = self.send_method(
                spec.Channel.Close,
                argsig,
                (reply_code, reply_text, method_sig[0], method_sig[1]),
                wait=spec.Channel.CloseOk,
            )
            answered = True
            return result
        finally:
            if answered:
                self.is_closing = False
            else:
                self._left = connection
            self.connection = None

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        if self.is_closing:  # both at once: RabbitMQ 4.3 may owe its answer for ever then
            connection = self.connection = self.connection or self._left
            self.send_method(spec.Channel.CloseOk)
            connection.strays.add(self.channel_id)
            self.dispatch_method(spec.Channel.CloseOk, b"", None)
            return
        self.send_method(spec.Channel.CloseOk)
        if not self.connection.is_closing:
            self._do_revive()
            raise error_for_code(reply_code, reply_text, (class_id, method_id), ChannelError)

    def _on_close_ok(self) -> None:
        self.collect()

    def _do_revive(self) -> None:
        """Open the channel again, under its number."""
        self.is_open = False
        self._confirm_selected = False
        self._forget_publishes()
        self._early.clear()
        self.open()

    def collect(self) -> None:
        """Forget everything, and give the number back; without a word to the broker."""
        AMQP_LOGGER.debug("Closed channel #%s", self.channel_id)
        self.is_open = self.is_closing = False
        self._forget_publishes()
        channel_id, self.channel_id = self.channel_id, None
        connection, self.connection = self.connection or self._left, None
        self._left = None
        if connection:
            if connection.channels is not None:
                connection.channels.pop(channel_id, None)
            try:
                connection._used_channel_ids.remove(channel_id)
            except ValueError:
                pass
        self._early.clear()
        self.callbacks.clear()
        self.cancel_callbacks.clear()
        self.events.clear()
        self.no_ack_consumers.clear()

    def flow(self, active: bool) -> Any:
        """Ask the broker to stop or to resume its deliveries; what it has set."""
        return self.send_method(spec.Channel.Flow, "b", (active,), wait=spec.Channel.FlowOk)

    def _on_flow(self, active: bool) -> None:
        self.active = active
        self._x_flow_ok(self.active)

    def _x_flow_ok(self, active: bool) -> Any:
        return self.send_method(spec.Channel.FlowOk, "b", (active,))

    # -- consuming -------------------------------------------------------------------------

    def basic_qos(
        self, prefetch_size: int, prefetch_count: int, a_global: bool, argsig: str = "lBb"
    ) -> Any:
        """Limit the unacknowledged deliveries."""
        return self.send_method(
            spec.Basic.Qos,
            argsig,
            (prefetch_size, prefetch_count, a_global),
            wait=spec.Basic.QosOk,
        )

    def basic_consume(
        self,
        queue: str = "",
        consumer_tag: str = "",
        no_local: bool = False,
        no_ack: bool = False,
        exclusive: bool = False,
        nowait: bool = False,
        callback: Any = None,
        arguments: Any = None,
        on_cancel: Any = None,
        argsig: str = "BssbbbbF",
    ) -> Any:
        """Have the messages of a queue delivered.

        Args:
            consumer_tag: its name; the broker makes one where it is empty.
            callback: called with each `Message`.
            on_cancel: called with the tag when the broker cancels the consumer.

        Returns:
            The consumer tag.

        Raises:
            ValueError: `nowait` without a tag.
        """
        if nowait and not consumer_tag:
            raise ValueError("Consumer tag must be specified when nowait is True")
        self._consuming += 1
        try:
            reply = self.send_method(
                spec.Basic.Consume,
                argsig,
                (0, queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments),
                wait=None if nowait else spec.Basic.ConsumeOk,
                returns_tuple=True,
            )
            if not nowait:
                consumer_tag = reply[0]
            if on_cancel:
                self.cancel_callbacks[consumer_tag] = on_cancel
            if no_ack:
                self.no_ack_consumers.add(consumer_tag)
            self._set_callback(consumer_tag, callback)
        finally:
            self._consuming -= 1
            if self._early and not self._consuming:
                self._reject_early()
        return consumer_tag

    def _set_callback(self, consumer_tag: str, callback: Any) -> None:
        """A consumer is there: first what has come for it, and what comes meanwhile behind that."""
        try:
            while self._early and self._early[consumer_tag]:
                callback(self._early[consumer_tag].popleft())
        finally:
            self.callbacks[consumer_tag] = callback

    def _reject_early(self) -> None:
        messages = [message for early in self._early.values() for message in early]
        self._early.clear()
        if self.connection is not None:
            for message in messages:
                self._reject_unknown(message.delivery_info)

    def basic_cancel(self, consumer_tag: str, nowait: bool = False, argsig: str = "sb") -> Any:
        """End a consumer; nothing where the connection is closed."""
        if self.connection is None:
            return None
        self.no_ack_consumers.discard(consumer_tag)
        result = self.send_method(
            spec.Basic.Cancel,
            argsig,
            (consumer_tag, nowait),
            wait=None if nowait else spec.Basic.CancelOk,
        )
        if nowait:
            self._remove_tag(consumer_tag)
        return result

    def _on_basic_cancel(self, consumer_tag: str) -> None:
        callback = self._remove_tag(consumer_tag)
        if not callback:
            raise ConsumerCancelled(consumer_tag, spec.Basic.Cancel)
        callback(consumer_tag)

    def _on_basic_cancel_ok(self, consumer_tag: str) -> None:
        self._remove_tag(consumer_tag)

    def _remove_tag(self, consumer_tag: str) -> Any:
        self.no_ack_consumers.discard(consumer_tag)
        self.callbacks.pop(consumer_tag, None)
        return self.cancel_callbacks.pop(consumer_tag, None)

    def delivered(self, item: Delivery) -> tuple[Any, Any]:
        """A delivery has come: what to call, and with which message. `dispatch_method` and what is
        after it, in one, and without a change to anything.
        """
        consumer_tag = item.consumer_tag
        body = item.body
        raw = item.raw_properties
        size = len(body)
        info = {
            "consumer_tag": consumer_tag,
            "delivery_tag": item.delivery_tag,
            "redelivered": item.redelivered,
            "exchange": item.exchange,
            "routing_key": item.routing_key,
        }
        properties = decode_properties(raw) if raw != NO_PROPERTIES else {}
        message = make_message(DELIVER, properties, size, size, body or "", self, info)
        if properties and self.auto_decode:
            self._decode_body(message)
        callback = self.callbacks.get(consumer_tag, _NOBODY)
        return (self._has_no_callback if callback is _NOBODY else callback), message

    def _on_basic_deliver(
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        msg: Any,
    ) -> None:
        msg.channel = self
        msg.delivery_info = {
            "consumer_tag": consumer_tag,
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
        }
        callback = self.callbacks.get(consumer_tag, _NOBODY)
        if callback is _NOBODY:
            self._has_no_callback(msg)
        else:
            callback(msg)

    def _has_no_callback(self, message: Any) -> None:
        """A message of a consumer that is unknown, or not known yet: another greenlet has read
        consume-ok and what follows, and the one that waits for it had no turn since.
        """
        info = message.delivery_info
        if self._consuming:
            self._early[info["consumer_tag"]].append(message)
        else:
            self._reject_unknown(info)

    def _reject_unknown(self, info: dict[str, Any]) -> None:
        AMQP_LOGGER.warning(
            REJECTED_MESSAGE_WITHOUT_CALLBACK,
            info["delivery_tag"],
            info["consumer_tag"],
            info["exchange"],
            info["routing_key"],
        )
        self.basic_reject(info["delivery_tag"], requeue=True)

    def basic_get(self, queue: str = "", no_ack: bool = False, argsig: str = "Bsb") -> Any:
        """One message of a queue; None where it is empty."""
        reply = self.send_method(
            spec.Basic.Get,
            argsig,
            (0, queue, no_ack),
            wait=[spec.Basic.GetOk, spec.Basic.GetEmpty],
            returns_tuple=True,
        )
        if not reply or len(reply) < 2:
            return self._on_get_empty(*reply)
        return self._on_get_ok(*reply)

    def _on_get_empty(self, cluster_id: Any = None) -> None:
        return None

    def _on_get_ok(
        self,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        message_count: int,
        msg: Any,
    ) -> Any:
        msg.channel = self
        msg.delivery_info = {
            "delivery_tag": delivery_tag,
            "redelivered": redelivered,
            "exchange": exchange,
            "routing_key": routing_key,
            "message_count": message_count,
        }
        return msg

    def basic_ack(self, delivery_tag: int, multiple: bool = False, argsig: str = "Lb") -> Any:
        """Acknowledge a delivery, or with `multiple` all up to it."""
        connection = self.connection
        if connection is not None and self._sends and argsig == "Lb":
            writer = connection._frame_writer
            if writer.__class__ is FrameWriter:
                try:
                    writer.send(encode_ack(self.channel_id, delivery_tag, multiple))
                except EncodeError:
                    pass  # letters tell what is wrong
                else:
                    return FULFILLED
        return self.send_method(spec.Basic.Ack, argsig, (delivery_tag, multiple))

    def basic_reject(self, delivery_tag: int, requeue: bool, argsig: str = "Lb") -> Any:
        """Refuse a delivery."""
        return self.send_method(spec.Basic.Reject, argsig, (delivery_tag, requeue))

    def basic_recover(self, requeue: bool = False) -> Any:
        """Have the unacknowledged deliveries delivered again; does not wait for the answer."""
        return self.send_method(spec.Basic.Recover, "b", (requeue,))

    def basic_recover_async(self, requeue: bool = False) -> Any:
        """As `basic_recover`, without an answer."""
        return self.send_method(spec.Basic.RecoverAsync, "b", (requeue,))

    def _on_basic_return(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Any
    ) -> None:
        error = error_for_code(reply_code, reply_text, spec.Basic.Return, ChannelError)
        handlers = self.events.get("basic_return")
        if not handlers:
            raise error
        for callback in list(handlers):
            callback(error, exchange, routing_key, message)
