"""Reading a stream of deliveries in larger pieces.

A broker delivers in small pieces. Each wakes the loop, and to wake up, with cold caches, costs more
than the few deliveries do that there are. So where read after read brings many of them, the socket
is asked to be readable only when there is as much as comes in `PAUSE` seconds (SO_RCVLOWAT); a
timer takes that back where it does not come. Nobody who waits for an answer may wait for it, too.

On Linux only: it looks anew at what lies there when less is asked for. A kqueue is not told of it,
and the last messages of a stream would lie there until more come.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import sys
from asyncio.trsock import TransportSocket

__all__ = ["Gathering"]

MANY = 4  # deliveries in one read
STREAM = 4  # reads that brought many: the broker has more
PAUSE = 0.002  # seconds between two reads of a stream
PATIENCE = 0.003  # seconds in which they must come
LARGEST = 32768  # bytes that are waited for

_OPTION = getattr(socket, "SO_RCVLOWAT", None) if sys.platform == "linux" else None


class Gathering:
    """How much a connection's socket waits for.

    Args:
        sock: as the transport gives it; None if it gives none.

    Attributes:
        low: bytes that make the socket readable.
    """

    __slots__ = ("_last", "_loop", "_socket", "_streak", "_timer", "low")

    def __init__(self, loop: asyncio.AbstractEventLoop, sock: TransportSocket | None) -> None:
        self._loop = loop
        self._socket = sock if _OPTION is not None else None
        self.low = 1
        self._streak = 0
        self._last = 0.0  # when the last read was
        self._timer: asyncio.TimerHandle | None = None

    def has_read(self, size: int, deliveries: int, now: float, free: bool) -> None:
        """After each read that brought deliveries, and after each while `low` is more than 1.

        Deliveries to consumers with a small prefetch do not count: it ends before a pause does.

        Args:
            size: bytes it brought.
            deliveries: how many it brought.
            now: on the loop's clock.
            free: nothing is in a hurry: nobody waits for an answer, and the broker for nothing.
        """
        since, self._last = now - self._last, now
        if deliveries >= MANY:
            self._streak += 1
        else:
            self._falters()
        if self._streak < STREAM or not free:
            if self.low > 1:
                self.stop()
            return
        # no more than twice as much: the prefetch is no bound that this could run into
        wanted = min(LARGEST, int(size * PAUSE / max(since, PAUSE / 2)))
        if not self.low / 2 <= wanted <= self.low * 1.25:  # each change is a system call
            self._set(max(1, wanted))
        if self._timer is not None:
            self._timer.cancel()
        self._timer = self._loop.call_at(now + PATIENCE, self._give_up)

    def _falters(self) -> None:
        """A stream that only paused goes on with the next read that brings many."""
        self._streak = max(min(self._streak, STREAM) - 1, 0)

    def _give_up(self) -> None:
        self._falters()
        self.stop()

    def stop(self) -> None:
        """Read at once what comes."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._set(1)

    def _set(self, low: int) -> None:
        if low != self.low and self._socket is not None and _OPTION is not None:
            self.low = low
            with contextlib.suppress(OSError, ValueError):  # it is closed, or knows no such option
                self._socket.setsockopt(socket.SOL_SOCKET, _OPTION, low)
