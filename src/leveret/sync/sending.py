"""The lock of a blocking connection, and who sends.

There is one lock: for the protocol and everything that its events touch, held for memory work only,
and no user code runs under it, a handler of `logging` included. Who has set `_sending`, under the
lock, moves bytes from the protocol to the socket; who finds it set leaves the bytes to the other.
What a signal handler may do in between: see `engine`.
"""

from __future__ import annotations

import struct
import threading
from collections.abc import Callable
from typing import TypeVar

from .. import protocol
from ..client.core import BaseCore
from ..client.parameters import Parameters
from ..exceptions import ConnectionLost, LeveretError, LocalProtocolError
from .handlers import is_of_handler
from .locks import reentrant_lock
from .stream import Stream

__all__ = ["CALLERS_FAULTS", "ReenteredError", "Sender"]

SEND_ROUNDS = 8  # pieces that a caller sends for others before it leaves the rest to the reader

CALLERS_FAULTS = (
    LeveretError,
    ArithmeticError,
    AttributeError,
    LookupError,
    TypeError,
    ValueError,
    struct.error,
)
"""What an operation raises before it has changed anything. Whatever else comes out of one, or was
raised by a signal handler, came halfway through."""

T = TypeVar("T")


class ReenteredError(LocalProtocolError):
    """A thread uses the connection in the middle of its own use of it."""

    def __init__(self) -> None:
        super().__init__(
            "called from a signal handler, or by the garbage collector, while the same thread "
            "was in the middle of an operation of the same connection"
        )


class Sender(BaseCore):
    """The part of a connection's inside that sends. The engine is the rest.

    Attributes:
        lock: see the module.
    """

    __slots__ = (
        "_aborted",
        "_encrypted",
        "_owned",
        "_send_some",
        "_sender",
        "_sending",
        "_streak",
        "_stream",
        "_work",
        "lock",
    )

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options)
        self.lock = reentrant_lock()
        self._owned: Callable[[], bool] = self.lock._is_owned  # type: ignore[attr-defined]
        self._stream = stream
        self._encrypted = stream.encrypted
        self._send_some = stream.send_some
        self._sending = False
        self._sender = 0  # the thread that has set it
        self._streak = 0  # reads that brought many deliveries, less others; only acks were sent
        self._work = False  # there is something to do that only the I/O thread does
        self._aborted = False  # close now

    def wake(self) -> None:
        """Have whoever reads look at what is to do. Takes no lock."""
        raise NotImplementedError

    def _fail(self, error: Exception) -> None:
        """The connection was found broken: somebody has to be told."""
        raise NotImplementedError

    # -- sending ---------------------------------------------------------------------------

    def flush(self, reads: bool = False) -> None:
        """Send what is queued, unless another thread is at it. Not to be called under `lock`.

        Args:
            reads: this thread reads, and will see by itself that there is more to send.

        Raises:
            OSError: the connection is broken.
        """
        stream = self._stream
        try:
            with self.lock:
                if self._sending or self._aborted:
                    return
                pending = stream.unsent or (self._encrypted and stream.has_output())
                data: bytes | protocol.Pieces = b"" if pending else self._next_data()
                if not data and not pending:
                    return
                self._sender = threading.get_ident()
                self._sending = True
            if reads:  # and looks again, so that bytes left to this thread are not overlooked
                if data:
                    stream.send(data)
                else:
                    stream.flush()
                self._sending = False
                return
            rounds = SEND_ROUNDS
            while True:
                sent = stream.send(data) if data else stream.flush()
                rounds -= 1
                with self.lock:
                    data = self._next_data() if sent and rounds and not self._aborted else b""
                    if not data:
                        self._sending = False
                        break
            if self._has_last_bytes():
                self.wake()  # whoever reads goes on, when the socket takes more
        except BaseException as error:
            self._sending_failed(error)
            raise

    def _send(self, data: bytes | protocol.Pieces) -> None:
        """Send what was taken with `_sending`."""
        try:
            self._stream.send(data)
            self._sending = False
        except BaseException as error:
            self._sending_failed(error)
            raise

    def _sending_failed(self, error: BaseException) -> None:
        """Where this thread was about to send, or at it."""
        try:
            if not isinstance(error, OSError) or is_of_handler(error):
                with self.lock:
                    self._interrupted(error)
        finally:
            if self._sending and self._sender == threading.get_ident():
                self._sending = False

    def may_flush(self) -> bool:
        """Whether `flush` would send something now: nobody is at it, and the socket takes more."""
        return not self._sending and not self._stream.unsent

    def _next_data(self) -> bytes | protocol.Pieces:
        """What to send next, under the lock."""
        connection = self.protocol
        queued = connection.bytes_queued - connection.bytes_sent  # without acks
        if queued:
            self._streak = 0
        if queued > protocol.JOINED and self._stream.takes_pieces:
            data: bytes | protocol.Pieces = connection.pieces_to_send()
        else:
            data = connection.data_to_send()
        if self.held:
            self.wake_if_drained()
        return data

    def _flush_mine(self) -> None:
        """Send what this thread has queued."""
        try:
            self.flush()
        except OSError as error:
            self._fail(error)

    def _has_last_bytes(self) -> bool:
        return self._stream.has_output() or self.protocol.has_data_to_send()

    # -- changes ---------------------------------------------------------------------------

    def _interrupted(self, error: BaseException) -> None:
        """A signal handler has raised where bytes or the protocol change: no telling how far that
        came, and going on could misname messages. The connection ends here and now, under the
        lock, and what was under way counts as sent.
        """
        if (
            not isinstance(error, CALLERS_FAULTS)
            or isinstance(error, ReenteredError)
            or is_of_handler(error)
        ):
            self._aborted = self._work = True
            words = f"{type(error).__name__} in the middle of an operation"
            self.protocol.connection_lost(ConnectionLost(words))
            self.dispatch()
            self.wake()

    def _change(self, operation: Callable[..., T], *arguments: object) -> T:
        """Call an operation of the protocol."""
        if self._owned():
            raise ReenteredError
        with self.lock:
            try:
                return operation(*arguments)
            except BaseException as error:
                self._interrupted(error)
                raise
