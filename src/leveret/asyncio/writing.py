"""Bytes given to a transport in the way that costs least there."""

from __future__ import annotations

import asyncio
import sys

from .. import protocol

__all__ = ["Writer"]

LARGE = 65536  # bytes that are given to a transport as a view: it copies the rest of a send once
JOINS = sys.version_info < (3, 12)  # asyncio's own transports do not send pieces as such
# they do, but never say that they are full (python/cpython#127655), or not that the connection has
# ended (python/cpython#136234)
LOSES_COUNT = (3, 12) <= sys.version_info < (3, 14)
NOTHING = memoryview(b"")


class Writer:
    """What a connection's transport is given.

    Args:
        transport: from now on it says that it is full as soon as anything waits in it. What has to
            wait does so in the protocol: there it is copied once, and known not to have left.
    """

    __slots__ = ("_joins", "_place", "_takes_pieces", "_transport")

    def __init__(self, transport: asyncio.Transport) -> None:
        transport.set_write_buffer_limits(high=1)
        self._transport = transport
        own = isinstance(transport, asyncio.Transport)  # uvloop's are none
        encrypted = transport.get_extra_info("sslcontext") is not None
        self._takes_pieces = not (encrypted or (own and LOSES_COUNT))
        self._joins = own and JOINS
        self._place = NOTHING  # where pieces are joined

    def write_from(self, connection: protocol.Connection) -> bool:
        """Give the transport what the connection has to send next; whether there was anything."""
        data = connection.pieces_to_send() if self._takes_pieces else connection.data_to_send()
        if isinstance(data, bytes):
            if not data:
                return False
            self._transport.write(data if len(data) < LARGE else memoryview(data))
        elif self._joins:
            self._transport.write(self._joined(data))
        else:
            self._transport.writelines(data)
        return True

    def _joined(self, pieces: protocol.Pieces) -> memoryview:
        """Pieces in one, which is good until the next: such a transport copies what it keeps.

        New memory for each is taken from the system and given back, which costs more than the copy.
        """
        size = sum(map(len, pieces))
        if size > len(self._place):
            self._place = memoryview(bytearray(size))
        at = 0
        for piece in pieces:
            self._place[at : at + len(piece)] = piece
            at += len(piece)
        return self._place[:size]
