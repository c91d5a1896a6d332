"""The part of a connection that both clients share: from protocol events to their owners.

A core owns one `protocol.Connection` and its transport. `BaseCore` handles events; the two cores
(`asyncio/transport.py`, `sync/transport.py`) move bytes and hold the operations that differ by
locking. Everything in here runs where the caller may touch the protocol: under the lock of the
blocking client, on the event loop of the asyncio one. It must therefore not call user code
directly, and a handler of `logging` is user code: that goes through `call_soon` and `log_soon`.

Who waits is a token of the protocol, a `Waiter`. A waiter whose caller has given up (deadline,
cancellation, interrupt) is abandoned, not removed: its reply still comes to it, and what the
broker did for it is undone in `undo`.
"""

from __future__ import annotations

import copy
import logging
from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

from .. import protocol, wire
from ..exceptions import (
    BlockedTimeout,
    ChannelClosedError,
    ChannelError,
    ConnectionClosedError,
    DeadlineExceeded,
    LeveretError,
)
from .consumer import AMPLE
from .deadline import Deadline
from .delivery import SETTLED, Delivery
from .publisher import settle

if TYPE_CHECKING:
    from .channel import BaseChannel
    from .consumer import Subscription
    from .parameters import Parameters

__all__ = ["BaseCore", "Waiter"]

logger = logging.getLogger("leveret.client")


SEND_LIMIT = 1048576  # bytes queued; who publishes more waits until half of it has left
# the same, in pieces, a small message each: so many of them are in the processor's cache when they
# leave, and a message costs two thirds
SEND_PIECES = 1024
RETURNS_LIMIT = 1000  # returned messages that wait for `on_return`; then publishing waits, too
RETURNS_BYTES = 33_554_432  # bytes of their bodies

_NAMING = frozenset({wire.BasicConsumeOk, wire.BasicCancelOk})  # replies that name a consumer


class Waiter(Protocol):
    """One who waits for one result."""

    abandoned: bool

    def set_result(self, value: object) -> bool:
        """Wake it with a value; False if it has given up, but could not say so yet."""

    def set_error(self, error: BaseException) -> None:
        """Wake it with an error."""


class _Nobody:
    """The waiter for replies that nobody waits for."""

    abandoned = False

    def set_result(self, value: object) -> bool:
        """Nothing to do."""
        return True

    def set_error(self, error: BaseException) -> None:
        """Nothing to do: what fails here fails for everybody on the channel."""


NOBODY = _Nobody()


class BaseCore:
    """One connection's protocol, without its transport.

    Attributes:
        protocol: the sans-I/O connection.
        parameters: how it was connected.
        error: why it ended, None before and after an ordinary close.
        streamed: how many deliveries came, for consumers with a large prefetch.
        on_blocked, on_unblocked, on_close: called with the reason, nothing, the error or None.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_drain_waiters",
        "_flow_used",
        "_handlers",
        "_open_waiter",
        "_pending",
        "_raised",
        "_return_bytes",
        "_return_waiters",
        "_returns",
        "_returns_full",
        "error",
        "held",
        "on_blocked",
        "on_close",
        "on_unblocked",
        "parameters",
        "protocol",
        "streamed",
    )

    def __init__(self, parameters: Parameters, options: protocol.ClientOptions) -> None:
        self.parameters = parameters
        self.protocol = protocol.Connection.client(options, Delivery)
        self._pending = self.protocol.pending
        self.error: LeveretError | None = None
        self._raised: LeveretError | None = None  # what one waiter has got already
        self.on_blocked: Callable[[str], object] | None = None
        self.on_unblocked: Callable[[], object] | None = None
        self.on_close: Callable[[LeveretError | None], object] | None = None
        self._open_waiter: Waiter | None = None
        self._drain_waiters: list[Waiter] = []
        self.streamed = 0
        self.held = False  # `may_publish` has to be asked
        self._flow_used = False  # the broker has used channel.flow
        self._returns = 0  # that wait for `on_return`
        self._return_bytes = 0
        self._returns_full = False
        self._return_waiters: list[Waiter] = []
        self._handlers: dict[type, Callable[..., None]] = {
            protocol.Deliveries: self._on_deliveries,
            protocol.Outcomes: self._on_outcomes,
            protocol.Reply: self._on_reply,
            wire.Returned: self._on_returned,
            protocol.ConsumerCancelled: self._on_consumer_cancelled,
            protocol.ChannelClosed: self._on_channel_closed,
            protocol.ChannelFlow: self._on_flow,
            protocol.ConnectionOpened: self._on_opened,
            protocol.ConnectionClosed: self._on_closed,
            protocol.ConnectionBlocked: self._on_blocked,
            protocol.ConnectionUnblocked: self._on_unblocked,
        }

    def deadline(self, timeout: float | None) -> Deadline:
        """The deadline of one operation: `timeout` or the connection's default, in seconds.

        Raises:
            ConfigurationError: not a number of at least 0.
        """
        return Deadline(self.parameters.timeout if timeout is None else timeout)

    # -- what the transports fill in -------------------------------------------------------

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """Call user code, outside of the protocol's lock and never on the I/O thread."""
        raise NotImplementedError

    def hand_back(self, callback: Callable[[wire.Returned], object], event: wire.Returned) -> None:
        """As `call_soon`, but after all of that; `return_handled` is called at its end."""
        raise NotImplementedError

    def in_callback(self) -> bool:
        """Whether the caller is what `call_soon` or `hand_back` calls."""
        raise NotImplementedError

    def shut_down(self) -> None:
        """The protocol has ended: flush what is left, then close the transport."""
        raise NotImplementedError

    def pause_receiving(self, consumer: Subscription) -> None:
        """A consumer's buffer is full: stop reading until `unpause_receiving`."""
        raise NotImplementedError

    def unpause_receiving(self, consumer: Subscription) -> None:
        """A full consumer has room again, or has ended."""
        raise NotImplementedError

    # -- events ----------------------------------------------------------------------------

    def dispatch(self) -> bool:
        """Hand the protocol's events to their owners; whether there were any.

        Where a signal handler raises in the middle of it, the others wait for the next time.
        """
        pending, handlers = self._pending, self._handlers
        if not pending:
            return False
        rest = iter(pending.copy())
        try:
            pending.clear()
            for event in rest:
                handlers[event.__class__](event)
        except BaseException:
            self.protocol.put_back(list(rest))
            raise
        return True

    def _on_deliveries(self, event: protocol.Deliveries) -> None:
        owner = event.owner
        if owner is not None:
            owner.receive(event.deliveries)
            if owner.is_ample():
                self.streamed += len(event.deliveries)
            return
        deliveries: list[Delivery] = event.deliveries  # type: ignore[assignment]
        if self.protocol.least_prefetch >= AMPLE:
            streamed = len(deliveries)
        else:  # before they are dealt: whoever takes one may settle it, and has it change its owner
            streamed = sum(each.owner.is_ample() for each in deliveries)  # type: ignore[attr-defined]
        wire.deal(deliveries)
        self.streamed += streamed

    def _on_outcomes(self, event: protocol.Outcomes) -> None:
        settle(event.publications)  # type: ignore[arg-type]

    def _on_reply(self, event: protocol.Reply) -> None:
        reply = event.reply
        if reply.__class__ in _NAMING:
            if isinstance(reply, wire.BasicConsumeOk):
                self._on_consume_ok(event.channel, reply.consumer_tag)
            elif isinstance(reply, wire.BasicCancelOk):
                self._on_cancel_ok(event.channel, reply.consumer_tag)
        waiter: Waiter = event.token  # type: ignore[assignment]
        event.token = None  # which would have the event, and wait for the garbage collector
        if waiter.abandoned or not waiter.set_result(event):
            self.undo(event)

    def _on_consume_ok(self, number: int, consumer_tag: str) -> None:
        handle = self.protocol.channels.get(number)
        if isinstance(handle, protocol.ClientChannel) and consumer_tag in handle.consumers:
            subscription: Subscription = handle.consumers[consumer_tag].owner
            subscription.consumer_tag = consumer_tag
            subscription.channel.subscriptions[consumer_tag] = subscription

    def _on_cancel_ok(self, number: int, consumer_tag: str) -> None:
        channel = self._channel(number)
        subscription = channel.subscriptions.pop(consumer_tag, None) if channel else None
        if subscription is not None:
            subscription.cancelled()

    def undo(self, event: protocol.Reply) -> None:
        """Nobody waits for this reply any more: leave nothing behind at the broker."""
        channel = self.protocol.channels.get(event.channel)
        if not isinstance(channel, protocol.ClientChannel):
            return
        if channel.state is not protocol.ChannelState.OPEN:
            return
        reply = event.reply
        if isinstance(reply, wire.ChannelOpenOk):
            channel.send_close()
        elif isinstance(reply, wire.BasicConsumeOk):
            self.stop(channel.owner.subscriptions.get(reply.consumer_tag))
        elif isinstance(reply, Delivery):
            assert isinstance(event.request, wire.BasicGet)
            if event.request.no_ack:
                channel.owner.keep(event.request.queue, reply)
            else:
                channel.give_back(reply.delivery_tag)

    def stop(self, subscription: Subscription | None) -> None:
        """Cancel a consumer without waiting; what it holds goes back into the queue."""
        if subscription is None or subscription.ended or not subscription.channel.is_open:
            return
        channel = subscription.channel
        channel.subscriptions.pop(subscription.consumer_tag, None)
        channel.protocol.send_request(wire.BasicCancel(subscription.consumer_tag), NOBODY)
        subscription.cancelled()

    def log_soon(self, level: int, message: str, *arguments: object) -> None:
        """Log, outside of the protocol's lock: a handler may use the connection."""
        if logger.isEnabledFor(level):
            self.call_soon(logger.log, level, message, *arguments)

    def _on_returned(self, event: wire.Returned) -> None:
        channel = self._channel(event.channel)
        if channel is None or channel.on_return is None:
            self.log_soon(
                logging.WARNING,
                "returned: (%d) %s, exchange=%r, routing_key=%r; the channel has no on_return",
                event.reply_code,
                event.reply_text,
                event.exchange,
                event.routing_key,
            )
        else:
            self._returns += 1
            self._return_bytes += len(event.body)
            if self._returns >= RETURNS_LIMIT or self._return_bytes >= RETURNS_BYTES:
                self._returns_full = self.held = True
            self.hand_back(channel.on_return, event)

    def return_handled(self, event: wire.Returned) -> None:
        """The callback for a returned message has ended."""
        self._returns -= 1
        self._return_bytes -= len(event.body)
        if (
            self._returns_full
            and self._returns <= RETURNS_LIMIT * 0.9
            and self._return_bytes <= RETURNS_BYTES * 0.9
        ):
            self._returns_full = False
            self.look_whether_held()
            waiters, self._return_waiters = self._return_waiters, []
            for waiter in waiters:
                waiter.set_result(None)

    def _channel(self, number: int) -> BaseChannel | None:
        channel = self.protocol.channels.get(number)
        return channel.owner if isinstance(channel, protocol.ClientChannel) else None

    def _on_consumer_cancelled(self, event: protocol.ConsumerCancelled) -> None:
        subscription: Subscription = event.token  # type: ignore[assignment]
        subscription.channel.subscriptions.pop(event.consumer_tag, None)
        subscription.cancelled_by_broker()

    def _on_flow(self, event: protocol.ChannelFlow) -> None:
        self._flow_used = self.held = True
        if event.active:
            self.wake_drained()

    def _on_channel_closed(self, event: protocol.ChannelClosed) -> None:
        channel = event.channel
        assert isinstance(channel, protocol.ClientChannel)
        close_waiter = channel.close_token
        for token in event.tokens:
            waiter: Waiter = token  # type: ignore[assignment]
            if waiter is close_waiter:
                waiter.set_result(None)
            elif waiter is NOBODY:
                continue
            elif event.error is None:
                waiter.set_error(ChannelClosedError(f"channel {channel.number} was closed"))
            elif not isinstance(event.error, ChannelError):
                waiter.set_error(self._own(event.error))
            elif waiter is event.blamed:
                waiter.set_error(event.error)
            else:
                words = f"channel {channel.number} was closed because of something else"
                waiter.set_error(ChannelClosedError(words, event.error))
        settle(event.publications)  # type: ignore[arg-type]
        if channel.owner is not None:
            channel.owner.ended(event.error)
        self.wake_drained()

    def _on_opened(self, event: protocol.ConnectionOpened) -> None:
        if self._open_waiter is not None:
            self._open_waiter.set_result(None)

    def _own(self, error: LeveretError | None) -> LeveretError:
        """Why the connection ended, for one waiter: an object raised twice mixes its tracebacks."""
        if error is None:
            return ConnectionClosedError("the connection was closed")
        if error is not self._raised:
            self._raised = error
            return error
        own = copy.copy(error)
        own.__cause__ = error.__cause__
        return own

    def _on_closed(self, event: protocol.ConnectionClosed) -> None:
        self.error = event.error
        for token in event.tokens:
            waiter: Waiter = token  # type: ignore[assignment]
            if waiter is self.protocol.close_token:
                waiter.set_result(None)
            else:
                waiter.set_error(self._own(event.error))
        if self._open_waiter is not None:
            self._open_waiter.set_error(self._own(event.error))
        self.wake_drained()
        if event.error is not None:
            self.log_soon(logging.INFO, "connection ended: %s", event.error)
        if self.on_close is not None:
            self.call_soon(self.on_close, event.error)
        self.shut_down()

    def set_on_close(self, callback: Callable[[LeveretError | None], object] | None) -> None:
        """Set `on_close`; of a connection that has ended of itself, call it."""
        self.on_close = callback
        if callback is not None and self.error is not None:
            self.call_soon(callback, self.error)

    def _on_blocked(self, event: protocol.ConnectionBlocked) -> None:
        self.held = True
        self.log_soon(logging.WARNING, "connection blocked by the broker: %s", event.reason)
        if self.on_blocked is not None:
            self.call_soon(self.on_blocked, event.reason)

    def _on_unblocked(self, event: protocol.ConnectionUnblocked) -> None:
        self.log_soon(logging.INFO, "connection unblocked")
        self.look_whether_held()
        self.wake_drained()
        if self.on_unblocked is not None:
            self.call_soon(self.on_unblocked)

    # -- operations, as far as they are the same -------------------------------------------

    def begin_channel(self, channel: BaseChannel, waiter: Waiter) -> None:
        """Open a channel of the protocol for a channel of the client."""
        channel.protocol = self.protocol.open_channel(waiter)
        channel.protocol.owner = channel

    def end_channel(
        self, channel: protocol.ClientChannel, reply_code: int, reply_text: str, waiter: Waiter
    ) -> bool:
        """Send channel.close; False if the channel is closed or closing."""
        if channel.state is not protocol.ChannelState.OPEN:
            return False
        channel.send_close(reply_code, reply_text, token=waiter)
        return True

    def end_connection(self, reply_code: int, reply_text: str, waiter: Waiter) -> bool:
        """Send connection.close; False if the connection is closed or closing."""
        if self.protocol.state in (protocol.State.CLOSING, protocol.State.CLOSED):
            return False
        self.protocol.send_close(reply_code, reply_text, token=waiter)
        return True

    def begin_confirms(self, channel: protocol.ClientChannel) -> None:
        """Put a channel into confirm mode, unless it is."""
        if channel.confirms is None:
            channel.send_request(wire.ConfirmSelect(), NOBODY)

    def send_nack(
        self, owner: Subscription, delivery: Delivery, multiple: bool, requeue: bool
    ) -> None:
        """Refuse a delivery with basic.nack."""
        if delivery.owner is not owner:
            delivery.owner.nack(delivery, multiple, requeue)  # settled meanwhile: says so
        owner.check_settle(delivery)
        owner.channel.protocol.send_nack(delivery.delivery_tag, multiple, requeue)
        delivery.owner = SETTLED

    def send_reject(self, owner: Subscription, delivery: Delivery, requeue: bool) -> None:
        """Refuse a delivery with basic.reject."""
        if delivery.owner is not owner:
            delivery.owner.reject(delivery, requeue)
        owner.check_settle(delivery)
        owner.channel.protocol.send_reject(delivery.delivery_tag, requeue)
        delivery.owner = SETTLED

    # -- waiting to send -------------------------------------------------------------------

    def look_whether_held(self) -> None:
        """Something that held publishes up is over: look whether `held` is."""
        self.held = (
            self.protocol.blocked is not None
            or self._returns_full
            or self._flow_used
            or bool(self._drain_waiters)  # who waits is woken where this is looked into
            or self.protocol.bytes_waiting() >= SEND_LIMIT
            or self.protocol.pieces_waiting() >= SEND_PIECES
        )

    def may_publish(self, channel: BaseChannel) -> bool:
        """Whether a publish may be queued now: not blocked, not too much is queued, and not too
        many returned messages wait for `on_return`. Where `held` is false it may.
        """
        connection = self.protocol
        return (
            connection.bytes_waiting() < SEND_LIMIT
            and connection.pieces_waiting() < SEND_PIECES
            and connection.blocked is None
            and channel.protocol.flow_active
            and (not self._returns_full or self.in_callback())
        )

    def wants_to_publish(self, channel: BaseChannel, waiter: Waiter) -> bool:
        """Register one who waits until it may publish; False where it may, or never will."""
        if self.may_publish(channel) or not channel.is_open:
            return False
        self.held = True
        held = self._returns_full and not self.in_callback()
        (self._return_waiters if held else self._drain_waiters).append(waiter)
        return True

    def gives_up_publishing(self, waiter: Waiter) -> None:
        """One who waited for that has gone."""
        for waiters in (self._drain_waiters, self._return_waiters):
            if waiter in waiters:
                waiters.remove(waiter)

    def publish_timeout(self, error: DeadlineExceeded) -> DeadlineExceeded:
        """The error of a publish that could not be queued in time."""
        reason = self.protocol.blocked
        if reason is None and self._returns_full:
            words = f"{self._returns} returned messages wait for on_return"
            return DeadlineExceeded(f"{error}: {words}")
        if reason is None:
            return error
        words = f"the broker has blocked the connection ({reason}), and did not end it in time"
        return BlockedTimeout(f"{error}: {words}", reason)

    def wake_if_drained(self) -> None:
        """After sending, where `held`: those who waited for room may look again if there is
        enough of it.
        """
        connection = self.protocol
        if (
            connection.bytes_waiting() <= SEND_LIMIT // 2
            and connection.pieces_waiting() <= SEND_PIECES // 2
            and connection.blocked is None
        ):
            waiters, self._drain_waiters = self._drain_waiters, []
            self.look_whether_held()
            for waiter in waiters:
                waiter.set_result(None)

    def wake_drained(self) -> None:
        """Those who waited to send may look again."""
        waiters = self._drain_waiters + self._return_waiters
        self._drain_waiters, self._return_waiters = [], []
        for waiter in waiters:
            waiter.set_result(None)

    def check_not_ended(self) -> None:
        """Raise where the connection has ended.

        Raises:
            ConnectionClosedError: with the reason.
        """
        if self.protocol.state in (protocol.State.CLOSING, protocol.State.CLOSED):
            raise ConnectionClosedError("the connection is closed", self.error)
