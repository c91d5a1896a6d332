"""The asyncio client's transport: the operations, on top of the engine that moves the bytes.

Written by hand; its blocking twin is `leveret/sync/transport.py`, with the same operations. Nothing
is awaited but a `Waiter`, which always has a deadline or the end of the connection.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from .. import protocol, wire
from ..client.channel import BaseChannel
from ..client.consumer import Subscription
from ..client.deadline import Deadline
from ..client.delivery import SETTLED, Delivery
from ..client.parameters import Parameters
from ..client.publisher import BasePublication, Window
from ..exceptions import LeveretError
from .engine import LINGER, Engine
from .waiter import Waiter

__all__ = ["Core", "Waiter", "spawn"]

logger = logging.getLogger("leveret.asyncio")

CROWD = 65536  # queued bytes from which on it is looked whether they are too many

_TASKS: set[asyncio.Task[None]] = set()


def spawn(run: Callable[[], Coroutine[object, object, None]], name: str) -> None:
    """Run a coroutine function beside its caller."""
    task = asyncio.get_running_loop().create_task(run(), name=name)
    _TASKS.add(task)
    task.add_done_callback(_TASKS.discard)


def _nothing() -> None:
    """There is nothing to do after an ordinary callback."""


async def _finish(coroutine: Coroutine[object, object, object], function: object) -> None:
    try:
        await coroutine
    except Exception:
        logger.exception("error in callback %r", function)


class Core(Engine):
    """A connection's inside on the event loop."""

    def __init__(self, parameters: Parameters, options: protocol.ClientOptions) -> None:
        super().__init__(parameters, options)
        self._callbacks: set[asyncio.Task[None]] = set()  # callbacks that are coroutine functions

    # -- callbacks -------------------------------------------------------------------------

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """See `BaseCore`."""
        self._loop.call_soon(self._call, function, arguments, _nothing)

    def hand_back(self, callback: Callable[[wire.Returned], object], event: wire.Returned) -> None:
        """See `BaseCore`."""
        done = functools.partial(self.return_handled, event)
        self._loop.call_soon(self._call, callback, (event,), done)

    def in_callback(self) -> bool:
        """See `BaseCore`."""
        return bool(self._callbacks) and asyncio.current_task(self._loop) in self._callbacks

    def _call(
        self,
        function: Callable[..., object],
        arguments: tuple[object, ...],
        done: Callable[[], None],
    ) -> None:
        result: object = None
        try:
            result = function(*arguments)
        except Exception:
            logger.exception("error in callback %r", function)
        finally:
            if inspect.iscoroutine(result):
                task = self._loop.create_task(_finish(result, function), name="leveret callback")
                self._callbacks.add(task)
                task.add_done_callback(self._callbacks.discard)
                task.add_done_callback(lambda _: done())
            else:
                done()

    def resume_receiving(self, consumer: Subscription) -> None:
        """A full consumer may have room again."""
        consumer.resume()

    def set_on_cancel(
        self,
        subscription: Subscription,
        callback: Callable[[LeveretError | None], object] | None,
    ) -> None:
        """Set what is called when a consumer ends."""
        subscription.set_on_cancel(callback)

    # -- operations ------------------------------------------------------------------------

    async def wait(
        self,
        register: Callable[[Waiter], bool],
        deadline: Deadline | None,
        operation: str,
        give_up: Callable[[Waiter], None] | None = None,
        reads: bool = True,
    ) -> None:
        """Wait for what `register` registers a waiter for; at once if it says there is no need.

        Args:
            register: adds the waiter and gives True, or gives False.
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.
            give_up: told the waiter if the wait ends otherwise than by its result.
            reads: whether the connection is read meanwhile, though a consumer be full.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        waiter = self._make_waiter()
        if register(waiter):
            await self._result(waiter, deadline, operation, give_up, reads)

    async def wait_in_window(self, window: Window, in_flight: int, deadline: Deadline) -> None:
        """Wait until at most so many publishes of a window are open.

        Raises:
            DeadlineExceeded: more were open until then.
        """
        await self.wait(
            lambda waiter: window.wants(in_flight, waiter),
            deadline,
            "waiting for confirms",
            window.gives_up,
        )

    async def _result(
        self,
        waiter: Waiter,
        deadline: Deadline | None,
        operation: str,
        give_up: Callable[[Waiter], None] | None,
        reads: bool = True,
    ) -> Any:
        if deadline is not None:
            self._deadlines.add(waiter, deadline, operation)
        if reads:
            self._waiting += 1
            if self._gathering.low > 1:
                self._gathering.stop()
            if self._full:
                self._set_reading()
        try:
            return await waiter.future
        except BaseException:
            waiter.abandoned = True
            if give_up is not None:
                give_up(waiter)
            raise
        finally:
            if deadline is not None:
                self._deadlines.remove(waiter)
            if reads:
                self._waiting -= 1
                if self._full:
                    self._set_reading()

    async def run(
        self, callback: Callable[[Delivery], Awaitable[object] | object], delivery: Delivery
    ) -> None:
        """Call a consumer's callback; it may be a coroutine function."""
        result = callback(delivery)
        if inspect.isawaitable(result):
            await result

    def goes_on_after(self, error: BaseException, tag: str) -> bool:
        """Log what a consumer's callback has raised; whether the consumer goes on."""
        if isinstance(error, GeneratorExit):
            return False
        task = asyncio.current_task()
        if isinstance(error, asyncio.CancelledError) and task is not None and task.cancelling():
            return False  # it is the consumer that is cancelled
        if isinstance(error, Exception | asyncio.CancelledError):
            logger.error("error in the callback of consumer %r", tag, exc_info=error)
            return True
        logger.error("consumer %r ends: its callback raised %r", tag, error, exc_info=error)
        return False

    async def leave(
        self, close: Callable[[], Awaitable[None]], error: BaseException | None
    ) -> None:
        """Leave a `with` block by `close`, which must not hide the error that ended the block."""
        try:
            await close()
        except Exception as failure:
            if error is None:
                raise
            logger.warning("closing failed, after %r: %s", error, failure)

    def request(
        self,
        send: Callable[[wire.Method, Waiter, object], None],
        method: wire.Method,
        timeout: float | None,
        owner: object = None,
    ) -> Awaitable[protocol.Reply]:
        """Send a method by `send` and wait for its reply; `timeout` in seconds, None for the
        connection's default.
        """
        deadline = self.deadline(timeout)
        waiter = self._make_waiter()
        send(method, waiter, owner)
        return self._reply(waiter, deadline, method.name)

    def _reply(
        self, waiter: Waiter, deadline: Deadline, operation: str
    ) -> Awaitable[protocol.Reply]:
        if self._waiting or self._flush_scheduled:
            self.flush_soon()  # others are at it: what they send leaves together
        else:
            self._flush()
        return self._result(waiter, deadline, operation, self._undo_late)

    def _undo_late(self, waiter: Waiter) -> None:
        late = waiter.result()
        if isinstance(late, protocol.Reply):  # the reply and the cancellation met
            self.undo(late)
            self.flush_soon()

    def post(
        self, channel: protocol.ClientChannel, method: wire.Method, owner: object = None
    ) -> None:
        """Send a method that has no reply."""
        self.flush_soon()
        channel.send_method(method, owner)

    def select_confirms(self, channel: protocol.ClientChannel) -> None:
        """Put the channel into confirm mode without waiting for the answer."""
        if channel.confirms is None:
            self.flush_soon()
            self.begin_confirms(channel)

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
        if not self._flush_scheduled:
            self.flush_soon()
        queued = wire.queue_publish(
            None, channel, exchange, routing_key, raw_properties, body, mandatory, publication
        )
        if queued < 0:
            queued = channel.send_publish(
                exchange, routing_key, raw_properties, body, mandatory, publication
            )
            if publication is not None and publication.window is not None:
                publication.window.in_flight += 1
        if queued >= CROWD:
            self.look_whether_held()

    async def publish_confirmed(
        self,
        channel: protocol.ClientChannel,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
        mandatory: bool,
        publication: BasePublication,
        deadline: Deadline,
    ) -> None:
        """Publish, and wait for the outcome.

        Raises:
            LeveretError: before the publication has its number: nothing was sent; after that:
                there is no outcome.
        """
        self.publish(
            channel, exchange, routing_key, raw_properties, body, mandatory, publication
        )
        await self.wait(
            publication.wants, deadline, "the broker's confirm", publication.gives_up
        )

    def ack(self, owner: Subscription, delivery: Delivery, multiple: bool) -> None:
        """Acknowledge a delivery."""
        if not self._flush_scheduled:
            self.flush_soon()
        owner.check_settle(delivery)
        owner.channel.protocol.send_ack(delivery.delivery_tag, multiple)
        delivery.owner = SETTLED

    def acks_waiting(self) -> None:
        """There are acks to send."""
        if not self._flush_scheduled:
            self.flush_soon()
        self.protocol.acks.noted = True

    def nack(self, owner: Subscription, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        """Refuse a delivery with basic.nack."""
        self.flush_soon()
        self.send_nack(owner, delivery, multiple, requeue)

    def reject(self, owner: Subscription, delivery: Delivery, requeue: bool) -> None:
        """Refuse a delivery with basic.reject."""
        self.flush_soon()
        self.send_reject(owner, delivery, requeue)

    def settle_tag(self, channel: protocol.ClientChannel, send: str, *arguments: int) -> None:
        """Settle by delivery tag; `send` is the channel's method."""
        self.flush_soon()
        channel.unsettled.gathers = False
        getattr(channel, send)(*arguments)

    async def open_channel(self, channel: BaseChannel, deadline: Deadline) -> None:
        """Open a channel of the protocol for a channel of the client."""
        waiter = self._make_waiter()
        self.begin_channel(channel, waiter)
        await self._reply(waiter, deadline, "channel.open")

    async def close_channel(
        self, channel: protocol.ClientChannel, reply_code: int, reply_text: str, deadline: Deadline
    ) -> None:
        """Close a channel; nothing to do if it is closed."""
        waiter = self._make_waiter()
        if self.end_channel(channel, reply_code, reply_text, waiter):
            await self._reply(waiter, deadline, "channel.close")

    async def update_secret(self, new_secret: bytes, reason: str, deadline: Deadline) -> None:
        """Send connection.update-secret and wait for the answer."""
        waiter = self._make_waiter()
        side = self.protocol.side
        assert isinstance(side, protocol.ClientSide)
        side.send_request(wire.ConnectionUpdateSecret(new_secret, reason), waiter)
        await self._reply(waiter, deadline, "connection.update-secret")

    async def close(self, deadline: Deadline, reply_code: int = 200, reply_text: str = "") -> None:
        """Close the connection: what is queued leaves first. The transport is closed in any case.

        Raises:
            DeadlineExceeded: the broker did not answer in time.
        """
        waiter = self._make_waiter()
        try:
            if self.end_connection(reply_code, reply_text, waiter):
                await self._reply(waiter, deadline, "connection.close")
            elif self.protocol.state is protocol.State.CLOSING:
                # another task is at it, with a deadline of its own
                await asyncio.wait([self._closed], timeout=deadline.remaining())
                if not self._closed.done():
                    raise deadline.exceeded("connection.close")
        finally:
            self.abort()
        if not self._closed.done():
            await asyncio.wait([self._closed], timeout=LINGER + 1.0)

    def abort(self) -> None:
        """Give up the transport at once, unless it is closing in good order."""
        if self.protocol.state is not protocol.State.CLOSED and self._transport is not None:
            self._transport.abort()

    async def discard(self) -> None:
        """After a handshake that failed: end the transport now; on return its socket is closed."""
        if self._transport is not None:
            self._transport.abort()
            await asyncio.wait([self._closed], timeout=LINGER)

    def drop(self, subscription: Subscription) -> None:
        """The user has dropped a consumer without cancelling it."""
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._drop, subscription)

    def _drop(self, subscription: Subscription) -> None:
        self.stop(subscription)
        self.flush_soon()
