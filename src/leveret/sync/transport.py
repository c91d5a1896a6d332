"""The blocking client's inside: one I/O thread a connection, and threads that wait.

Written by hand; its asyncio twin is `leveret/asyncio/transport.py`, with the same operations.

Locks, in the order in which they may be taken:
1. `_send_lock`: who holds it moves bytes from the protocol to the socket. Taken without waiting:
   who does not get it leaves the bytes to its holder, who looks again after giving it up.
2. `lock`: the protocol and everything that its events touch. Held for memory work only.

The I/O thread reads, keeps the time and hands out events. A caller that is going to wait sends
its own bytes, which saves a switch of threads; one that is not (an ack, a pipelined publish)
leaves them to the I/O thread, where they gather. `_sleeping` says whether the I/O thread needs
to be woken; it looks for queued bytes, under `lock`, before it sets it.

User code runs on none of these threads: callbacks have a thread of their own.
"""

from __future__ import annotations

import contextlib
import logging
import queue
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable

from .. import protocol, wire
from ..client.channel import BaseChannel
from ..client.consumer import Subscription
from ..client.core import NOBODY, BaseCore
from ..client.deadline import Deadline
from ..client.delivery import SETTLED, Delivery
from ..client.parameters import Parameters
from ..client.publisher import BasePublication
from ..exceptions import ConnectionLost, ForkedError
from .processes import CORES
from .stream import Stream, open_stream

__all__ = ["Core", "Waiter", "open_core", "spawn"]

logger = logging.getLogger("leveret.sync")

LINGER = 2.0  # seconds in which the last bytes may leave after the end


class Waiter:
    """One thread that waits for one result. Results are set under the core's lock."""

    __slots__ = ("_done", "_error", "_lock", "_value", "abandoned")

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()
        self._done = False
        self._value: object = None
        self._error: BaseException | None = None
        self.abandoned = False

    def set_result(self, value: object) -> None:
        """Wake it with a value."""
        if not self._done:
            self._done = True
            self._value = value
            self._lock.release()

    def set_error(self, error: BaseException) -> None:
        """Wake it with an error."""
        if not self._done:
            self._done = True
            self._error = error
            self._lock.release()

    def result(self) -> object:
        """The value, None where there is none."""
        return self._value

    def wait(self, deadline: Deadline | None, operation: str) -> object:
        """Wait for the result.

        Args:
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        if not self._lock.acquire(timeout=-1 if deadline is None else deadline.remaining()):
            raise deadline.exceeded(operation)  # type: ignore[union-attr]
        if self._error is not None:
            raise self._error
        return self._value


def spawn(run: Callable[[], None], name: str) -> None:
    """Run a function beside its caller."""
    threading.Thread(target=run, name=name, daemon=True).start()


class Core(BaseCore):
    """A connection's inside, shared by its threads."""

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options)
        self.lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._stream = stream
        self._waker, self._wake_receiver = socket.socketpair()
        self._waker.setblocking(False)
        self._wake_receiver.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._selector.register(stream, selectors.EVENT_READ)
        self._interest = selectors.EVENT_READ
        self._sleeping = False
        self._finished = False  # the protocol has ended: flush, then close
        self._aborted = False  # close now
        self._waiting = 0  # threads that wait for something the broker sends
        self._full: set[Subscription] = set()
        self._dropped: deque[Subscription] = deque()
        self._callbacks: queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]] | None]
        self._callbacks = queue.SimpleQueue()
        self._callback_thread: threading.Thread | None = None
        self._thread = threading.Thread(
            target=self._run, name=f"leveret {parameters.host}:{parameters.port}", daemon=True
        )
        CORES.add(self)

    # -- the I/O thread --------------------------------------------------------------------

    def start(self) -> None:
        """Begin the handshake."""
        self.protocol.initiate(time.monotonic())
        self._thread.start()

    def _run(self) -> None:
        try:
            while not (self._finished or self._aborted):
                self._turn()
        except OSError as error:
            self._receive_last_words()
            self._lost(ConnectionLost(f"the connection was lost: {error}"), error)
        except Exception as error:  # a fault of ours: nobody may be left waiting for it
            logger.exception("the I/O thread failed")
            self._lost(ConnectionLost(f"internal error: {error!r}"), error)
        finally:
            self._close_transport()

    def _turn(self) -> None:
        """Send, sleep until something happens, receive."""
        self.flush()
        with self.lock:
            if self._finished or self._aborted:
                return
            self._set_interest()
            at = self.protocol.next_deadline()
            timeout = None if at is None else max(0.0, at - time.monotonic())
            queued = self.protocol.has_data_to_send() and not self._stream.unsent
            if queued or self._dropped or self._stream.has_early_data():
                timeout = 0.0
            self._sleeping = True
        ready = self._selector.select(timeout)
        self._sleeping = False
        for key, events in ready:
            if key.fileobj is self._wake_receiver:
                with contextlib.suppress(BlockingIOError):
                    self._wake_receiver.recv(4096)
            elif events & selectors.EVENT_READ:
                self._receive()
        if self._stream.has_early_data():
            self._receive()
        with self.lock:
            while self._dropped:
                self.stop(self._dropped.popleft())
            now = time.monotonic()
            if at is not None and now >= at:
                if self._full:  # nothing was read on purpose: silence proves nothing
                    self.protocol.heard(now)
                self.protocol.tick(now)
                self.dispatch()

    def _receive(self) -> None:
        data = self._stream.receive()
        if data is None:
            return
        with self.lock:
            now = time.monotonic()
            if data:
                self.protocol.receive_data(data, now)
            else:
                self.protocol.receive_eof(now)
            self.dispatch()

    def _receive_last_words(self) -> None:
        """Sending has failed: what the broker said before, such as why it closes, still counts."""
        with contextlib.suppress(OSError):
            while (data := self._stream.receive()) and not self._finished:
                with self.lock:
                    self.protocol.receive_data(data, time.monotonic())
                    self.dispatch()

    def _set_interest(self) -> None:
        wanted = selectors.EVENT_WRITE if self._stream.unsent else 0
        if not self._full or self._waiting:
            wanted |= selectors.EVENT_READ
        if wanted != self._interest:
            if not self._interest:
                self._selector.register(self._stream, wanted)
            elif not wanted:
                self._selector.unregister(self._stream)
            else:
                self._selector.modify(self._stream, wanted)
            self._interest = wanted

    def _lost(self, error: ConnectionLost, cause: BaseException) -> None:
        error.__cause__ = cause
        with self.lock:
            # of TLS it is not known which plain bytes are in the unsent ones: count them as sent
            unsent = 0 if self._stream.encrypted else len(self._stream.unsent)
            self.protocol.connection_lost(error, unsent)
            self.dispatch()

    def _close_transport(self) -> None:
        """The end of the I/O thread: the last bytes leave, the socket is closed."""
        if not self._aborted:
            deadline = Deadline(LINGER)
            with contextlib.suppress(OSError, ValueError):
                self.flush()
                while self._stream.unsent and deadline.remaining():
                    self._selector.modify(self._stream, selectors.EVENT_WRITE)
                    self._selector.select(deadline.remaining())
                    self.flush()
        with self.lock:
            self.protocol.connection_lost(ConnectionLost("the connection was given up"))
            self.dispatch()
        with self._send_lock:
            self._selector.close()
            self._stream.close()
            self._waker.close()
            self._wake_receiver.close()
        self._callbacks.put(None)
        CORES.discard(self)

    def wake(self) -> None:
        """Have the I/O thread look at what is queued."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def flush(self) -> None:
        """Send what is queued, unless another thread is at it. Not to be called under `lock`."""
        while self._send_lock.acquire(blocking=False):
            try:
                self._send()
            finally:
                self._send_lock.release()
            with self.lock:
                if self._stream.unsent or not self.protocol.has_data_to_send():
                    return

    def _send(self) -> None:
        stream = self._stream
        if stream.fileno() < 0:
            with self.lock:
                while self.protocol.data_to_send():
                    pass
            return
        while stream.flush():
            with self.lock:
                data = self.protocol.data_to_send()
                if self._drain_waiters:
                    self.wake_if_drained()
            if not data:
                return
            stream.send(data)
        if threading.current_thread() is not self._thread:
            self.wake()

    def _flush_mine(self) -> None:
        """Send what this thread has queued before it waits."""
        try:
            self.flush()
        except OSError as error:
            # the I/O thread meets the same error, and tells everybody
            logger.debug("sending failed: %s", error)
            self.wake()

    # -- BaseCore --------------------------------------------------------------------------

    def shut_down(self) -> None:
        """See `BaseCore`."""
        self._finished = True
        self.wake()

    def pause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.add(consumer)

    def resume_receiving(self, consumer: Subscription) -> None:
        """A full consumer has room again."""
        with self.lock:
            consumer.full = False
            self._full.discard(consumer)
        self.wake()

    def call_soon(self, function: Callable[..., object], *arguments: object) -> None:
        """See `BaseCore`."""
        self._callbacks.put((function, arguments))
        if self._callback_thread is None:
            self._callback_thread = threading.Thread(
                target=self._run_callbacks, name="leveret callbacks", daemon=True
            )
            self._callback_thread.start()

    def _run_callbacks(self) -> None:
        while (call := self._callbacks.get()) is not None:
            try:
                call[0](*call[1])
            except Exception:
                logger.exception("error in callback %r", call[0])

    # -- operations ------------------------------------------------------------------------

    def wait(
        self,
        register: Callable[[Waiter], bool],
        deadline: Deadline | None,
        operation: str,
        give_up: Callable[[Waiter], None] | None = None,
    ) -> None:
        """Wait for what `register` registers a waiter for; at once if it says there is no need.

        Args:
            register: adds the waiter and gives True, or gives False. Called under the lock.
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.
            give_up: told the waiter if the wait ends otherwise than by its result.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        waiter = Waiter()
        with self.lock:
            if not register(waiter):
                return
            self._waiting += 1
            resume = bool(self._full)
        try:
            if resume:
                self.wake()
            self._flush_mine()
            waiter.wait(deadline, operation)
        except BaseException:
            with self.lock:
                waiter.abandoned = True
                if give_up is not None:
                    give_up(waiter)
            raise
        finally:
            with self.lock:
                self._waiting -= 1

    def run(self, callback: Callable[[Delivery], object], delivery: Delivery) -> None:
        """Call a consumer's callback."""
        callback(delivery)

    def request(
        self,
        channel: protocol.ClientChannel,
        method: wire.Method,
        deadline: Deadline,
        owner: object = None,
    ) -> protocol.Reply:
        """Send a method and wait for its reply."""
        waiter = Waiter()
        with self.lock:
            channel.send_request(method, waiter, owner)
            self._waiting += 1
        return self._reply(waiter, deadline, method.name)

    def _reply(self, waiter: Waiter, deadline: Deadline, operation: str) -> protocol.Reply:
        """Wait for a reply; who sent the request has counted one more in `_waiting`."""
        try:
            if self._full:
                self.wake()
            self._flush_mine()
            reply = waiter.wait(deadline, operation)
        except BaseException:
            with self.lock:
                waiter.abandoned = True
                late = waiter.result()
                if isinstance(late, protocol.Reply):  # the reply and the interruption met
                    self.undo(late)
            self.wake()
            raise
        finally:
            with self.lock:
                self._waiting -= 1
        return reply  # type: ignore[return-value]

    def post(
        self, channel: protocol.ClientChannel, method: wire.Method, owner: object = None
    ) -> None:
        """Send a method that has no reply."""
        with self.lock:
            channel.send_method(method, owner)
        self.wake()

    def select_confirms(self, channel: protocol.ClientChannel) -> None:
        """Put the channel into confirm mode without waiting for the answer."""
        if channel.confirms is None:
            with self.lock:
                if channel.confirms is None:
                    channel.send_request(wire.ConfirmSelect(), NOBODY)

    def publish(
        self,
        channel: protocol.ClientChannel,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
        mandatory: bool,
        publication: BasePublication | None,
        waits: bool = False,
    ) -> None:
        """Queue a publish; `waits` says that the caller waits next, and sends it then."""
        with self.lock:
            channel.send_publish(
                exchange, routing_key, raw_properties, body, mandatory, publication
            )
            if publication is not None and publication.window is not None:
                publication.window.in_flight += 1
            wake = self._sleeping and not waits
            if wake:
                self._sleeping = False
        if wake:
            self.wake()

    def ack(self, owner: Subscription, delivery: Delivery, multiple: bool) -> None:
        """Acknowledge a delivery."""
        with self.lock:
            if delivery.owner is not owner:
                delivery.owner.ack(delivery, multiple)  # settled meanwhile: says so
            owner.check_settle(delivery)
            owner.channel.protocol.send_ack(delivery.delivery_tag, multiple)
            delivery.owner = SETTLED
            wake = self._sleeping
            if wake:
                self._sleeping = False
        if wake:
            self.wake()

    def nack(self, owner: Subscription, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        """Refuse a delivery with basic.nack."""
        with self.lock:
            if delivery.owner is not owner:
                delivery.owner.nack(delivery, multiple, requeue)
            owner.check_settle(delivery)
            owner.channel.protocol.send_nack(delivery.delivery_tag, multiple, requeue)
            delivery.owner = SETTLED
        self.wake()

    def reject(self, owner: Subscription, delivery: Delivery, requeue: bool) -> None:
        """Refuse a delivery with basic.reject."""
        with self.lock:
            if delivery.owner is not owner:
                delivery.owner.reject(delivery, requeue)
            owner.check_settle(delivery)
            owner.channel.protocol.send_reject(delivery.delivery_tag, requeue)
            delivery.owner = SETTLED
        self.wake()

    def settle_tag(self, channel: protocol.ClientChannel, send: str, *arguments: int) -> None:
        """Settle by delivery tag; `send` is the channel's method."""
        with self.lock:
            getattr(channel, send)(*arguments)
        self.wake()

    def open_channel(self, channel: BaseChannel, deadline: Deadline) -> None:
        """Open a channel of the protocol for a channel of the client."""
        waiter = Waiter()
        with self.lock:
            channel.protocol = self.protocol.open_channel(waiter)
            channel.protocol.owner = channel
            self._waiting += 1
        self._reply(waiter, deadline, "channel.open")

    def close_channel(
        self, channel: protocol.ClientChannel, reply_code: int, reply_text: str, deadline: Deadline
    ) -> None:
        """Close a channel; nothing to do if it is closed."""
        waiter = Waiter()
        with self.lock:
            if channel.state is not protocol.ChannelState.OPEN:
                return
            channel.send_close(reply_code, reply_text, token=waiter)
            self._waiting += 1
        self._reply(waiter, deadline, "channel.close")

    def update_secret(self, new_secret: bytes, reason: str, deadline: Deadline) -> None:
        """Send connection.update-secret and wait for the answer."""
        waiter = Waiter()
        side = self.protocol.side
        assert isinstance(side, protocol.ClientSide)
        with self.lock:
            side.send_request(wire.ConnectionUpdateSecret(new_secret, reason), waiter)
            self._waiting += 1
        self._reply(waiter, deadline, "connection.update-secret")

    def close(self, deadline: Deadline, reply_code: int = 200, reply_text: str = "") -> None:
        """Close the connection: what is queued leaves first. The transport is closed in any case.

        Raises:
            DeadlineExceeded: the broker did not answer in time.
        """
        waiter = Waiter()
        closing = False
        try:
            with self.lock:
                if self.protocol.state not in (protocol.State.CLOSING, protocol.State.CLOSED):
                    self.protocol.send_close(reply_code, reply_text, token=waiter)
                    self._waiting += 1
                    closing = True
            if closing:
                self._reply(waiter, deadline, "connection.close")
        finally:
            self.abort()
        if threading.current_thread() is not self._thread and self._thread.is_alive():
            self._thread.join(max(deadline.remaining(), LINGER))

    def abort(self) -> None:
        """Give up the transport at once, unless it is closing in good order."""
        if not self._finished:
            self._aborted = True
            self.wake()

    def drop(self, subscription: Subscription) -> None:
        """The user has dropped a consumer; called by the garbage collector, anywhere."""
        self._dropped.append(subscription)
        self.wake()

    def forked(self) -> None:
        """In a child process: the socket is the parent's."""
        self.lock = threading.Lock()
        self._send_lock = threading.Lock()
        self._stream.abandon()
        self._waker.close()
        self._wake_receiver.close()
        self._aborted = True
        self._callback_thread = None
        self._callbacks = queue.SimpleQueue()
        self.on_close = None
        self.protocol.connection_lost(
            ForkedError("the connection belongs to the parent process: open one in the child")
        )
        self.dispatch()


def open_core(parameters: Parameters) -> Core:
    """Connect and do the handshake, all within `parameters.connect_timeout`.

    Raises:
        ConnectFailed: no address of the host could be connected to, or TLS failed.
        DeadlineExceeded: it took too long.
        PeerError, RemoteProtocolError, ConnectionLost: the handshake failed.
    """
    deadline = Deadline(parameters.connect_timeout)
    source = parameters.credentials
    given = source() if callable(source) else source
    options = parameters.client_options(parameters.with_mechanisms(given))  # type: ignore[arg-type]
    stream = open_stream(parameters, deadline)
    core = Core(parameters, options, stream)
    waiter = core._open_waiter = Waiter()
    core.start()
    try:
        waiter.wait(deadline, f"the handshake with {parameters.host}:{parameters.port}")
    except BaseException:
        core.abort()
        core._thread.join(LINGER)
        raise
    finally:
        core._open_waiter = None
    return core
