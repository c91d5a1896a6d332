"""Who moves the bytes of an asyncio connection, and when: between the event loop and the protocol.

What is written during one turn of the loop leaves in one piece at its end. Bytes that come wake the
tasks that they are for in the turn that has read them; and where deliveries follow each other, they
are read in larger pieces, and acks wait for more of them: see `waiter`, `gathering`. Nothing in
here blocks.
"""

from __future__ import annotations

import asyncio
from typing import cast

from .. import protocol
from ..client.consumer import Subscription
from ..client.core import BaseCore
from ..client.parameters import Parameters
from ..exceptions import ConnectionLost, LocalProtocolError
from .gathering import Gathering
from .waiter import Deadlines, Waiter, Wakes
from .writing import Writer

__all__ = ["LINGER", "Engine"]

READ_SIZE = 65536  # bytes read at a time, at most; each connection keeps as much
BETWEEN = 4096  # the same, between two frames of a large body
GATHER = 0.005  # seconds between two sendings of nothing but acks, while the prefetch has room
NO_BUFFER = memoryview(b"")
LINGER = 2.0  # seconds in which the last bytes may leave after the end


class Engine(BaseCore, asyncio.BufferedProtocol):
    """The part of a connection's inside that moves bytes, on the event loop."""

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

    def _set_reading(self) -> None:
        reading = not self._full or self._waiting > 0
        if reading is not self._reading and self._transport is not None:
            self._reading = reading
            if reading:
                self._transport.resume_reading()
            else:
                self._transport.pause_reading()
