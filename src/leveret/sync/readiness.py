"""Waiting for a socket, or for another thread that has something to say.

One thread at a time waits here. `select.poll` where there is one: it costs less than an epoll
object for two descriptors, and half of the wrapper of the module `selectors`.
"""

from __future__ import annotations

import contextlib
import select
import socket
from collections.abc import Callable
from types import BuiltinFunctionType
from typing import Protocol

__all__ = ["READ", "WAKE", "WRITE", "Readiness"]

READ, WRITE, WAKE = 1, 2, 4


class _Descriptor(Protocol):
    def fileno(self) -> int: ...


class Readiness:
    """A stream's descriptor, and a waker.

    Args:
        stream: what has a descriptor to be read and written.

    Attributes:
        takes_many: whether two may wait for one stream at the same time: eventlet does not let
            them.
        wait: wait until something of READ and WRITE can be done, `wake` is called, or so many
            seconds are over (None for no limit). Says which of READ, WRITE and WAKE hold.
        descriptors: the stream's and the one that `wake` makes readable, where they may be waited
            for by other means, too: for nobody has patched this.
    """

    __slots__ = ("_waiting", "_waker", "descriptors", "takes_many", "wait")

    wait: Callable[[int, float | None], int]

    def __init__(self, stream: _Descriptor) -> None:
        self._waker, woken = socket.socketpair()
        self._waker.setblocking(False)
        woken.setblocking(False)
        kind = _Poll if hasattr(select, "poll") else _Select
        self.takes_many = kind is _Poll
        self._waiting = kind(stream.fileno(), woken)
        self.wait = self._waiting.wait
        self.descriptors: tuple[int, int] | None = None
        if kind is _Poll and isinstance(select.poll, BuiltinFunctionType):
            self.descriptors = stream.fileno(), woken.fileno()

    def wake(self) -> None:
        """Make `wait` return, now or the next time. Any thread, and any signal handler, may."""
        with contextlib.suppress(OSError):
            self._waker.send(b"\0")

    def close(self) -> None:
        """Close the waker; the stream is its owner's."""
        self._waker.close()
        self._waiting.woken.close()


def _drain(woken: socket.socket) -> int:
    with contextlib.suppress(BlockingIOError):
        woken.recv(4096)
    return WAKE


class _Poll:
    def __init__(self, stream: int, woken: socket.socket) -> None:
        self._stream = stream
        self.woken = woken
        self._poll = select.poll()
        self._poll.register(woken, select.POLLIN)
        self._wanted = 0
        self._busy = False
        self._usual = [(stream, select.POLLIN)]

    def wait(self, wanted: int, timeout: float | None) -> int:
        if self._busy:  # in a signal handler: a poll object waits for one at a time
            return _Poll(self._stream, self.woken).wait(wanted, timeout)
        found = 0
        self._busy = True
        try:
            if wanted != self._wanted:
                self._register(wanted)
            ready = self._poll.poll(None if timeout is None else timeout * 1000)
        finally:
            self._busy = False
        if ready == self._usual:
            return READ
        for descriptor, events in ready:
            if descriptor != self._stream:
                found |= _drain(self.woken)
                continue
            if events & select.POLLOUT:
                found |= WRITE
            if events & ~select.POLLOUT:  # an error is read, too
                found |= READ
        return found

    def _register(self, wanted: int) -> None:
        self._wanted = -1  # not known, where a signal handler raises
        if wanted:
            mask = (select.POLLIN if wanted & READ else 0) | (
                select.POLLOUT if wanted & WRITE else 0
            )
            self._poll.register(self._stream, mask)
        else:
            with contextlib.suppress(KeyError):
                self._poll.unregister(self._stream)  # of an error it would tell all the same
        self._wanted = wanted


class _Select:
    """For Windows, and for programs whose `select` was patched."""

    def __init__(self, stream: int, woken: socket.socket) -> None:
        self._stream = stream
        self.woken = woken

    def wait(self, wanted: int, timeout: float | None) -> int:
        reads: list[int | socket.socket] = [self.woken]
        if wanted & READ:
            reads.append(self._stream)
        writes = [self._stream] if wanted & WRITE else []
        readable, writable, _ = select.select(reads, writes, [], timeout)
        found = WRITE if writable else 0
        for descriptor in readable:
            found |= READ if descriptor == self._stream else _drain(self.woken)
        return found
