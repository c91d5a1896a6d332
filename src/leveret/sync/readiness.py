"""Waiting for a socket, or for another thread that has something to say.

One thread at a time waits here. `select.poll` where there is one: it costs less than an epoll
object for two descriptors, and half of the wrapper of the module `selectors`.
"""

from __future__ import annotations

import contextlib
import select
import socket
from typing import Protocol

__all__ = ["READ", "WAKE", "WRITE", "Readiness"]

READ, WRITE, WAKE = 1, 2, 4


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


class Readiness:
    """A stream's descriptor, and a waker.

    Args:
        stream: what has a descriptor to be read and written.
    """

    def __init__(self, stream: _Descriptor) -> None:
        self._stream = stream.fileno()
        self._waker, self._woken = socket.socketpair()
        self._waker.setblocking(False)
        self._woken.setblocking(False)
        kind = _Poll if hasattr(select, "poll") else _Select
        self._waiting = kind(self._stream, self._woken.fileno())

    def wait(self, wanted: int, timeout: float | None) -> int:
        """Wait until something of `wanted` can be done, or `wake` is called.

        Args:
            wanted: READ, WRITE, both or neither.
            timeout: seconds; None for no limit.

        Returns:
            READ, WRITE and WAKE, as far as they hold; 0 after the timeout.
        """
        found = self._waiting.wait(wanted, timeout)
        if found & WAKE:
            with contextlib.suppress(BlockingIOError):
                self._woken.recv(4096)
        return found

    def wake(self) -> None:
        """Make `wait` return, now or the next time. Any thread, and any signal handler, may."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def close(self) -> None:
        """Close the waker; the stream is its owner's."""
        self._waker.close()
        self._woken.close()


class _Poll:
    def __init__(self, stream: int, woken: int) -> None:
        self._stream = stream
        self._poll = select.poll()
        self._poll.register(woken, select.POLLIN)
        self._wanted = 0

    def wait(self, wanted: int, timeout: float | None) -> int:
        if wanted != self._wanted:
            self._register(wanted)
        found = 0
        for descriptor, events in self._poll.poll(None if timeout is None else timeout * 1000):
            if descriptor != self._stream:
                found |= WAKE
                continue
            if events & select.POLLOUT:
                found |= WRITE
            if events & ~select.POLLOUT:  # an error is read, too
                found |= READ
        return found

    def _register(self, wanted: int) -> None:
        if wanted:
            mask = (select.POLLIN if wanted & READ else 0) | (
                select.POLLOUT if wanted & WRITE else 0
            )
            self._poll.register(self._stream, mask)
        else:
            self._poll.unregister(self._stream)  # of an error it would tell all the same
        self._wanted = wanted


class _Select:
    """For Windows, and for programs whose `select` was patched."""

    def __init__(self, stream: int, woken: int) -> None:
        self._stream = stream
        self._woken = woken

    def wait(self, wanted: int, timeout: float | None) -> int:
        reads = [self._woken, self._stream] if wanted & READ else [self._woken]
        writes = [self._stream] if wanted & WRITE else []
        readable, writable, _ = select.select(reads, writes, [], timeout)
        found = WRITE if writable else 0
        for descriptor in readable:
            found |= READ if descriptor == self._stream else WAKE
        return found
