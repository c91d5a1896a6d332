"""Who moves the bytes of a blocking connection, and who waits for them.

There is one lock, `lock`: for the protocol and everything that its events touch, held for memory
work only, and no user code runs under it, a handler of `logging` included.

**Reading.** One thread at a time reads the socket, keeps the time and hands out events: `reading`
says which. A thread that is going to wait for an answer does it itself, if nobody else
is at it (`_lead`): so an answer costs two system calls and no switch of threads. The I/O thread
does it when no caller has led for a while, when more than one of them waits, and whenever there is
something to end. While callers lead it stands by: it looks every `STANDBY` to `STANDBY_MAX`
seconds, and less often while one caller leads for long.

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
leaves doubt about bytes or about the protocol's state, the connection ends (`_interrupted`).
It may also use the connection. Where its thread is between two steps of an operation, that is
refused (`ReenteredError`): every operation of a user's thread asks `_owned` first, which is why the
lock is a recursive one, although it is never taken twice on purpose. So it is for `__del__`
methods, which the garbage collector calls anywhere. A thread that leads and has come to rest may
be interrupted by an operation that waits: that one leads in its place, and then wakes it. A handler
that takes long would hold up everybody: where what has come is not read, the I/O thread takes the
lead away (`_relieve`), and the one that is relieved finds that out before it reads again.

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
from .locks import reentrant_lock
from .processes import CORES
from .readiness import READ, WRITE, Readiness
from .receiving import Receiver
from .sending import CALLERS_FAULTS, ReenteredError
from .stream import Stream
from .threads import Baton, Callbacks, serve
from .waiter import Waiter

__all__ = ["LINGER", "NOBODY", "Engine"]

logger = logging.getLogger("leveret.sync")

LINGER = 2.0  # seconds in which the last bytes may leave after the end
STANDBY = 0.005  # seconds between two looks of the I/O thread while callers lead, at first
STANDBY_MAX = 0.02  # the same, where each look was for nothing
WATCH = 1.0  # the same while one caller leads for long
DOZE = 0.005  # seconds that a reader lets bytes gather after it has sent much
MUCH = 4096  # bytes
OFTEN = 4  # times
GATHER = 0.005  # seconds between two sendings of nothing but acks, while the prefetch has room
STREAM = 4  # reads in a row that brought many: the broker has more
COALESCE = 0.001  # seconds in which the next ones of a stream gather in the socket

SEND = 8  # besides READ and WRITE: there is something to send
IO_THREAD, NOBODY = -1, 0  # who may read, besides a caller's thread by its number


class Engine(Receiver):
    """A connection's inside: its threads, its socket, its waiters.

    Attributes:
        lock, reading: see the module; `reading` is a thread's number, `IO_THREAD` or `NOBODY`.
        unanswered: how many waiters have no result.
        collected: by the garbage collector; nothing uses it any more.
    """

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options, stream)
        self.unanswered = 0
        self._readiness = Readiness(stream)
        self._left: list[Readiness] = []  # where one waits who was relieved
        self._woken: deque[float] = deque([0.0] * OFTEN, OFTEN)  # when the reader last was
        self.reading = IO_THREAD
        self._led_for: Waiter | None = None  # for whom a caller reads
        self._resting = False  # it is where it may be interrupted
        self._relieves = False  # the I/O thread is about to take the lead away
        self._leads = 0  # how often callers have led
        self._leads_seen = 0  # when the I/O thread last looked
        self._standby = STANDBY
        self._called_back = False  # the I/O thread wants to know when the one that leads ends
        self._baton = Baton()
        self._sleeping = False
        self._deadline: float | None = None  # of the protocol, as seen before the sleep
        self._gather_until = 0.0  # acks that may wait do
        self._gathers = False  # some do
        self._doze_until = 0.0
        self._sent = 0  # bytes, as seen before the sleep
        self._failure: Exception | None = None  # met by a caller: for the I/O thread to raise
        self._asking: set[Waiter] = set()  # those that wait for an answer of the broker
        self._full: set[Subscription] = set()
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
                if not later:
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
            wanted, wait = self._before_sleep(None)
            return wanted & ~SEND, wait

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

    def _leave_readiness(self) -> None:
        """Who is in `wait` comes out of it, and nobody takes its wake away."""
        left, self._readiness = self._readiness, Readiness(self._stream)
        self._left.append(left)
        left.wake()

    def _close_left(self, readiness: Readiness) -> None:
        """Nobody waits there any more."""
        if readiness in self._left:
            self._left.remove(readiness)
            readiness.close()

    def _is_needed(self) -> bool:
        """Whether the I/O thread must not wait until it looks again."""
        return self._work or self._stream.has_output()

    def _acks_gather(self, now: float) -> bool:
        """Under the lock: whether what there is to send are acks, and better left to become more.

        The first ones leave at once: so none is late where messages come now and then.
        """
        return now < self._gather_until and self.protocol.acks_may_wait()

    def _before_sleep(self, until: float | None) -> tuple[int, float | None]:
        """Under the lock: what the reader waits for, and how long, in seconds; not past `until`.

        With SEND: it has to send first.
        """
        now = time.monotonic()
        connection, stream = self.protocol, self._stream
        if connection.bytes_sent != self._sent:
            if connection.bytes_sent - self._sent > MUCH:
                self._doze_until = now + DOZE
            self._sent = connection.bytes_sent
            self._gather_until = now + GATHER
        at = self._deadline
        if at is None:
            at = self._deadline = connection.next_deadline()
        if at is None or (until is not None and until < at):
            at = until
        dozes = now < self._doze_until
        self._sleeping = not dozes  # before looking: see the module
        self._gathers = False
        wanted = READ if not self._full or self._asking else 0
        if stream.unsent or (self._encrypted and stream.has_output()):
            wanted |= WRITE
        elif not self._sending and connection.has_data_to_send():
            if not self._acks_gather(now):
                return wanted | SEND, 0.0
            self._gathers = True
            if at is None or at > self._gather_until:
                at = self._gather_until
        if self._work or stream.has_early:
            return wanted, 0.0
        if dozes and (at is None or at > self._doze_until):
            at = self._doze_until
        if at is None:
            return wanted, None
        return wanted, at - now if at > now else 0.0

    def _tick(self) -> None:
        """A deadline of the protocol has come."""
        now = time.monotonic()
        self._deadline = None
        reading = not self._full or bool(self._asking)
        if reading:
            self._receive()  # it may have come while this thread had to wait for its turn
        with self.lock:
            try:
                if not reading:  # nothing was read on purpose: silence proves nothing
                    self.protocol.heard(now)
                self.protocol.tick(now)
                self.dispatch()
            except BaseException as error:
                self._interrupted(error)
                raise

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

    def wake(self) -> None:
        """Have the I/O thread, or who leads, look at what is to do. Takes no lock."""
        self._readiness.wake()
        if self.reading != IO_THREAD:
            self._baton.pass_on()

    def wake_if_asleep(self) -> None:
        """Something was queued: see that it leaves soon. Takes no lock."""
        if self._sleeping:
            self._sleeping = False
            now = time.monotonic()
            self._woken.append(now)
            if now - self._woken[0] < DOZE:
                self._doze_until = now + DOZE
            self._readiness.wake()

    # -- waiting ---------------------------------------------------------------------------

    def _fail(self, error: Exception) -> None:
        """A caller has found the connection broken: the I/O thread tells everybody."""
        if self._failure is None:
            self._failure = error
        self._work = True
        self.wake()

    def begin_waiting(self, waiter: Waiter) -> None:
        """Under the lock: a waiter is registered and counted. Its thread leads, if it may."""
        if self.reading == NOBODY and self.unanswered == 1 and not self._work:
            self._led_for = waiter
            self.reading = threading.get_ident()
        elif self.reading != threading.get_ident():
            waiter.sleeps()
        else:
            self._resting = False  # in a signal handler: nobody takes the lead away now

    @property
    def readiness(self) -> Readiness:
        """Where to wait; another one after a caller was relieved."""
        return self._readiness

    def wake_leader(self) -> None:
        """The waiter for which a thread leads has got its result from another thread."""
        self._readiness.wake()

    def wait_for(self, waiter: Waiter, deadline: Deadline | None, operation: str) -> object:
        """Wait for a result, after `begin_waiting`. Next, whatever happens: `led`, if
        `_led_for` still is the waiter.

        Raises:
            DeadlineExceeded: it did not come in time.
            BaseException: the result is this error.
        """
        if self._led_for is waiter:
            self._lead(waiter, deadline, operation)
            if self._led_for is waiter:  # else the I/O thread has relieved this one
                self._led_for, self.reading = None, NOBODY
                self.led()
        elif self.reading == threading.get_ident():
            self._lead_in_between(waiter, deadline, operation)
        else:
            self._flush_mine()
        if not waiter.done:  # the I/O thread reads, or has got the rest to do
            with self.lock:
                waiter.sleeps()
            waiter.wait(deadline, operation)
        if waiter.error is not None:
            raise waiter.error
        return waiter.value

    def _lead_in_between(self, waiter: Waiter, deadline: Deadline | None, operation: str) -> None:
        """In a signal handler, whose thread leads and rests: lead in its place."""
        led_for, relieved = self._led_for, False
        try:
            self._lead(waiter, deadline, operation)
        finally:
            with self.lock:
                if self._led_for is led_for:
                    if self._work and not waiter.done:  # the interrupted one is relieved
                        self._leave_readiness()
                        self._led_for, self.reading = None, NOBODY
                        relieved = True
                    else:
                        self._resting = True
                        self._readiness.wake()  # it may have its result
            if relieved:
                self.led()

    def led(self) -> None:
        """After leading: have the I/O thread come, if it is needed before its next look."""
        self._resting = self._sleeping = False
        self._leads += 1
        # without the lock: who began to wait, or called back, did so before it saw that one led
        if self._called_back or self.unanswered or self._work or self._stream.unsent:
            self._called_back = False
            self._baton.pass_on()

    def _lead(self, waiter: Waiter, deadline: Deadline | None, operation: str) -> None:
        """Do what the I/O thread does, until the waiter has its result or there is something that
        only the I/O thread does.

        Raises:
            DeadlineExceeded: it did not come in time.
            Exception: what a signal handler has raised. While this thread rests that changes
                nothing else; in the middle of work it ends the connection, too.
        """
        until = None if deadline is None else deadline.at
        led_for, readiness = self._led_for, self._readiness
        rested = True
        try:
            if self._asking:  # what was just queued has to leave, whatever else there is
                self.flush(reads=True)
            while not waiter.done and not self._work:
                with self.lock:
                    wanted, timeout = self._before_sleep(until)
                if wanted & SEND:
                    self.flush(reads=True)
                    continue
                rested = False
                self._resting = True
                if self._gathers and wanted == READ and self._is_stream():
                    ready = readiness.wait(0, COALESCE) | READ
                else:
                    ready = readiness.wait(wanted, timeout)
                self._resting = False
                rested = True
                if self._relieves or self._led_for is not led_for:
                    with self.lock:
                        self._relieves = False
                        if self._led_for is not led_for:
                            if led_for is waiter:  # else the interrupted one waits there, too
                                self._close_left(readiness)
                            return
                self._sleeping = False
                if ready & WRITE:
                    self.flush(reads=True)
                if ready & READ or self._stream.has_early:
                    self._receive()
                    if waiter.done:
                        return
                now = time.monotonic()
                if self._deadline is not None and now >= self._deadline:
                    self._tick()
                if until is not None and now >= until:
                    break
        except Exception as error:
            if not rested and not self._aborted:  # the end closes what is waited on
                raise
            self._fail(error)  # the I/O thread tells everybody
            if not isinstance(error, (OSError, *CALLERS_FAULTS)):
                raise
        if deadline is not None and not (waiter.done or self._work or deadline.remaining()):
            raise deadline.exceeded(operation)

    def _is_stream(self) -> bool:
        """Whether the broker has more, and nobody waits for anything else."""
        return self._streak >= STREAM and self.unanswered == 1

    def _may_wait(self) -> None:
        """Raise where this thread would wait for itself."""
        if self._owned():
            raise ReenteredError
        if self._sending or self.reading > NOBODY:
            here = threading.get_ident()
            if (self._sending and self._sender == here) or (
                self.reading == here and not self._resting
            ):
                raise ReenteredError

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
