"""The queue of bytes to send: pieces, taken a chunk at a time.

A frame, or a content that was joined, is one piece of `bytes`. A large content is many: in the
middle of it stand views of the body, and `bytes` that begin with the end of the frame before.
"""

from __future__ import annotations

from typing import TypeAlias

from .. import wire

__all__ = ["CHUNK", "JOINED", "Pieces", "cut_chunk", "first_untouched"]

Pieces: TypeAlias = list[bytes | memoryview]

JOINED = 65536  # bytes up to which joining is cheaper than sending pieces
CRUMBS = 4096  # bytes at the end that leave with the chunk before them
CHUNK = 262144  # bytes that are joined at a time: a large body is never copied whole


def cut_chunk(pieces: Pieces, start: int) -> tuple[int, int]:
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


def first_untouched(pieces: Pieces, start: int) -> int:
    """The first piece from `start` on with which no content goes on that has begun to leave."""
    while start < len(pieces):
        piece = pieces[start]
        if type(piece) is bytes and piece[0] != wire.FRAME_END:
            break
        start += 1
    return start
