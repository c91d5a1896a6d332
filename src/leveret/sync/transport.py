"""The blocking client's transport: the operations, on top of the engine that moves the bytes.

Written by hand; its asyncio twin is `leveret/asyncio/transport.py`, with the same operations.
"""

from __future__ import annotations

import logging
import threading
import weakref
from collections.abc import Callable

from .. import protocol, wire
from ..client.channel import BaseChannel
from ..client.consumer import Subscription
from ..client.deadline import Deadline
from ..client.delivery import SETTLED, Delivery
from ..client.parameters import Parameters
from ..client.publisher import BasePublication, Window
from ..exceptions import LeveretError
from .engine import LINGER, Engine
from .leading import NOBODY
from .processes import CORES, check_patches
from .requests import FLUSH_AT, NO_REPLY
from .sending import ReenteredError
from .stream import open_stream
from .threads import spawn
from .waiter import Waiter, make_waiter

__all__ = ["Core", "Waiter", "open_core", "spawn"]

logger = logging.getLogger("leveret.sync")


class Core(Engine):
    """A connection's inside, shared by its threads."""

    # -- callbacks -------------------------------------------------------------------------

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """See `BaseCore`."""
        self._callbacks.put(function, *arguments)

    def hand_back(self, callback: Callable[[wire.Returned], object], event: wire.Returned) -> None:
        """See `BaseCore`."""
        self._callbacks.put_last(self._hand_back, callback, event)

    def _hand_back(self, callback: Callable[[wire.Returned], object], event: wire.Returned) -> None:
        try:
            callback(event)
        finally:
            with self.lock:
                self.return_handled(event)

    def in_callback(self) -> bool:
        """See `BaseCore`."""
        return self._callbacks.is_caller()

    # -- operations ------------------------------------------------------------------------

    def wait(
        self,
        register: Callable[[Waiter], bool],
        deadline: Deadline | None,
        operation: str,
        give_up: Callable[[Waiter], None] | None = None,
        reads: bool = True,
        may_gather: Callable[[], bool] | None = None,
    ) -> None:
        """Wait for what `register` registers a waiter for; at once if it says there is no need.

        Args:
            register: adds the waiter and gives True, or gives False. Called under the lock.
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.
            give_up: told the waiter if the wait ends otherwise than by its result.
            reads: whether the connection is read meanwhile, though a consumer be full.
            may_gather: whether so much is still to come that the connection may be read a little
                later, and more at once.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        here = threading.get_ident()
        if self._owned() or self._sending or self.reading or here == self._io_number:
            self._may_wait()
        waiter = make_waiter(self)
        waiter.may_gather = may_gather
        try:
            with self.lock:
                self.unanswered += 1
                waiter.abandoned = False
                if not register(waiter):
                    waiter.abandon()
                    return
                if reads:
                    self._asking.add(waiter)
                self.begin_waiting(waiter)
            if reads and self._full:
                self.wake()
            self.wait_for(waiter, deadline, operation)
        except BaseException:
            with self.lock:
                waiter.abandon()
                if give_up is not None:
                    give_up(waiter)
            raise
        finally:
            if self._led_for is waiter:  # no call before this is undone
                self._resting = self._sleeping = False  # before somebody else leads
                self._led_for, self.reading = None, NOBODY
                self.led()
            self._asking.discard(waiter)

    def wait_in_window(self, window: Window, in_flight: int, deadline: Deadline) -> None:
        """Wait until at most so many publishes of a window are open.

        Raises:
            DeadlineExceeded: more were open until then.
        """
        self.wait(
            lambda waiter: window.wants(in_flight, waiter),
            deadline,
            "waiting for confirms",
            window.gives_up,
            may_gather=window.is_ample,
        )

    def resume_receiving(self, consumer: Subscription) -> None:
        """A full consumer may have room again."""
        self._change(consumer.resume)

    def set_on_cancel(
        self,
        subscription: Subscription,
        callback: Callable[[LeveretError | None], object] | None,
    ) -> None:
        """Set what is called when a consumer ends."""
        self._change(subscription.set_on_cancel, callback)

    def set_on_close(self, callback: Callable[[LeveretError | None], object] | None) -> None:
        """See `BaseCore`."""
        self._change(super().set_on_close, callback)

    def run(self, callback: Callable[[Delivery], object], delivery: Delivery) -> None:
        """Call a consumer's callback."""
        callback(delivery)

    def goes_on_after(self, error: BaseException, tag: str) -> bool:
        """Log what a consumer's callback has raised; whether the consumer goes on."""
        if isinstance(error, Exception):
            logger.error("error in the callback of consumer %r", tag, exc_info=error)
            return True
        logger.error("consumer %r ends: its callback raised %r", tag, error, exc_info=error)
        return False

    def leave(self, close: Callable[[], None], error: BaseException | None) -> None:
        """Leave a `with` block by `close`, which must not hide the error that ended the block."""
        try:
            close()
        except Exception as failure:
            if error is None:
                raise
            logger.warning("closing failed, after %r: %s", error, failure)

    def post(
        self, channel: protocol.ClientChannel, method: wire.Method, owner: object = None
    ) -> None:
        """Send a method that has no reply."""
        self._change(channel.send_method, method, owner)
        self.wake_if_asleep()

    def select_confirms(self, channel: protocol.ClientChannel) -> None:
        """Put the channel into confirm mode without waiting for the answer."""
        if channel.confirms is None:
            self._change(self.begin_confirms, channel)

    def publish(
        self,
        channel: protocol.ClientChannel,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
        mandatory: bool,
        publication: BasePublication | None,
    ) -> None:
        """Queue a publish."""
        queued = wire.queue_publish(
            self.lock, channel, exchange, routing_key, raw_properties, body, mandatory, publication
        )
        if queued < 0:
            if self._owned():
                raise ReenteredError
            with self.lock:
                try:
                    queued = channel.send_publish(
                        exchange, routing_key, raw_properties, body, mandatory, publication
                    )
                except BaseException as error:
                    self._interrupted(error)
                    raise
                if publication is not None and publication.window is not None:
                    publication.window.in_flight += 1
        if queued >= FLUSH_AT:
            if self.may_flush():
                self._flush_mine()
            with self.lock:
                self.look_whether_held()
        elif self._sleeping:
            self.wake_if_asleep()

    def ack(self, owner: Subscription, delivery: Delivery, multiple: bool) -> None:
        """Acknowledge a delivery."""
        if self._owned():
            raise ReenteredError
        with self.lock:
            if delivery.owner is not owner:
                delivery.owner.ack(delivery, multiple)  # settled meanwhile: says so
            owner.check_settle(delivery)
            try:
                owner.channel.protocol.send_ack(delivery.delivery_tag, multiple)
            except BaseException as error:
                self._interrupted(error)
                raise
            delivery.owner = SETTLED
        self.wake_if_asleep()

    def acks_waiting(self) -> None:
        """There are acks to send. Takes no lock."""
        self.protocol.acks.noted = True
        if self._sleeping:
            self.wake_if_asleep()

    def nack(self, owner: Subscription, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        """Refuse a delivery with basic.nack."""
        self._change(self.send_nack, owner, delivery, multiple, requeue)
        self.wake_if_asleep()

    def reject(self, owner: Subscription, delivery: Delivery, requeue: bool) -> None:
        """Refuse a delivery with basic.reject."""
        self._change(self.send_reject, owner, delivery, requeue)
        self.wake_if_asleep()

    def settle_tag(self, channel: protocol.ClientChannel, send: str, *arguments: int) -> None:
        """Settle by delivery tag; `send` is the channel's method."""
        channel.unsettled.gathers = False
        self._change(getattr(channel, send), *arguments)
        self.wake_if_asleep()

    def open_channel(self, channel: BaseChannel, deadline: Deadline) -> None:
        """Open a channel of the protocol for a channel of the client."""
        self.request(
            lambda _, waiter, owner: self.begin_channel(owner, waiter),
            wire.ChannelOpen,
            deadline,
            channel,
        )

    def close_channel(
        self, channel: protocol.ClientChannel, reply_code: int, reply_text: str, deadline: Deadline
    ) -> None:
        """Close a channel; nothing to do if it is closed."""
        self.request(
            lambda _, waiter, owner: self.end_channel(owner, reply_code, reply_text, waiter),
            wire.ChannelClose,
            deadline,
            channel,
        )

    def update_secret(self, new_secret: bytes, reason: str, deadline: Deadline) -> None:
        """Send connection.update-secret and wait for the answer."""
        side = self.protocol.side
        assert isinstance(side, protocol.ClientSide)
        self.request(
            lambda method, waiter, _: side.send_request(method, waiter),
            wire.ConnectionUpdateSecret(new_secret, reason),
            deadline,
        )

    def close(self, deadline: Deadline, reply_code: int = 200, reply_text: str = "") -> None:
        """Close the connection: what is queued leaves first. The transport is closed in any case.

        Raises:
            DeadlineExceeded: the broker did not answer in time.
        """
        try:
            asked = self.request(
                lambda _, waiter, __: self.end_connection(reply_code, reply_text, waiter),
                wire.ConnectionClose,
                deadline,
            )
            if asked is NO_REPLY and self._thread.is_alive():
                # another thread is at it, with a deadline of its own
                self._thread.join(deadline.remaining())
                if self._thread.is_alive():
                    raise deadline.exceeded("connection.close")
        finally:
            self.abort()
        if self._thread.is_alive():
            self._thread.join(LINGER + 1.0)


def open_core(parameters: Parameters) -> Core:
    """Connect and do the handshake, all within `parameters.connect_timeout`.

    Raises:
        ConnectFailed: no address of the host could be connected to, or TLS failed.
        DeadlineExceeded: it took too long.
        PeerError, RemoteProtocolError, ConnectionLost: the handshake failed.
        ConfigurationError: gevent has patched threads or waiting, but not both.
    """
    check_patches()
    deadline = Deadline(parameters.connect_timeout)
    source = parameters.credentials
    given = source() if callable(source) else source
    options = parameters.client_options(parameters.with_mechanisms(given))  # type: ignore[arg-type]
    stream = open_stream(parameters, deadline)
    core = Core(parameters, options, stream)
    waiter = core._open_waiter = make_waiter(core)
    core.unanswered += 1
    waiter.abandoned = False
    waiter.sleeps()
    CORES[id(core)] = weakref.ref(core)
    core.start()
    try:
        waiter.wait(deadline, f"the handshake with {parameters.host}:{parameters.port}")
        if waiter.error is not None:
            raise waiter.error
    except BaseException:
        core.abort()
        core._thread.join(LINGER)
        raise
    finally:
        core._open_waiter = None
    return core
