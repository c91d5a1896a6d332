"""How bytes come in: messages out of a buffer that hides nothing.

A program that waits on the socket sees every frame, though many are read at once: what has come
is looked at where it lies, in the kernel (MSG_PEEK), and decoded from there. It is taken from the
kernel at once but for its last byte, which stays until the last frame decoded is handed out: so
the socket is readable for as long as there is something to hand out, at the cost of two small
reads a batch. Only the beginning of an unfinished frame is kept here.

`next_item` is this buffered way, and gives what `wire` decodes; `read_frame` is py-amqp's, a frame
at a time as bytes, for who wants these. One connection uses one of them.

Greenlets may share a connection: one reads, and others that would like to wait until it has, and
look then whether it was theirs. Celery's workers do that to the connection of their events; with
py-amqp the second reader is an error of gevent's or eventlet's, or takes the first one's answer
away, which waits for ever then.

A signal handler may raise between any two calls, and whoever reads on then must neither see a
message twice nor miss one. So what belongs together is set without a call in between, and bytes
are noted by the very call that takes them: `list.extend` of a `map`.
"""

from __future__ import annotations

import errno
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError
from struct import unpack
from time import monotonic
from typing import Any

from leveret import wire
from leveret.exceptions import DecodeError
from leveret.sync.handlers import is_of_handler

from .exceptions import ERROR_MAP, FrameError, UnexpectedFrame

__all__ = [
    "EMPTY_BUFFER",
    "SIGNED_INT_MAX",
    "TAKEN_MAX",
    "UNAVAILABLE",
    "OtherGreenletRead",
    "Reader",
]

EMPTY_BUFFER = b""
SIGNED_INT_MAX = 0x7FFFFFFF
#: Not the end of a connection: nothing there, or interrupted.
UNAVAILABLE = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOENT, errno.EWOULDBLOCK})
#: Two methods do not fit into so many bytes (the least has 12): none is hidden behind another.
TAKEN_MAX = 21
#: For how long a look at the socket holds, in seconds.
LOOK_SECONDS = 0.001
_ENDED = "Server unexpectedly closed connection"  # oslo.messaging looks for these words


class OtherGreenletRead(Exception):
    """Another greenlet has read meanwhile: what was waited for may have come."""


class Reader:
    """The reading half of a transport.

    Attributes:
        sock: the socket, None where there is none.
        connected: whether it is of use, as far as is known.
        raise_on_initial_eintr: whether nothing there is socket.timeout, where a frame begins.
        frame_max: of frames received; 0 until the connection has agreed on one.
        idle_until: how long the last look of `is_idle` holds, by the monotonic clock.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_arrived",
        "_items",
        "_kernel_recv",
        "_left",
        "_needed",
        "_owed",
        "_paid",
        "_poll",
        "_read_buffer",
        "_reading",
        "_turn",
        "connected",
        "frame_max",
        "idle_until",
        "raise_on_initial_eintr",
        "sock",
    )

    #: Whether `_poll`, where it is there, tells all that a timeout is needed for.
    _polls_alone = False

    def __init__(self, raise_on_initial_eintr: bool) -> None:
        self.connected = False
        self.sock: Any = None
        self.raise_on_initial_eintr = raise_on_initial_eintr
        self.frame_max = 0
        self._read_buffer = EMPTY_BUFFER  # the beginning of a frame
        self._needed = 8  # bytes without which decoding it gives nothing
        # decoded and not yet handed out: so many of these, the last one first
        self._items: list[wire.Item] = []
        self._left = 0
        self._owed = 0  # bytes of what was decoded that are still in the kernel, but for ...
        self._paid: list[bytes] = []  # ... these
        self._arrived: list[bytes] = []  # taken from the kernel, not yet decoded: one piece at most
        self._kernel_recv: Any = None  # of the TCP socket
        self._poll: Any = None  # see `_poller`
        self.idle_until = 0.0
        self._reading: int | None = None  # the greenlet that does
        self._turn: threading.Event | None = None  # its end, for others

    @contextmanager
    def having_timeout(self, timeout: float | None) -> Iterator[Any]:
        """Other than the socket's own timeout for a while, in seconds; None leaves it.

        Raises:
            socket.timeout: whatever the socket or TLS calls it.
        """
        sock = self.sock
        if timeout is None:
            yield sock
            return
        previous = sock.gettimeout()
        try:
            if previous != timeout:
                sock.settimeout(timeout)
            yield sock
        except SSLError as error:
            words = str(error)
            if "timed out" in words or "The operation did not complete" in words:
                raise TimeoutError(words) from None
            raise
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise TimeoutError(str(error)) from None
            raise
        finally:
            if previous != timeout:
                sock.settimeout(previous)

    def next_item(self, timeout: float | None = None) -> wire.Item:
        """The next message, method or frame.

        Args:
            timeout: seconds; None for the socket's own.

        Raises:
            socket.timeout: it did not come; what has come of it is kept.
            OSError: the connection has ended.
            UnexpectedFrame, FrameError: malformed bytes.
            OtherGreenletRead: nothing came that nobody else has read.
        """
        left = self._left
        if not left:
            if self._poll is None:
                self._fill_in_turn(timeout)
            elif timeout is None or self._polls_alone:
                self._fill(timeout)
            elif timeout == 0 and not self._arrived and not self._poll.poll(0):
                raise TimeoutError("nothing has come")
            else:
                with self.having_timeout(timeout):
                    self._fill()
            left = self._left
        left -= 1
        item = self._items[left]
        if not left:
            if self._owed:
                self._pay(0)
            self._items = []
        self._left = left
        return item

    def put_back(self, item: wire.Item, error: BaseException) -> None:
        """What was handed out last has met an error: a signal handler's is none of its own."""
        if not isinstance(error, Exception) or is_of_handler(error):
            self._items = [*self._items[: self._left], item]
            self._left += 1

    def is_idle(self) -> bool:
        """Whether nothing had come a moment ago, not even the end.

        For who would only like to know, and asks all the time: a look at the socket is a system
        call, and holds for `LOOK_SECONDS`. False where it is not cheap to know.
        """
        if self._poll is None or self._items or self._arrived:
            return False
        now = monotonic()
        if now < self.idle_until:
            return True
        if self._poll.poll(0):
            return False
        self.idle_until = now + LOOK_SECONDS
        return True

    def _pay(self, left: int) -> None:
        """Take from the kernel what was decoded, but for the last `left` bytes."""
        paid = self._paid
        size = self._owed - left
        if paid:  # an interrupt has come before
            size -= sum(map(len, paid))
        try:
            while size > 0:
                paid.extend(map(self._kernel_recv, (size,)))
                taken = len(paid[-1])
                if not taken:
                    break  # the end: the next read says so
                size -= taken
        except OSError as error:
            if is_of_handler(error):
                raise
            # reset since: the next read says so
        self._owed = left
        self._paid = []

    def _fill(self, timeout: float | None = None) -> None:
        """Wait until there is an item, at least; for bytes of it with this timeout."""
        if timeout is not None and timeout < 0:
            raise ValueError("a timeout is not negative")
        if self._owed:  # the same
            self._pay(0)
        while True:
            held = self._read_buffer
            if self._arrived:  # the same
                data, behind = self._arrived[0], 0
            else:
                if self._needed <= len(held):
                    if self._decode(held, 0):
                        return
                    held = self._read_buffer
                data, behind = self._get(self._needed - len(held) if held else 0, timeout)
            if self._decode(held + data if held else data, behind):
                return

    def _fill_in_turn(self, timeout: float | None) -> None:
        """`_fill`, by one greenlet at a time."""
        me = threading.get_ident()
        if self._reading not in (None, me):
            self._turn = self._turn or threading.Event()
            if timeout == 0 or not self._turn.wait(timeout):
                raise TimeoutError("timed out")
            raise OtherGreenletRead
        self._reading = me
        try:
            with self.having_timeout(timeout):
                self._fill()
        finally:
            self._reading, turn, self._turn = None, self._turn, None
            if turn is not None:
                turn.set()

    def take(self, frame: bytes, timeout: float | None = None) -> bool:
        """Wait until something comes, and take it if it is this very frame.

        For who waits for a small frame, and knows which: it needs no decoding, and is not looked
        at before it is taken. What comes instead is handed out by `next_item`.

        Args:
            frame: at most `TAKEN_MAX` bytes.
            timeout: as in `next_item`, and so is what is raised.

        Returns:
            Whether it was that frame. False, without waiting, where it cannot be known.
        """
        if (
            self._items
            or self._read_buffer
            or self._arrived
            or self._owed
            or not self._polls_alone
            or self._poll is None
        ):
            return False
        if timeout is None:
            arrived = self._arrived
            try:
                arrived.extend(map(self._kernel_recv, (len(frame),)))
            except OSError as error:
                self._failed(error)
                return False
            data = arrived[0]
            if not data:
                raise self._end()
        else:
            data, _ = self._get(len(frame), timeout)
        if data == frame:
            self._arrived = []
            return True
        self._decode(data, 0)
        return False

    def _get(self, missing: int, timeout: float | None) -> tuple[bytes, int]:
        """`_receive` within a timeout, and with py-amqp's errors."""
        while True:
            if timeout is not None and not self._poll.poll(min(timeout * 1000, SIGNED_INT_MAX)):
                raise TimeoutError("timed out")
            try:
                data, behind = self._receive(missing)
            except OSError as error:
                self._failed(error)
                continue
            if not data:
                raise self._end()
            return data, behind

    def _failed(self, error: OSError) -> None:
        """Reading has: back if it may be tried again."""
        if is_of_handler(error):
            raise error
        if error.errno in (errno.EAGAIN, errno.EINTR):
            begun = self._read_buffer or self.raise_on_initial_eintr
            if begun or self.sock.gettimeout() == 0:
                raise TimeoutError(str(error)) from None
            return
        if not isinstance(error, TimeoutError):
            self.connected = False
        raise error

    def _end(self) -> OSError:
        self.connected = False
        self._arrived = []
        return OSError(_ENDED)

    def _decode(self, data: bytes, behind: int) -> bool:
        """Decode what is whole in `data`, of which the last `behind` bytes are in the kernel too.

        Returns:
            Whether there are items now.
        """
        try:
            items, position, needed = wire.decode_frames(data, 0, self.frame_max)
        except DecodeError as error:
            if is_of_handler(error):
                raise
            self._note([], data, 0, behind, 0)  # whoever reads on gets the same error again
            raise _peer_error(error) from error
        left = 0
        if len(items) > 1:
            items.reverse()
            left = 1
        self._note(items, data[position:] if position else data, needed, behind, left)
        return bool(items)

    def _note(
        self, items: list[wire.Item], rest: bytes, needed: int, behind: int, left: int
    ) -> None:
        """Bytes are decoded: take them from the kernel, but for the last `left`."""
        count = len(items)
        self._items = items  # no call from here ...
        self._left = count
        self._read_buffer = rest
        self._needed = needed
        self._owed = behind
        if self._arrived:
            self._arrived = []  # ... to here
        if behind:
            self._pay(left)

    def _receive(self, missing: int) -> tuple[bytes, int]:
        """Wait for bytes.

        Args:
            missing: how many to take; 0 to look at whatever comes.

        Returns:
            The bytes, and how many bytes in the kernel they were made of. What is there no more is
            in `_arrived`.
        """
        raise NotImplementedError

    def read_frame(self, unpack: Any = unpack) -> tuple[int, int, bytes]:
        """One frame: type, channel, payload.

        Raises:
            socket.timeout: it did not come; what has come of it is kept.
            OSError: the connection has ended.
            UnexpectedFrame: it does not end as a frame ends.
        """
        if self._items:
            raise RuntimeError("read_frame() where messages were read already: use one of the two")
        taken = EMPTY_BUFFER
        try:
            header = self._read(7, True)
            taken += header
            kind, channel, size = unpack(">BHI", header)
            payload = EMPTY_BUFFER
            while size > SIGNED_INT_MAX:  # what one recv() can be asked for
                part = self._read(SIGNED_INT_MAX)
                taken += part
                payload += part
                size -= SIGNED_INT_MAX
            rest = self._read(size)
            taken += rest
            payload = payload + rest if payload else rest
            end = self._read(1)[0]
        except BaseException as error:
            self._read_buffer = taken + self._read_buffer
            if not isinstance(error, OSError) or isinstance(error, TimeoutError):
                raise
            windows = os.name == "nt" and error.errno == errno.EWOULDBLOCK
            if windows or (isinstance(error, SSLError) and "timed out" in str(error)):
                raise TimeoutError(str(error)) from None
            if error.errno not in UNAVAILABLE and not is_of_handler(error):
                self.connected = False
            raise
        if end != wire.FRAME_END:
            raise UnexpectedFrame(f"Received frame_end {end:#04x} while expecting 0xce")
        return kind, channel, payload

    def _read(self, n: int, initial: bool = False) -> bytes:
        """Exactly `n` bytes, for `read_frame`; what came before an error is kept."""
        parts = [self._read_buffer]
        have = len(self._read_buffer)
        try:
            while have < n:
                try:
                    parts.extend(map(self._quick_recv, (n - have,)))
                except OSError as error:
                    ours = error.errno in (errno.EAGAIN, errno.EINTR, errno.ENOENT)
                    if not ours or is_of_handler(error):
                        raise
                    if initial and self.raise_on_initial_eintr:
                        raise TimeoutError(str(error)) from None
                    continue
                if not parts[-1]:
                    del parts[-1]
                    raise OSError(_ENDED)
                have += len(parts[-1])
            whole = b"".join(parts)
        except BaseException:
            self._read_buffer = b"".join(parts)
            raise
        self._read_buffer = whole[n:]
        return whole[:n]

    def _quick_recv(self, n: int) -> bytes:
        raise NotImplementedError


def _peer_error(error: DecodeError) -> Exception:
    if "end of the frame" in error.message:
        return UnexpectedFrame(
            f"Received frame_end {error.message.split()[0]} while expecting 0xce"
        )
    if "frame type" in error.message:
        return UnexpectedFrame(str(error))
    kind = ERROR_MAP.get(error.reply_code, FrameError)
    return kind(str(error), (error.class_id, error.method_id), reply_code=error.reply_code)
