"""Who moves the bytes of a blocking connection, and who waits for them.

There is one lock, `lock`: for the protocol and everything that its events touch, held for memory
work only (and, where a caller asks, for a send, by `_exchange` for a receive, too: they do not
wait), and no user code runs under it, a handler of `logging` included.

**Reading.** One thread at a time reads the socket, keeps the time and hands out events: `reading`
says which. A thread that is going to wait for an answer does it itself, if nobody else is at it
(`_lead`, and `exchange` for the usual case): so an answer costs two system calls and no switch of
threads. The I/O thread does it when no caller has led for a while, when more than one of them
waits, and whenever there is something to end. While callers lead it stands by: it looks every
`STANDBY` to `STANDBY_MAX` seconds, and less often while one caller leads for long.

**Sending.** Who has set `_sending`, under the lock, moves bytes from the protocol to the socket;
who finds it set leaves the bytes to the other. A caller that is going to wait sends its own. One
that is not (an ack, a pipelined publish) leaves them to whoever reads, where they gather:
`_sleeping` says that the reader has to be woken for that. It is set before the reader looks for
queued bytes, and whoever queues looks at it afterwards, so that no bytes are overlooked although
acks are queued without the lock. A reader that has just sent much, or was woken `OFTEN` times
within `DOZE` seconds, does not sleep but dozes: it will look again after `DOZE` seconds, unwoken.
Bytes wait at most that long, and a flood of small messages is not paid for with a flood of wakes.

**Streams.** What costs most where messages follow each other is to wake up for few of them, with
cold caches. So acks that follow others within `GATHER` seconds wait for more, while they are few
beside what the prefetch leaves; and where read after read has brought many deliveries, and nothing
but such acks is to be sent, the caller that leads lets more of them gather for `COALESCE` seconds.
That is for a large prefetch: the broker is through with a small one before, and would wait.

A signal handler of the main thread may raise between any two calls. So what must be undone is
done within the `try` that undoes it, and is undone by what may be done twice; where an interrupt
leaves doubt about bytes or about the protocol's state, the connection ends (`_interrupted`). Which
errors are a handler's: see `handlers`.
It may also use the connection. Where its thread is between two steps of an operation, that is
refused (`ReenteredError`): every operation of a user's thread asks `_owned` first, which is why the
lock is a recursive one, although it is never taken twice on purpose. So it is for `__del__`
methods, which the garbage collector calls anywhere; in the I/O thread they may not wait at all,
for nobody would read. A thread that leads and has come to rest may be interrupted by an operation
that waits: that one leads in its place, and then wakes it. A handler that takes long would hold up
everybody: where what has come is not read, the I/O thread takes the lead away (`_relieve`), and
the one that is relieved finds that out before it reads again.

User code runs on none of these threads: callbacks have a thread of their own.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
import warnings
import weakref
from collections import deque

from .. import protocol
from ..client.consumer import Subscription
from ..client.deadline import Deadline
from ..client.parameters import Parameters
from ..exceptions import ConnectionLost, ForkedError
from .leading import IO_THREAD, NOBODY
from .locks import reentrant_lock
from .processes import CORES
from .readiness import READ, WRITE
from .requests import Requester
from .stream import Stream
from .threads import Callbacks, serve

__all__ = ["LINGER", "Engine"]

logger = logging.getLogger("leveret.sync")

LINGER = 2.0  # seconds in which the last bytes may leave after the end
STANDBY = 0.005  # seconds between two looks of the I/O thread while callers lead, at first
STANDBY_MAX = 0.02  # the same, where each look was for nothing
WATCH = 1.0  # the same while one caller leads for long


class Engine(Requester):
    """A connection's inside: its threads, its socket, its waiters.

    Attributes:
        collected: by the garbage collector; nothing uses it any more.
    """

    __slots__ = (
        "_callbacks",
        "_dropped",
        "_leads_seen",
        "_standby",
        "_thread",
        "collected",
    )

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options, stream)
        self._leads_seen = 0  # when the I/O thread last looked
        self._standby = STANDBY
        self._dropped: deque[Subscription] = deque()
        self.collected = False
        self._callbacks = Callbacks()
        self._thread = threading.Thread(
            target=serve,
            args=(weakref.ref(self), self._readiness, self._baton, stream, self._callbacks),
            name=f"leveret {parameters.host}:{parameters.port}",
            daemon=True,
        )

    def __del__(self) -> None:
        started = CORES.pop(id(self), None) is not None
        if started and self.protocol.state is not protocol.State.CLOSED:
            self.collected = True
            self.wake()  # the I/O thread closes the socket
            where = f"{self.parameters.host}:{self.parameters.port}"
            warnings.warn(f"connection to {where} was not closed", ResourceWarning, stacklevel=2)

    # -- the I/O thread --------------------------------------------------------------------

    def start(self) -> None:
        """Begin the handshake."""
        self.protocol.initiate(time.monotonic())
        self._thread.start()
        self._io_number = self._thread.ident or 0

    def turn(self, ready: int) -> tuple[int | None, float | None]:
        """One turn of the I/O thread.

        Args:
            ready: what it has waited for, as `Readiness` says it.

        Returns:
            What to wait for then, None for the baton; and how long in seconds, below 0: no more.
        """
        try:
            wait = self._turn(ready)
            if not (self._finished or self._aborted):
                return wait
        except OSError as error:
            self._receive_last_words()
            self._lost(ConnectionLost(f"the connection was lost: {error}"), error)
        except Exception as error:  # a fault of ours: nobody may be left waiting for it
            with self.lock:
                self.call_soon(_log_failure, error)
            self._lost(ConnectionLost(f"internal error: {error!r}"), error)
        self._close_transport()
        return None, -1.0

    def _turn(self, ready: int) -> tuple[int | None, float | None]:
        if self.reading != IO_THREAD:
            with self.lock:
                standby = self._stand_by()
                later = self.reading != NOBODY and self._acks_gather(time.monotonic())
            if standby is not None:
                # Where the socket takes no more, who leads waits for it: trying again would wake
                # it, and this thread, on and on.
                if not later and self.may_flush():
                    self._flush_mine()  # who leads reads what the broker has said, before the end
                return None, standby
        answered = self.unanswered
        self._sleeping = False
        if ready & READ or self._stream.has_early:
            self._receive()
        if self._deadline is not None and time.monotonic() >= self._deadline:
            self._tick()
        if self._dropped:
            with self.lock:
                while self._dropped:
                    self.stop(self._dropped.popleft())
                self._work = self._finished or self._aborted or self._failure is not None
        if self._failure is not None:
            raise self._failure
        with self.lock:
            due = not self._acks_gather(time.monotonic())
        if due:
            self.flush(reads=True)
        with self.lock:
            if answered and not self.unanswered and not self._is_needed():
                self.reading = NOBODY  # who was answered will ask again, and lead
                self._leads_seen = self._leads
                self._standby = STANDBY
                return None, STANDBY
            data, wanted, wait = self._before_sleep(None)
        if data:  # queued meanwhile
            self._send(data)
            wait = 0.0
        return wanted, wait

    def _stand_by(self) -> float | None:
        """How long to wait for the baton, in seconds; None: the I/O thread reads from now on."""
        idle = self._leads == self._leads_seen
        self._leads_seen = self._leads
        if self.reading == NOBODY:
            if idle or self.unanswered or self._is_needed():
                self.reading = IO_THREAD
                return None
        elif idle:
            if self._resting and self._is_neglected() and self._relieve():
                return None
            self._called_back = True
            if self.reading != NOBODY:  # and who leads will look, when it has led
                return WATCH
            self._called_back = False
        # where nothing was left to this thread, it may look less often
        longer = self.protocol.bytes_waiting() == 0
        self._standby = min(2 * self._standby, STANDBY_MAX) if longer else STANDBY
        return self._standby

    def _is_neglected(self) -> bool:
        """Whether who leads does not do it: it is in a signal handler that takes long."""
        if not self._readiness.takes_many:
            return False
        at = self._deadline
        if at is not None and at < time.monotonic():
            return True
        return (not self._full or bool(self._asking)) and self._stream.has_come()

    def _relieve(self) -> bool:
        """Under the lock, by the I/O thread: take the lead from a caller that rests."""
        self._relieves = True
        if not self._resting:  # it may have looked before
            self._relieves = False
            return False
        self._leave_readiness()
        self._led_for, self.reading = None, IO_THREAD
        return True

    def _is_needed(self) -> bool:
        """Whether the I/O thread must not wait until it looks again."""
        return self._work or self._stream.has_output()

    def _lost(self, error: ConnectionLost, cause: BaseException) -> None:
        error.__cause__ = cause
        self._aborted = True  # what counts as not sent must not leave any more
        self._await_sender()
        with self.lock:
            # of TLS it is not known which plain bytes are in the unsent ones: count them as sent
            unsent = 0 if self._stream.encrypted else self._stream.unsent_bytes
            self.protocol.connection_lost(error, unsent)
            self.dispatch()

    def _close_transport(self) -> None:
        """The end of the I/O thread: the last bytes leave, the socket is closed."""
        try:
            if not self._aborted:
                with contextlib.suppress(OSError):
                    self._linger(Deadline(LINGER))
            with self.lock:
                self.protocol.connection_lost(ConnectionLost("the connection was given up"))
                self.dispatch()
                self._tell_the_forgotten()
        finally:
            self._aborted = True
            self._await_sender()
            self._stream.close()
            with self.lock:
                left, self._left = self._left, []
                self._callbacks.end()
            for readiness in (self._readiness, *left):
                readiness.close()
            CORES.pop(id(self), None)
            self._io_number = 0  # another thread may get it

    def _tell_the_forgotten(self) -> None:
        """At the end: what somebody waits for may have been lost where a signal handler raised."""
        for waiter in list(self._asking):
            if not waiter.done and waiter not in self._return_waiters:
                waiter.set_error(self._own(self.error))

    def _await_sender(self) -> None:
        """After `_aborted`: a caller that is sending is through with its piece in no time."""
        while self._sending:
            time.sleep(0.0005)

    def _linger(self, deadline: Deadline) -> None:
        """Send what is left, until the deadline."""
        self.flush(reads=True)
        while self._has_last_bytes() and not self._aborted and deadline.remaining():
            self._readiness.wait(WRITE, min(deadline.remaining(), 0.1))
            self.flush(reads=True)

    # -- BaseCore --------------------------------------------------------------------------

    def shut_down(self) -> None:
        """See `BaseCore`."""
        self._finished = self._work = True
        if isinstance(self.error, ConnectionLost):
            self._aborted = True  # nobody is there to take the last bytes
        self.wake()

    def pause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.add(consumer)

    def unpause_receiving(self, consumer: Subscription) -> None:
        """See `BaseCore`."""
        self._full.discard(consumer)
        self.wake()

    # -- the end ---------------------------------------------------------------------------

    def abort(self) -> None:
        """Give up the transport at once, unless it is closing in good order."""
        if not self._finished:
            self._aborted = self._work = True
            self.wake()

    def drop(self, subscription: Subscription) -> None:
        """The user has dropped a consumer; called by the garbage collector, anywhere."""
        self._dropped.append(subscription)
        self._work = True
        self.wake()

    def forked(self) -> None:
        """In a child process: the socket is the parent's."""
        self.lock = reentrant_lock()
        self._owned = self.lock._is_owned  # type: ignore[attr-defined]
        self._sending = False
        self._io_number = 0  # there it may be another thread's
        self._stream.abandon()
        for readiness in (self._readiness, *self._left):
            readiness.close()
        self._aborted = True
        self._callbacks.forget()
        self.protocol.connection_lost(
            ForkedError("the connection belongs to the parent process: open one in the child")
        )
        self.dispatch()


def _log_failure(error: Exception) -> None:
    logger.error("the I/O thread failed", exc_info=error)
