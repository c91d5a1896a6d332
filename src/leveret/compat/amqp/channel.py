"""A channel: the operations of AMQP, each sent at once, and what comes for its consumers.

An operation that has a reply waits for it, and dispatches on the way whatever comes. A channel
that the broker closes because of an error is opened again under its number before the error is
raised; its consumers and its prefetch are gone then, as the broker has it.
"""

from __future__ import annotations

import logging
from collections import defaultdict
from queue import Queue
from time import monotonic
from typing import Any

from vine import ensure_promise

from leveret.wire import encode_ack

from . import spec
from .abstract_channel import AbstractChannel
from .exceptions import (
    ChannelError,
    ConsumerCancelled,
    MessageNacked,
    RecoverableConnectionError,
    error_for_code,
)
from .method_framing import FrameHandler
from .operations import Operations
from .reading import Reader

__all__ = ["Channel", "VDeprecationWarning"]

AMQP_LOGGER = logging.getLogger("amqp")

REJECTED_MESSAGE_WITHOUT_CALLBACK = (
    "Rejecting message with delivery tag %r: nothing is registered for consumer tag %r "
    "(exchange %r, routing key %r)"
)


class VDeprecationWarning(DeprecationWarning):
    """Something of an old version of AMQP."""


class Channel(Operations):
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
        self.events: defaultdict[str, set[Any]] = defaultdict(set)
        self.no_ack_consumers: set[Any] = set()
        self.on_open = ensure_promise(on_open)
        self._confirm_selected = False
        self._published: int | None = None  # how many, since the broker confirms them
        hooks = (type(self).dispatch_method, type(self)._on_basic_ack)
        self._unwatched = hooks == (AbstractChannel.dispatch_method, Channel._on_basic_ack)
        self._awaited: dict[int, bool | None] = {}  # which of these somebody waits for: confirmed?
        self._left: Any = None  # the connection, after a close that got no answer
        if self.connection.confirm_publish:
            self.basic_publish = self.basic_publish_confirm  # type: ignore[method-assign]

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
        connection = self.connection or self._left
        if self.connection is None:  # closed here, and the broker closes too: it wants its answer
            self.connection = connection
            self.send_method(spec.Channel.CloseOk)
            self.connection = None
            return
        self.send_method(spec.Channel.CloseOk)
        if not connection.is_closing and not self.is_closing:
            self._do_revive()
            raise error_for_code(reply_code, reply_text, (class_id, method_id), ChannelError)

    def _on_close_ok(self) -> None:
        self.collect()

    def _do_revive(self) -> None:
        """Open the channel again, under its number."""
        self.is_open = False
        self._confirm_selected = False
        self._forget_publishes()
        self.open()

    def _forget_publishes(self) -> None:
        self._published = None
        self._awaited = {}  # another one: who waits sees that, and gives up

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
        reply = self.send_method(
            spec.Basic.Consume,
            argsig,
            (0, queue, consumer_tag, no_local, no_ack, exclusive, nowait, arguments),
            wait=None if nowait else spec.Basic.ConsumeOk,
            returns_tuple=True,
        )
        if not nowait:
            consumer_tag = reply[0]
        self.callbacks[consumer_tag] = callback
        if on_cancel:
            self.cancel_callbacks[consumer_tag] = on_cancel
        if no_ack:
            self.no_ack_consumers.add(consumer_tag)
        return consumer_tag

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
        try:
            callback = self.callbacks[consumer_tag]
        except KeyError:
            AMQP_LOGGER.warning(
                REJECTED_MESSAGE_WITHOUT_CALLBACK, delivery_tag, consumer_tag, exchange, routing_key
            )
            self.basic_reject(delivery_tag, requeue=True)
        else:
            callback(msg)

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

    # -- publishing ------------------------------------------------------------------------

    def _basic_publish(
        self,
        msg: Any,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = "Bssbb",
    ) -> Any:
        """Publish a message; it has reached the socket when this returns.

        Args:
            timeout: seconds for writing it.
            confirm_timeout: for `basic_publish_confirm`.

        Raises:
            RecoverableConnectionError: the connection is closed, or took nothing in time.
        """
        connection = self.connection
        if not connection:
            raise RecoverableConnectionError("basic_publish: connection closed")
        capabilities = connection.client_properties.get("capabilities")
        if capabilities and capabilities.get("connection.blocked"):
            transport = connection._transport
            if not (isinstance(transport, Reader) and transport.is_idle()):
                try:  # connection.blocked may have come, or the end
                    connection.drain_events(timeout=0)
                except TimeoutError:
                    pass
        args = (0, exchange, routing_key, mandatory, immediate)
        try:
            if timeout is None:
                sent = self.send_method(spec.Basic.Publish, argsig, args, msg)
            else:
                with connection.transport.having_timeout(timeout):
                    sent = self.send_method(spec.Basic.Publish, argsig, args, msg)
        except TimeoutError:
            raise RecoverableConnectionError("basic_publish: timed out") from None
        if self._published is not None:
            self._published += 1
        return sent

    basic_publish = _basic_publish

    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> Any:
        """Publish a message, and wait until the broker has confirmed this very one.

        Args:
            confirm_timeout: seconds; else `timeout` is, if given.

        Raises:
            MessageNacked: the broker refused it.
            socket.timeout: no confirm came in time.
        """
        timeout = kwargs.pop("confirm_timeout", None) or kwargs.get("timeout")
        if not self._confirm_selected:
            self._confirm_selected = True
            self.confirm_select()
        before = self._published
        sent = self._basic_publish(*args, **kwargs)
        if self._published is not None and self._published != before:
            self._wait_for_confirm(self._published, timeout)
        return sent

    def _wait_for_confirm(self, number: int, timeout: float | None) -> None:
        """Dispatch what comes until a publish has its outcome, in whatever call it comes."""
        deadline = None if timeout is None else monotonic() + timeout
        if self._took_confirm(number, timeout):
            return
        left = None if deadline is None else max(deadline - monotonic(), 0)
        awaited = self._awaited
        awaited[number] = None
        try:
            while awaited[number] is None:
                connection = self.connection
                if connection is None or self._awaited is not awaited:
                    raise RecoverableConnectionError("basic_publish: connection closed")
                connection.drain_events(timeout=left)
                if deadline is not None:
                    left = max(deadline - monotonic(), 0)
            if not awaited[number]:
                raise MessageNacked
        finally:
            del awaited[number]

    def _took_confirm(self, number: int, timeout: float | None) -> bool:
        """Whether the very next that came was the ack of this publish, and nobody listens to it."""
        connection = self.connection
        handler, transport = connection._on_inbound_frame, connection._transport
        if (
            not self._unwatched
            or handler.__class__ is not FrameHandler
            or not handler.unwatched
            or self._pending
            or self.events.get("basic_ack")
            or not isinstance(transport, Reader)
            or not transport.take(encode_ack(self.channel_id, number, False), timeout)
        ):
            return False
        connection.bytes_recv += 1
        return True

    def confirm_select(self, nowait: bool = False) -> Any:
        """Have the broker confirm the publishes of this channel (RabbitMQ)."""
        if self._published is None:
            self._published = 0  # the broker counts from here on, not from its answer
        return self.send_method(
            spec.Confirm.Select,
            "b",
            (nowait,),
            wait=None if nowait else spec.Confirm.SelectOk,
        )

    def _on_basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._settle("basic_ack", delivery_tag, multiple)

    def _on_basic_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._settle("basic_nack", delivery_tag, multiple)

    def _settle(self, event: str, delivery_tag: int, multiple: bool) -> None:
        """The broker's word on a publish, or with `multiple` on all up to it (0: on all)."""
        awaited = self._awaited
        for number in awaited if multiple else (delivery_tag,):
            due = number <= delivery_tag or not delivery_tag
            if due and awaited.get(number, False) is None:
                awaited[number] = event == "basic_ack"
        callbacks = self.events.get(event)
        if callbacks:
            for callback in list(callbacks):
                callback(delivery_tag, multiple)

    def _on_basic_return(
        self, reply_code: int, reply_text: str, exchange: str, routing_key: str, message: Any
    ) -> None:
        error = error_for_code(reply_code, reply_text, spec.Basic.Return, ChannelError)
        handlers = self.events.get("basic_return")
        if not handlers:
            raise error
        for callback in list(handlers):
            callback(error, exchange, routing_key, message)
