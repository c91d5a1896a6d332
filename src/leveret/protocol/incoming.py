"""The bytes that come in: into items, or into the place of a body under way.

`wire.decode_frames` takes what is whole. What is left of a read waits here for more; but a body
frame that is cut goes on in its body: the connection then has a `space` for a transport that can
receive into a buffer, and copies once what comes by `receive`. So a large body is written where it
stays, and is copied nowhere else. The space goes on behind the frame by what stands between two
frames of a body, so that one read of the transport is enough for a frame.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .. import wire
from ..exceptions import DecodeError, RemoteProtocolError
from .channel import Channel
from .content import ContentAssembly
from .states import HOLDING, State

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["HANDSHAKE_FRAME_MAX", "Incoming"]

T = TypeVar("T")

HANDSHAKE_FRAME_MAX = 131072
HELD_MAX = HANDSHAKE_FRAME_MAX  # bytes that a client may send ahead of the server's verdict
_BETWEEN = struct.Struct(">BBHI")  # end of a frame; type, channel, size of the next one
CUT_MIN = 4096  # bytes of a frame still to come that are worth a way of their own


class _BodyFrame:
    """A body frame under way."""

    __slots__ = ("assembly", "channel", "left", "size")

    def __init__(self, channel: Channel, assembly: ContentAssembly, size: int) -> None:
        self.channel = channel
        self.assembly = assembly
        self.size = size
        self.left = size


class Incoming:
    """Received bytes of one connection.

    Attributes:
        needed: bytes without which decoding gives nothing.
        last_received: when bytes last came.
        in_body: the next bytes are of a large body under way: there is no end of them soon, and
            a short read is enough where `space` gives nothing.
    """

    __slots__ = (
        "_chunk_bytes",
        "_chunks",
        "_connection",
        "_delivery_class",
        "_frame",
        "_holding",
        "_space",
        "in_body",
        "last_received",
        "needed",
    )

    def __init__(self, connection: Connection, delivery_class: type[wire.Delivery]) -> None:
        self._connection = connection
        self._delivery_class = delivery_class
        self._chunks: list[bytes] = []  # received, not yet decoded
        self._chunk_bytes = 0
        self.needed = 0
        self._holding = False  # bytes for a verdict
        self._frame: _BodyFrame | None = None
        self._space: memoryview | None = None  # given to the transport
        self.in_body = False
        self.last_received = 0.0

    def receive(self, data: bytes, now: float) -> None:
        """Bytes have come."""
        if not data:
            return
        self.last_received = now
        connection = self._connection
        if connection.deaf:
            return
        try:
            if self._frame is not None:
                data = self._into_body(self._frame, data)
                if not data:
                    return
            if self._chunks:
                self._chunks.append(data)
                self._chunk_bytes += len(data)
                if self._chunk_bytes < self.needed:
                    return
                data = b"".join(self._chunks)
                self._chunks.clear()
            if connection.state is State.OPEN:  # the usual case, without more calls
                items, position, self.needed = wire.decode_frames(
                    data, 0, connection.limits.frame_max, self._delivery_class
                )
                if items:
                    connection.receive_items(items, now)
                if position == len(data):
                    self.in_body = False
                    return
                if connection.deaf:
                    return
                data = data[position:] if position else data
            self._receive(data, now)
        except RemoteProtocolError as error:
            if not wire.is_own(error):
                raise
            self._connection.fault(error)

    def receive_only(
        self, take: Callable[[wire.Method, Any], T | None], token: object, data: bytes, now: float
    ) -> T | None:
        """Bytes have come that may be nothing but one answer: the way of most round trips, without
        events.

        Args:
            take: a channel's `take_reply` or `take_confirm`.
            token: whose answer.

        Returns:
            What `take` gives; None where the bytes are something else: they are for `receive` then.
        """
        connection = self._connection
        if self._frame is not None or self._chunks or connection.state is not State.OPEN:
            return None
        method = wire.decode_only(data, connection.limits.frame_max)
        if method is None:
            return None
        answer = take(method, token)
        if answer is not None:
            self.last_received = now
        return answer

    def go_on(self) -> None:
        """A verdict was given: read what the client has sent ahead."""
        self._holding = False
        if self._chunks:
            data = b"".join(self._chunks)
            self._chunks.clear()
            try:
                self._receive(data, self.last_received)
            except RemoteProtocolError as error:
                if not wire.is_own(error):
                    raise
                self._connection.fault(error)

    def clear(self) -> None:
        """Nothing counts any more."""
        self._chunks.clear()
        self._frame = self._space = None
        self.in_body = False

    def _receive(self, data: bytes, now: float) -> None:
        rest = self._decode(data, now)
        if self._connection.deaf or not rest:
            self.in_body = False
            return
        if not self._is_body(rest):
            self._chunks.append(rest)
            self._chunk_bytes = len(rest)

    def _decode(self, data: bytes, now: float) -> bytes:
        """Handle all that is whole in `data`; give back the rest."""
        connection = self._connection
        position = 0
        while True:
            if connection.state is State.IDLE or connection.state is State.START:
                header = connection.side.receive_header(data[position:], now)
                if header is None:
                    self.needed = len(data) - position + 1
                    return data[position:]
                position += header
                if connection.deaf:
                    return b""
            if connection.state is not State.OPEN and connection.state is not State.CLOSING:
                if connection.state in HOLDING:
                    return self._hold(data[position:])
                used = self._decode_one(data, position, now)
                position += used
                if connection.deaf:
                    return b""
                if not used:
                    return data[position:]
                continue
            items, position, self.needed = wire.decode_frames(
                data, position, connection.limits.frame_max, self._delivery_class
            )
            if items:
                connection.receive_items(items, now)
                if connection.deaf:
                    return b""
            if self.needed:
                return data[position:] if position else data

    def _decode_one(self, data: bytes, position: int, now: float) -> int:
        """Handle one frame of the handshake, for it may change the limits; how long it was."""
        end = position + wire.FRAME_OVERHEAD
        end += int.from_bytes(data[position + 3 : position + 7], "big")
        items, used, self.needed = wire.decode_frames(
            data[position:end], 0, self._connection.limits.frame_max, self._delivery_class
        )
        self._connection.receive_items(items, now)
        return used

    def _hold(self, data: bytes) -> bytes:
        """Server role: keep what comes before the caller's verdict, within a bound.

        The bytes of one read are taken in any case: how a stream is cut must not matter.
        """
        if self._holding and len(data) > HELD_MAX:
            raise RemoteProtocolError(
                f"more than {HELD_MAX} bytes were sent in connection state "
                f"{self._connection.state.value}",
                channel=0,
            )
        self._holding = True
        self.needed = HELD_MAX + 1
        return data

    # -- bodies ----------------------------------------------------------------------------

    def _is_body(self, rest: bytes) -> bool:
        """Whether the rest begins a body frame that goes on in its body; it is taken, then."""
        channel = self._connection.channels.get(int.from_bytes(rest[1:3], "big"))
        assembly = channel.assembly if channel is not None else None
        self.in_body = assembly is not None and assembly.missing > 0 and assembly.size > CUT_MIN
        if not self.in_body or len(rest) < wire.FRAME_HEADER_SIZE or rest[0] != wire.FrameType.BODY:
            return False
        assert channel is not None
        assert assembly is not None
        size = int.from_bytes(rest[3:7], "big")
        there = len(rest) - wire.FRAME_HEADER_SIZE
        if size - there < CUT_MIN or size > assembly.missing:
            return False
        self._frame = _BodyFrame(channel, assembly, size)
        self._into_body(self._frame, memoryview(rest)[wire.FRAME_HEADER_SIZE :])
        return True

    def _into_body(self, frame: _BodyFrame, data: bytes | memoryview) -> bytes:
        """Take what belongs to the body frame; give back what follows it."""
        count = min(frame.left, len(data))
        if count:
            frame.assembly.take(memoryview(data)[:count])
            frame.left -= count
        if count == len(data):
            return b""
        if data[count] != wire.FRAME_END:
            raise DecodeError(
                f"0x{data[count]:02x} in place of the end of the frame",
                offset=frame.size + wire.FRAME_HEADER_SIZE,
                channel=frame.channel.number,
            )
        self._frame = None
        frame.channel.receive_taken(frame.assembly)
        self.in_body = frame.assembly.missing > 0
        return b"" if self._connection.deaf else bytes(data[count + 1 :])

    def space(self) -> memoryview | None:
        """Where the next bytes belong, if it is in a body."""
        frame = self._frame
        if frame is None or not frame.left:
            return None
        self._space = space = frame.assembly.space(frame.left, wire.FRAME_OVERHEAD)
        return space

    def filled(self, count: int, now: float) -> None:
        """So many bytes were written into `space`."""
        frame, space = self._frame, self._space
        self._space = None
        self.last_received = now
        if frame is None or space is None:  # the connection has ended meanwhile
            return
        left = frame.left
        if count <= left:
            frame.assembly.filled(count)
            frame.left -= count
        else:
            frame.assembly.filled(left)
            frame.left = 0
            if count - left != wire.FRAME_OVERHEAD or not self._goes_on(frame, space[left:count]):
                self.receive(bytes(space[left:count]), now)

    def _goes_on(self, frame: _BodyFrame, between: memoryview) -> bool:
        """Whether these bytes end the frame and begin another one of its body; it is taken, then.

        So it is in the middle of a large body, and many steps are left out.
        """
        end, kind, channel, size = _BETWEEN.unpack(between)
        limit = self._connection.limits.frame_max
        if (
            end != wire.FRAME_END
            or kind != wire.FrameType.BODY
            or channel != frame.channel.number
            or not CUT_MIN <= size <= frame.assembly.missing
            or 0 < limit < size + wire.FRAME_OVERHEAD
        ):
            return False
        frame.size = frame.left = size
        return True
