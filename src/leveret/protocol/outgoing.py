"""The bytes that go out: a queue of pieces, taken a chunk at a time.

A frame, or a content that was joined, is one piece of `bytes`. A large content is many: in the
middle of it stand views of the body, and `bytes` that begin with the end of the frame before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

from .. import wire
from .settle import Acks
from .states import State

if TYPE_CHECKING:
    from .server_channel import ServerChannel

__all__ = ["JOINED", "Outgoing", "Pieces"]

Pieces: TypeAlias = list[bytes | memoryview]

JOINED = 65536  # bytes up to which joining is cheaper than sending pieces
CRUMBS = 4096  # bytes at the end that leave with the chunk before them
CHUNK = 262144  # bytes that are joined at a time: a large body is never copied whole


def _cut_chunk(pieces: Pieces, start: int) -> tuple[int, int]:
    """Where the next chunk of the pieces from `start` on ends, and its size in bytes.

    A piece that is larger than a chunk is cut in two, in the list.
    """
    size, stop = 0, start
    while stop < len(pieces) and size < CHUNK:
        piece = pieces[stop]
        if len(piece) > CHUNK:
            view = memoryview(piece)
            pieces[stop : stop + 1] = [view[:CHUNK], view[CHUNK:]]
        size += len(pieces[stop])
        stop += 1
    rest = pieces[stop : stop + 3]
    if rest and stop + len(rest) == len(pieces) and sum(map(len, rest)) <= CRUMBS:
        return len(pieces), size + sum(map(len, rest))
    return stop, size


def _first_untouched(pieces: Pieces, start: int) -> int:
    """The first piece from `start` on with which no content goes on that has begun to leave."""
    while start < len(pieces):
        piece = pieces[start]
        if type(piece) is bytes and piece[0] != wire.FRAME_END:
            break
        start += 1
    return start


class Outgoing:
    """The part of a connection that queues bytes, until its transport asks for them.

    Attributes:
        state: see `states`.
        out: what is queued, in pieces. For the parts of this layer.
        bytes_queued: how many bytes were queued for sending since the start.
        bytes_sent: how many of them were taken by `data_to_send`.
        acks: client role: those that wait for the next bytes to be asked for.
    """

    __slots__ = (
        "_farewells",
        "_out_start",
        "acks",
        "bytes_queued",
        "bytes_sent",
        "out",
        "state",
    )

    def __init__(self) -> None:
        self.state = State.IDLE
        self.out: Pieces = []
        self._out_start = 0
        self.bytes_queued = 0
        self.bytes_sent = 0
        self.acks = Acks()
        self._farewells: list[tuple[ServerChannel | None, bytes]] = []

    def write(self, piece: bytes) -> None:
        """Queue bytes. For the parts of this layer."""
        self.out.append(piece)
        self.bytes_queued += len(piece)

    def write_last(self, channel: ServerChannel | None, piece: bytes) -> None:
        """Queue bytes behind what the caller writes until it asks for bytes.

        For the parts of this layer: the server's answers to closes.

        Args:
            channel: is told to `finish()` then; None for the connection.
        """
        self._farewells.append((channel, piece))

    def _write_farewells(self) -> None:
        farewells, self._farewells = self._farewells, []
        for channel, piece in farewells:
            if channel is not None:
                channel.finish()
            if piece and (channel is None or self.state is not State.CLOSING):
                self.write(piece)

    def _clear_out(self, start: int) -> None:
        """Give up what is queued from the piece at `start` on."""
        self.bytes_queued -= sum(len(piece) for piece in self.out[max(start, self._out_start) :])
        del self.out[start:]
        if not start:
            self._out_start = 0

    def _drop_unsent(self) -> None:
        """Give up the frames of which no byte was taken: the peer does not read them any more."""
        self._clear_out(_first_untouched(self.out, self._out_start))

    def write_content(self, content: bytes | list[bytes | memoryview]) -> None:
        """Queue a whole content. For the parts of this layer."""
        if isinstance(content, bytes):
            self.out.append(content)
            self.bytes_queued += len(content)
        else:
            self.out += content
            self.bytes_queued += sum(len(piece) for piece in content)

    def data_to_send_acks(self) -> None:
        """Queue the acknowledgements kept back, before something that ends them."""
        acks = self.acks.take()
        if acks:
            self.write(acks)

    def acks_may_wait(self) -> bool:
        """Whether all that there is to send are acks that the broker does not need yet."""
        return not self.out and not self._farewells and self.acks.may_wait()

    def pieces_to_send(self) -> bytes | Pieces:
        """As `data_to_send`, for a transport that can send pieces: large ones are not joined."""
        if self.bytes_queued - self.bytes_sent <= JOINED or self.acks.noted or self._farewells:
            return self.data_to_send()
        stop, size = _cut_chunk(self.out, self._out_start)
        if size < (stop - self._out_start) * JOINED // 4:
            return self.data_to_send()
        return self._take(stop, size)

    def data_to_send(self) -> bytes:
        """The next bytes for the transport, in order; empty when there are none.

        At most about 256 KiB at a time: call again until it gives nothing.
        """
        if self.acks.noted:
            self.data_to_send_acks()
        if self._farewells:
            self._write_farewells()
        out = self.out
        if not out:
            return b""
        if self.bytes_queued - self.bytes_sent <= CHUNK:
            data = b"".join(out[self._out_start :] if self._out_start else out)
            out.clear()
            self._out_start = 0
            self.bytes_sent = self.bytes_queued
            return data
        return b"".join(self._take(*_cut_chunk(out, self._out_start)))

    def _take(self, stop: int, size: int) -> Pieces:
        """The queued pieces up to `stop`, which have `size` bytes."""
        out = self.out
        pieces = out[self._out_start : stop]
        self._out_start = stop
        if (stop > 4096 and stop * 2 > len(out)) or stop == len(out):
            del out[:stop]
            self._out_start = 0
        self.bytes_sent += size
        return pieces

    def has_data_to_send(self) -> bool:
        """Whether `data_to_send()` would give something."""
        return bool(self.out) or self.acks.noted or bool(self._farewells)

    def bytes_waiting(self) -> int:
        """How many queued bytes were not taken yet."""
        return self.bytes_queued - self.bytes_sent

    def pieces_waiting(self) -> int:
        """How many pieces of them are queued: of small messages, one each."""
        return len(self.out) - self._out_start
