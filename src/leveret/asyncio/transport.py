"""The asyncio client's transport: bytes between the event loop and the protocol.

Written by hand; its blocking twin is `leveret/sync/transport.py`, with the same operations. What
is written during one turn of the loop leaves in one piece at its end. Nothing here blocks, and
nothing is awaited but a `Waiter`, which always has a deadline or the end of the connection.
"""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, cast

from .. import protocol, wire
from ..client.channel import BaseChannel
from ..client.consumer import Subscription
from ..client.core import BaseCore
from ..client.deadline import Deadline
from ..client.delivery import SETTLED, Delivery
from ..client.parameters import Parameters
from ..client.publisher import BasePublication, Window
from ..exceptions import ConnectionLost, LeveretError, LocalProtocolError
from .gathering import Gathering
from .waiter import Deadlines, Waiter, Wakes
from .writing import Writer

__all__ = ["Core", "Waiter", "spawn"]

logger = logging.getLogger("leveret.asyncio")

READ_SIZE = 65536  # bytes read at a time, at most; each connection keeps as much
BETWEEN = 4096  # the same, between two frames of a large body
GATHER = 0.005  # seconds between two sendings of nothing but acks, while the prefetch has room
CROWD = 65536  # queued bytes from which on it is looked whether they are too many
NO_BUFFER = memoryview(b"")
LINGER = 2.0  # seconds in which the last bytes may leave after the end


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


class Core(BaseCore, asyncio.BufferedProtocol):
    """A connection's inside on the event loop."""

    def __init__(self, parameters: Parameters, options: protocol.ClientOptions) -> None:
        super().__init__(parameters, options)
        self._incoming = self.protocol.incoming
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        # a view: TLS would lose what it reads into slices of a bytearray (python/cpython#156275)
        self._buffer = memoryview(bytearray(READ_SIZE))
        self._into_body = False  # the next bytes were asked into their place in a body
        self._paused = False
        self._writer: Writer | None = None
        self._flush_scheduled = False
        self._timer: asyncio.TimerHandle | None = None
        self._gather_until = 0.0  # acks that may wait do
        self._gather_timer: asyncio.TimerHandle | None = None
        self._closed: asyncio.Future[None] = self._loop.create_future()
        self._full: set[Subscription] = set()
        self._wakes = Wakes(self._loop)
        self._gathering = Gathering(self._loop, None)
        self._deadlines = Deadlines(self._loop)
        self._waiting = 0  # tasks that wait for an answer of the broker
        self._reading = True
        self._callbacks: set[asyncio.Task[None]] = set()  # callbacks that are coroutine functions

    # -- asyncio.BufferedProtocol ----------------------------------------------------------
    #
    # With asyncio.Protocol the loop makes an object of 256 KiB for each read: 20 of the 35 µs
    # that a read and a write cost.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket is connected, TLS included."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        self._writer = Writer(self._transport)
        self._gathering = Gathering(self._loop, transport.get_extra_info("socket"))
        self.protocol.initiate(self._loop.time())
        self._flush()

    def get_buffer(self, sizehint: int) -> memoryview:
        """Where to put what comes from the broker: in its place, where that is a large body."""
        if not self._incoming.in_body:
            return self._buffer
        space = self._incoming.space()
        self._into_body = space is not None
        return self._buffer[:BETWEEN] if space is None else space

    def buffer_updated(self, nbytes: int) -> None:
        """Bytes from the broker."""
        now = self._loop.time()
        if self._into_body:
            self._into_body = False
            self.protocol.body_filled(nbytes, now)
            if self._incoming.in_body:
                return  # in the middle of it, which is nobody's affair
        else:
            self.protocol.receive_data(bytes(self._buffer[:nbytes]), now)
        self._wakes.kept = []
        before = self.streamed
        try:
            self.dispatch()
        finally:
            idle = self._run_woken(now)
        deliveries = self.streamed - before
        if deliveries or self._gathering.low > 1:
            self._gathering.has_read(nbytes, deliveries, now, idle and not self._waiting)
        if self._timer is None:
            self._arm_timer()

    def _run_woken(self, now: float) -> bool:
        """Run the tasks that were woken, and send; True as `_flush_due`."""
        self._flush_scheduled = True  # the tasks need not schedule what follows them
        try:
            self._wakes.run()
        finally:
            idle = self._flush_due(now)
        return idle

    def eof_received(self) -> None:
        """The broker ended its side; the transport closes itself."""
        self.protocol.receive_eof(self._loop.time())
        self.dispatch()

    def connection_lost(self, exc: Exception | None) -> None:
        """The transport is gone."""
        words = f"the connection was lost: {exc}" if exc else "the connection was lost"
        error = ConnectionLost(words)
        error.__cause__ = exc
        self.protocol.connection_lost(error)
        self.dispatch()
        self._deadlines.tidy()
        for timer in (self._timer, self._gather_timer):
            if timer is not None:
                timer.cancel()
        self._gathering.stop()
        self._transport = self._writer = None
        self._buffer = NO_BUFFER  # the garbage collector may take its time
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The transport's buffer is full."""
        self._paused = True

    def resume_writing(self) -> None:
        """There is room again."""
        self._paused = False
        self._flush()

    # -- bytes and time --------------------------------------------------------------------

    def _flush(self, now: float | None = None) -> None:
        self._flush_scheduled = False
        writer, connection = self._writer, self.protocol
        if now is None:
            now = self._loop.time()
        if writer is None:
            return
        while not self._paused:
            if not writer.write_from(connection):
                break
            self._gather_until = now + GATHER
            if connection.bytes_sent == connection.bytes_queued:
                break
        if self.held:
            self.wake_if_drained()

    def _flush_due(self, now: float | None = None) -> bool:
        """Flush what should not wait: acks that follow others may, while they are few.

        Returns:
            Whether there was nothing else.
        """
        if now is None:
            now = self._loop.time()
        idle = self.protocol.acks_may_wait()
        if not idle or self._gather_until <= now:
            self._flush(now)
            return idle
        self._flush_scheduled = False
        if self._gather_timer is None and self.protocol.has_data_to_send():
            self._gather_timer = self._loop.call_at(self._gather_until, self._gathered)
        return True

    def _gathered(self) -> None:
        self._gather_timer = None
        self._flush_due()

    def flush_soon(self) -> None:
        """What was queued leaves at the end of this turn of the loop.

        Raises:
            LocalProtocolError: this is not in the connection's event loop.
        """
        if not self._flush_scheduled:
            self._check_loop()
            self._loop.call_soon(self._flush_due)
            self._flush_scheduled = True

    def _check_loop(self) -> None:
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            loop = None
        if loop is not self._loop:
            raise LocalProtocolError("this connection belongs to another event loop")

    def _make_waiter(self) -> Waiter:
        self._check_loop()
        return Waiter(self._loop, self._wakes)

    def _arm_timer(self) -> None:
        at = self.protocol.next_deadline()
        if at is not None and self._transport is not None:
            self._timer = self._loop.call_at(at, self._tick)

    def _tick(self) -> None:
        # the loop may have been held up, with bytes in the socket: in the next turn of the loop
        # what has come until now is received, and then timers are looked at
        now = self._loop.time()
        self._timer = self._loop.call_at(now, self._tick_at, now)

    def _tick_at(self, now: float) -> None:
        self._timer = None
        if not self._reading:  # nothing is read on purpose: silence proves nothing
            self.protocol.heard(now)
        self.protocol.tick(now)
        self.dispatch()
        self._flush()
        self._arm_timer()

    def shut_down(self) -> None:
        """See `BaseCore`."""
        if self._transport is not None:
            if isinstance(self.error, ConnectionLost):
                self._transport.abort()
                return
            self._paused = False
            self._flush()
            self._transport.close()  # which waits until the last bytes have left
            if self._timer is not None:
                self._timer.cancel()
            self._timer = self._loop.call_later(LINGER, self._transport.abort)

    def pause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.add(consumer)
        self._set_reading()

    def unpause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.discard(consumer)
        self._set_reading()

    def resume_receiving(self, consumer: Subscription) -> None:
        """A full consumer may have room again."""
        consumer.resume()

    def _set_reading(self) -> None:
        reading = not self._full or self._waiting > 0
        if reading is not self._reading and self._transport is not None:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()

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
                # another task is at it: it has its own deadline
                await asyncio.wait([self._closed], timeout=deadline.remaining())
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
