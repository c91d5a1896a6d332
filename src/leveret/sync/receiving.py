"""Reading the socket of a blocking connection, for whoever leads: see `engine`."""

from __future__ import annotations

import contextlib
import time

from .. import protocol
from ..client.parameters import Parameters
from .handlers import is_of_handler
from .sending import Sender
from .stream import Stream

__all__ = ["STREAM", "Receiver"]

MANY = 4  # deliveries in one read, of which a large prefetch lets more come
STREAM = 4  # reads that brought many: the broker has more
LARGE_READ = 131072  # bytes a read may bring
# the same, where it would bring more than 500 deliveries: with 700 new objects at a time Python's
# garbage collector comes by, which was a tenth of what a delivery costs
CROWDED_READ = 65536
SMALL = 256  # bytes of a delivery and its frames: as many of them do
# the same, until that was too little, and again when one brings a quarter of it: room for more
# costs, used or not
SMALL_READ = 16384
BETWEEN = 4096  # the same, between two frames of a large body


class Receiver(Sender):
    """The part of a connection's inside that reads."""

    __slots__ = (
        "_finished",
        "_recv",
        "_room",
    )

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options, stream)
        self._room = SMALL_READ  # for the next read
        self._large = LARGE_READ  # for the one after it
        self._left_some = False  # the last read has, in the socket
        self._recv = stream.receive
        self._finished = False  # the protocol has ended: flush, then close

    def _receive(self) -> None:
        """Read: once, but on and on in the middle of a large body, while there is nothing else."""
        connection, stream, incoming = self.protocol, self._stream, self.protocol.incoming
        try:
            while True:
                in_body = incoming.in_body
                space = incoming.space() if in_body and not self._encrypted else None
                if space is not None:
                    count = stream.receive_into(space)
                    data = None if count is None else b""
                else:
                    count = 0
                    try:
                        data = self._recv(BETWEEN if in_body else self._room)
                    except (BlockingIOError, InterruptedError) as error:
                        if is_of_handler(error):
                            raise
                        data = None
                if data is None:
                    self._falters()
                    return
                with self.lock:
                    before = self.streamed
                    if count:
                        connection.body_filled(count, time.monotonic())
                    else:
                        self._received(data)
                    if self.dispatch():
                        brought = self.streamed - before
                        if brought >= MANY:
                            self._streak += 1
                        else:
                            self._falters()
                        crowded = data and brought * SMALL > len(data)
                        self._large = CROWDED_READ if crowded else LARGE_READ
                        return
                if not incoming.in_body:
                    return
        except BaseException as error:
            # from a signal handler, where a caller's thread reads
            if not isinstance(error, Exception) or is_of_handler(error):
                with self.lock:
                    self._interrupted(error)
            raise

    def _falters(self) -> None:
        """A read brought few deliveries, or none: a stream that only paused goes on with the next
        one that brings many. Where RabbitMQ shares two cores with the client it pauses at one read
        of ten; to begin anew each time made four of ten reads small ones.
        """
        self._streak = max(min(self._streak, STREAM) - 1, 0)

    def _received(self, data: bytes) -> None:
        """Under the lock: these bytes were read; none at the end of the stream."""
        now = time.monotonic()
        if data:
            size = len(data)
            self._left_some = size >= self._room
            if self._left_some:
                self._room = self._large
            elif size < SMALL_READ // 4:
                self._room = SMALL_READ
            self.protocol.incoming.receive(data, now)
        else:
            self.protocol.receive_eof(now)

    def _receive_last_words(self) -> None:
        """Sending has failed: what the broker said before, such as why it closes, still counts."""
        with contextlib.suppress(OSError):  # that nothing is there now included
            while (data := self._stream.receive(LARGE_READ)) and not self._finished:
                with self.lock:
                    self.protocol.receive_data(data, time.monotonic())
                    self.dispatch()
