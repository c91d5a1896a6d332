"""The blocking client's inside: one I/O thread a connection, and threads that wait.

Written by hand; its asyncio twin is `leveret/asyncio/transport.py`, with the same operations.

There is one lock, `lock`: for the protocol and everything that its events touch, held for memory
work only, and no user code runs under it, a handler of `logging` included. Who has set
`_sending`, under it, moves bytes from the protocol to the socket; who finds it set leaves the
bytes to the other, who looks again afterwards.

A signal handler of the main thread may raise between any two calls. So what must be undone is
done within the `try` that undoes it, and is undone by what may be done twice; where an interrupt
leaves doubt about bytes or about the protocol's state, the connection ends (`_interrupted`).
It may also use the connection. Where its thread is between two steps of an operation, that is
refused (`ReenteredError`): every operation of a user's thread asks `_owned` first, which is why the
lock is a recursive one, although it is never taken twice on purpose. So it is for `__del__`
methods, which the garbage collector calls anywhere.

The I/O thread reads, keeps the time and hands out events. A caller that is going to wait sends
its own bytes, which saves a switch of threads; one that is not (an ack, a pipelined publish)
leaves them to the I/O thread, where they gather. `_sleeping` says whether the I/O thread needs
to be woken; it looks for queued bytes, under `lock`, before it sets it.

User code runs on none of these threads: callbacks have a thread of their own.
"""

from __future__ import annotations

import contextlib
import logging
import selectors
import socket
import struct
import threading
import time
import warnings
import weakref
from collections import deque
from collections.abc import Callable
from typing import TypeVar

from .. import protocol, wire
from ..client.channel import BaseChannel
from ..client.consumer import Subscription
from ..client.core import BaseCore
from ..client.deadline import Deadline
from ..client.delivery import SETTLED, Delivery
from ..client.parameters import Parameters
from ..client.publisher import BasePublication
from ..exceptions import ConnectionLost, ForkedError, LeveretError, LocalProtocolError
from .processes import CORES
from .stream import Stream, open_stream
from .threads import Callbacks, Ready, serve, spawn
from .waiter import Waiter

__all__ = ["Core", "Waiter", "open_core", "spawn"]

logger = logging.getLogger("leveret.sync")

LINGER = 2.0  # seconds in which the last bytes may leave after the end
SEND_ROUNDS = 8  # pieces that a caller sends for others before it leaves the rest to the I/O thread

CALLERS_FAULTS = (
    LeveretError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)
"""What an operation raises before it has changed anything. Whatever else comes out of one came
from a signal handler, halfway through."""

T = TypeVar("T")


class ReenteredError(LocalProtocolError):
    """A thread uses the connection in the middle of its own use of it."""

    def __init__(self) -> None:
        super().__init__(
            "called from a signal handler, or by the garbage collector, while the same thread "
            "was in the middle of an operation of the same connection"
        )


class Core(BaseCore):
    """A connection's inside, shared by its threads."""

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options)
        self.lock = threading.RLock()
        self._owned: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        self._sending = False
        self._sender = 0  # the thread that has set it
        self._stream = stream
        self._waker, self._wake_receiver = socket.socketpair()
        self._waker.setblocking(False)
        self._wake_receiver.setblocking(False)
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._wake_receiver, selectors.EVENT_READ)
        self._selector.register(stream, selectors.EVENT_READ)
        self._interest = selectors.EVENT_READ
        self._sleeping = False
        self._deadline: float | None = None  # of the protocol, as seen before the sleep
        self._finished = False  # the protocol has ended: flush, then close
        self._aborted = False  # close now
        self._failure: OSError | None = None  # met by a caller: for the I/O thread to raise
        self._waiting: set[Waiter] = set()  # those that wait for an answer of the broker
        self._full: set[Subscription] = set()
        self._dropped: deque[Subscription] = deque()
        self._callbacks = Callbacks()
        resources = (self._selector, stream, self._waker, self._wake_receiver)
        self._thread = threading.Thread(
            target=serve,
            args=(weakref.ref(self), self._selector, resources, self._callbacks),
            name=f"leveret {parameters.host}:{parameters.port}",
            daemon=True,
        )

    def __del__(self) -> None:
        started = CORES.pop(id(self), None) is not None
        if started and self.protocol.state is not protocol.State.CLOSED:
            self.wake()  # the I/O thread closes the socket
            where = f"{self.parameters.host}:{self.parameters.port}"
            warnings.warn(f"connection to {where} was not closed", ResourceWarning, stacklevel=2)

    # -- the I/O thread --------------------------------------------------------------------

    def start(self) -> None:
        """Begin the handshake."""
        self.protocol.initiate(time.monotonic())
        CORES[id(self)] = weakref.ref(self)
        self._thread.start()

    def turn(self, ready: Ready) -> float | None:
        """One turn of the I/O thread; how long it may sleep then, in seconds, below 0: no more."""
        try:
            timeout = self._turn(ready)
            if not (self._finished or self._aborted):
                return timeout
        except OSError as error:
            self._receive_last_words()
            self._lost(ConnectionLost(f"the connection was lost: {error}"), error)
        except Exception as error:  # a fault of ours: nobody may be left waiting for it
            with self.lock:
                self.call_soon(_log_failure, error)
            self._lost(ConnectionLost(f"internal error: {error!r}"), error)
        self._close_transport()
        return -1.0

    def _turn(self, ready: Ready) -> float | None:
        """Receive what is there, send; how long to sleep until something happens."""
        self._sleeping = False
        for key, events in ready:
            if key.fileobj is self._wake_receiver:
                with contextlib.suppress(BlockingIOError):
                    self._wake_receiver.recv(4096)
            elif events & selectors.EVENT_READ:
                self._receive()
        if self._stream.has_early_data():
            self._receive()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._tick()
        if self._dropped:
            with self.lock:
                while self._dropped:
                    self.stop(self._dropped.popleft())
        if self._failure is not None:
            raise self._failure
        self.flush()
        with self.lock:
            self._set_interest()
            at = self._deadline = self.protocol.next_deadline()
            timeout = None if at is None else max(0.0, at - time.monotonic())
            queued = self.protocol.has_data_to_send() and not self._stream.unsent
            if queued or self._dropped or self._stream.has_early_data():
                timeout = 0.0
            self._sleeping = True
            return timeout

    def _tick(self) -> None:
        """A deadline of the protocol has come."""
        now = time.monotonic()
        reading = bool(self._interest & selectors.EVENT_READ)
        if reading:
            self._receive()  # it may have come while this thread had to wait for its turn
        with self.lock:
            if not reading:  # nothing was read on purpose: silence proves nothing
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
        self._aborted = True  # what counts as not sent must not leave any more
        self._await_sender()
        with self.lock:
            # of TLS it is not known which plain bytes are in the unsent ones: count them as sent
            unsent = 0 if self._stream.encrypted else len(self._stream.unsent)
            self.protocol.connection_lost(error, unsent)
            self.dispatch()

    def _close_transport(self) -> None:
        """The end of the I/O thread: the last bytes leave, the socket is closed."""
        try:
            if not self._aborted:
                with contextlib.suppress(OSError):
                    self._linger(Deadline(LINGER))
            with self.lock:
                self.protocol.connection_lost(ConnectionLost("the connection was given up"))
                self.dispatch()
        finally:
            self._aborted = True
            self._await_sender()
            self._selector.close()
            self._stream.close()
            self._waker.close()
            self._wake_receiver.close()
            with self.lock:
                self._callbacks.end()
            CORES.pop(id(self), None)

    def _await_sender(self) -> None:
        """After `_aborted`: a caller that is sending is through with its piece in no time."""
        while self._sending:
            time.sleep(0.0005)

    def _linger(self, deadline: Deadline) -> None:
        """Send what is left, until the deadline."""
        self.flush()
        if self._stream.unsent:
            with selectors.DefaultSelector() as selector:
                selector.register(self._stream, selectors.EVENT_WRITE)
                while self._stream.unsent and not self._aborted and deadline.remaining():
                    selector.select(min(deadline.remaining(), 0.1))
                    self.flush()

    def wake(self) -> None:
        """Have the I/O thread look at what is queued."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def flush(self) -> None:
        """Send what is queued, unless another thread is at it. Not to be called under `lock`."""
        finished = True
        while finished:
            mine = False
            try:
                with self.lock:
                    if not self._sending:
                        self._sender = threading.get_ident()
                        self._sending = mine = True
                if not mine:
                    return
                finished = self._send()
            except BaseException as error:
                if mine and not isinstance(error, OSError):
                    with self.lock:
                        self._interrupted(error)
                raise
            finally:
                if mine:
                    self._sending = False
            with self.lock:
                if self._stream.unsent or not self.protocol.has_data_to_send():
                    return

    def _send(self) -> bool:
        """Send all that is queued; False if something is left, and the I/O thread knows."""
        stream = self._stream
        mine = threading.current_thread() is self._thread
        rounds = 0
        while not self._aborted and stream.flush():
            rounds += 1
            if rounds > SEND_ROUNDS and not mine:
                break
            with self.lock:
                data = self.protocol.data_to_send()
                if self._drain_waiters:
                    self.wake_if_drained()
            if not data:
                return True
            stream.send(data)
        if not mine:
            self.wake()
        return False

    def _flush_mine(self) -> None:
        """Send what this thread has queued before it waits."""
        try:
            self.flush()
        except OSError as error:
            self._fail(error)

    def _fail(self, error: OSError) -> None:
        """A caller has found the connection broken: the I/O thread tells everybody."""
        if self._failure is None:
            self._failure = error
        self.wake()

    def _interrupted(self, error: BaseException) -> None:
        """A signal handler has raised where bytes or the protocol change: no telling how far that
        came, and going on could misname messages. The connection ends here and now, under the
        lock, and what was under way counts as sent.
        """
        if not isinstance(error, CALLERS_FAULTS) or isinstance(error, ReenteredError):
            self._aborted = True
            words = f"{type(error).__name__} in the middle of an operation"
            self.protocol.connection_lost(ConnectionLost(words))
            self.dispatch()
            self.wake()

    def _change(self, operation: Callable[..., T], *arguments: object) -> T:
        """Call an operation of the protocol."""
        if self._owned():
            raise ReenteredError
        with self.lock:
            try:
                return operation(*arguments)
            except BaseException as error:
                self._interrupted(error)
                raise

    def _is_sender(self) -> bool:
        """Whether this thread was interrupted while it sent for all."""
        return self._sending and self._sender == threading.get_ident()

    def _may_wait(self) -> None:
        """Raise where this thread would wait for itself."""
        if self._owned() or self._is_sender():
            raise ReenteredError

    # -- BaseCore --------------------------------------------------------------------------

    def shut_down(self) -> None:
        """See `BaseCore`."""
        self._finished = True
        if isinstance(self.error, ConnectionLost):
            self._aborted = True  # nobody is there to take the last bytes
        self.wake()

    def pause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.add(consumer)

    def unpause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.discard(consumer)
        self.wake()

    def resume_receiving(self, consumer: Subscription) -> None:
        """A full consumer may have room again."""
        if self._owned():
            raise ReenteredError
        with self.lock:
            consumer.resume()

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

    def set_on_cancel(
        self,
        subscription: Subscription,
        callback: Callable[[LeveretError | None], object] | None,
    ) -> None:
        """Set what is called when a consumer ends."""
        self._change(subscription.set_on_cancel, callback)

    # -- operations ------------------------------------------------------------------------

    def wait(
        self,
        register: Callable[[Waiter], bool],
        deadline: Deadline | None,
        operation: str,
        give_up: Callable[[Waiter], None] | None = None,
        reads: bool = True,
    ) -> None:
        """Wait for what `register` registers a waiter for; at once if it says there is no need.

        Args:
            register: adds the waiter and gives True, or gives False. Called under the lock.
            deadline: None where the end of the connection is the only limit.
            operation: what is waited for, for the error.
            give_up: told the waiter if the wait ends otherwise than by its result.
            reads: whether the connection is read meanwhile, though a consumer be full.

        Raises:
            DeadlineExceeded: it did not come in time.
        """
        self._may_wait()
        waiter = Waiter()
        try:
            with self.lock:
                if not register(waiter):
                    return
            if reads:
                self._waiting.add(waiter)
                if self._full:
                    self.wake()
            self._flush_mine()
            waiter.wait(deadline, operation)
        except BaseException:
            with self.lock:
                waiter.abandoned = True
                if give_up is not None:
                    give_up(waiter)
            self.wake()
            raise
        finally:
            self._waiting.discard(waiter)

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

    def request(
        self,
        send: Callable[[wire.Method, Waiter, object], None],
        method: wire.Method,
        deadline: Deadline,
        owner: object = None,
    ) -> protocol.Reply:
        """Send a method by `send` and wait for its reply."""
        waiter = Waiter()
        return self._ask(  # type: ignore[return-value]
            waiter, deadline, method.name, send, method, waiter, owner
        )

    def _ask(
        self,
        waiter: Waiter,
        deadline: Deadline,
        name: str,
        operation: Callable[..., object],
        *arguments: object,
    ) -> object:
        """Call an operation of the protocol and wait for its reply; False if it gives False.

        All in one block, so that an interrupt anywhere in it leaves nobody to be answered.
        """
        self._may_wait()
        try:
            if self._change(operation, *arguments) is False:
                return False
            self._waiting.add(waiter)
            if self._full:
                self.wake()
            self._flush_mine()
            return waiter.wait(deadline, name)
        except BaseException:
            with self.lock:
                waiter.abandoned = True
                late = waiter.result()
                if isinstance(late, protocol.Reply):  # the reply and the interruption met
                    self.undo(late)
            self.wake()
            raise
        finally:
            self._waiting.discard(waiter)

    def post(
        self, channel: protocol.ClientChannel, method: wire.Method, owner: object = None
    ) -> None:
        """Send a method that has no reply."""
        self._change(channel.send_method, method, owner)
        self.wake()

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
        waits: bool = False,
    ) -> None:
        """Queue a publish; `waits` says that the caller waits next, and sends it then."""
        if self._owned() or (waits and self._is_sender()):
            raise ReenteredError
        with self.lock:
            try:
                channel.send_publish(
                    exchange, routing_key, raw_properties, body, mandatory, publication
                )
            except BaseException as error:
                self._interrupted(error)
                raise
            if publication is not None and publication.window is not None:
                publication.window.in_flight += 1
            wake = self._sleeping and not waits
            if wake:
                self._sleeping = False
        if wake:
            self.wake()

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
        self._wake_if_asleep()

    def acks_waiting(self, channel: protocol.ClientChannel) -> None:
        """There are acks to send. Takes no lock."""
        self.protocol.acks_waiting(channel)
        self._wake_if_asleep()

    def _wake_if_asleep(self) -> None:
        if self._sleeping:
            self._sleeping = False
            self.wake()

    def nack(self, owner: Subscription, delivery: Delivery, multiple: bool, requeue: bool) -> None:
        """Refuse a delivery with basic.nack."""
        self._change(self.send_nack, owner, delivery, multiple, requeue)
        self.wake()

    def reject(self, owner: Subscription, delivery: Delivery, requeue: bool) -> None:
        """Refuse a delivery with basic.reject."""
        self._change(self.send_reject, owner, delivery, requeue)
        self.wake()

    def settle_tag(self, channel: protocol.ClientChannel, send: str, *arguments: int) -> None:
        """Settle by delivery tag; `send` is the channel's method."""
        channel.unsettled.gathers = False
        self._change(getattr(channel, send), *arguments)
        self.wake()

    def open_channel(self, channel: BaseChannel, deadline: Deadline) -> None:
        """Open a channel of the protocol for a channel of the client."""
        waiter = Waiter()
        self._ask(waiter, deadline, "channel.open", self.begin_channel, channel, waiter)

    def close_channel(
        self, channel: protocol.ClientChannel, reply_code: int, reply_text: str, deadline: Deadline
    ) -> None:
        """Close a channel; nothing to do if it is closed."""
        waiter = Waiter()
        end = (channel, reply_code, reply_text, waiter)
        self._ask(waiter, deadline, "channel.close", self.end_channel, *end)

    def update_secret(self, new_secret: bytes, reason: str, deadline: Deadline) -> None:
        """Send connection.update-secret and wait for the answer."""
        waiter = Waiter()
        side = self.protocol.side
        assert isinstance(side, protocol.ClientSide)
        method = wire.ConnectionUpdateSecret(new_secret, reason)
        self._ask(waiter, deadline, method.name, side.send_request, method, waiter)

    def close(self, deadline: Deadline, reply_code: int = 200, reply_text: str = "") -> None:
        """Close the connection: what is queued leaves first. The transport is closed in any case.

        Raises:
            DeadlineExceeded: the broker did not answer in time.
        """
        waiter = Waiter()
        try:
            end = (reply_code, reply_text, waiter)
            asked = self._ask(waiter, deadline, "connection.close", self.end_connection, *end)
            if asked is False and self._thread.is_alive():
                # another thread is at it, with a deadline of its own
                self._thread.join(deadline.remaining())
        finally:
            self.abort()
        if self._thread.is_alive():
            self._thread.join(LINGER + 1.0)

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
        self.lock = threading.RLock()
        self._owned = self.lock._is_owned  # type: ignore[attr-defined]
        self._sending = False
        self._stream.abandon()
        self._selector.close()
        self._waker.close()
        self._wake_receiver.close()
        self._aborted = True
        self._callbacks.forget()
        self.protocol.connection_lost(
            ForkedError("the connection belongs to the parent process: open one in the child")
        )
        self.dispatch()


def _log_failure(error: Exception) -> None:
    logger.error("the I/O thread failed", exc_info=error)


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
