"""A caller that waits leads: it sends, waits for the socket and reads. The rules: see `engine`."""

from __future__ import annotations

import threading
import time
from collections import deque

from .. import protocol
from ..client.consumer import Subscription
from ..client.deadline import Deadline, make_deadline
from ..client.parameters import Parameters
from .handlers import is_of_handler
from .readiness import READ, WRITE, Readiness
from .receiving import STREAM, Receiver
from .sending import CALLERS_FAULTS, ReenteredError
from .stream import Stream
from .threads import Baton
from .waiter import Waiter

__all__ = ["GATHER", "IO_THREAD", "NOBODY", "Leader"]

DOZE = 0.005  # seconds that a reader lets bytes gather after it has sent much
MUCH = 4096  # bytes
OFTEN = 4  # times
GATHER = 0.005  # seconds between two sendings of nothing but acks, while the prefetch has room
COALESCE = 0.002  # seconds in which the next ones of a stream gather in the socket
# the same of confirms: where the client has a core of its own, RabbitMQ is through with a window of
# 1,000 in a few times that
CONFIRMS = 0.001

IO_THREAD, NOBODY = -1, 0  # who may read, besides a caller's thread by its number


class Leader(Receiver):
    """The part of a connection's inside that leads: what whoever reads does.

    Attributes:
        reading: who reads: a thread's number, `IO_THREAD` or `NOBODY`.
        unanswered: how many waiters have no result.
    """

    __slots__ = (
        "_asking",
        "_baton",
        "_called_back",
        "_deadline",
        "_doze_until",
        "_failure",
        "_full",
        "_gather_until",
        "_gathers",
        "_io_number",
        "_leads",
        "_led_for",
        "_left",
        "_readiness",
        "_relieves",
        "_resting",
        "_sent",
        "_sleeping",
        "_timeout",
        "_woken",
        "reading",
        "unanswered",
    )

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options, stream)
        self._timeout = Deadline(parameters.timeout).timeout
        self.unanswered = 0
        self.reading = IO_THREAD
        self._readiness = Readiness(stream)
        self._left: list[Readiness] = []  # where one waits who was relieved
        self._woken: deque[float] = deque([0.0] * OFTEN, OFTEN)  # when the reader last was
        self._led_for: Waiter | None = None  # for whom a caller reads
        self._resting = False  # it is where it may be interrupted
        self._relieves = False  # the I/O thread is about to take the lead away
        self._io_number = 0  # the I/O thread's
        self._leads = 0  # how often callers have led
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

    def deadline_of(self, timeout: float | Deadline | None) -> Deadline:
        """The deadline of one operation: `timeout` or the connection's default, in seconds."""
        if timeout is None:
            return make_deadline(self._timeout, time.monotonic() + self._timeout)
        return timeout if isinstance(timeout, Deadline) else Deadline(timeout)

    # -- waking ----------------------------------------------------------------------------

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

    def _fail(self, error: Exception) -> None:
        """A caller has found the connection broken: the I/O thread tells everybody."""
        if self._failure is None:
            self._failure = error
        self._work = True
        self.wake()

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

    # -- the reader's turn -----------------------------------------------------------------

    def _acks_gather(self, now: float) -> bool:
        """Under the lock: whether what there is to send are acks, and better left to become more.

        The first ones leave at once: so none is late where messages come now and then.
        """
        return now < self._gather_until and self.protocol.acks_may_wait()

    def _before_sleep(
        self, until: float | None
    ) -> tuple[bytes | protocol.Pieces, int, float | None]:
        """Under the lock: what the reader sends, what it waits for then, and how long, in seconds;
        not past `until`.

        With something to send `_sending` is set, for the caller to undo.
        """
        connection, stream, now = self.protocol, self._stream, time.monotonic()
        data: bytes | protocol.Pieces = b""
        at = self._deadline
        if at is None:
            at = self._deadline = connection.next_deadline()
        if at is None or (until is not None and until < at):
            at = until
        self._sleeping = True  # before looking: see the module
        self._gathers = False
        wanted = READ if not self._full or self._asking else 0
        if stream.unsent or (self._encrypted and stream.has_output()):
            wanted |= WRITE
        elif not (self._sending or self._aborted):
            if self._acks_gather(now):
                self._gathers = connection.has_data_to_send()
                if self._gathers and (at is None or at > self._gather_until):
                    at = self._gather_until
            elif data := self._next_data():
                self._sender = threading.get_ident()
                self._sending = True
        if connection.bytes_sent != self._sent:
            if connection.bytes_sent - self._sent > MUCH:
                self._doze_until = now + DOZE
            self._sent = connection.bytes_sent
            self._gather_until = now + GATHER
        if now < self._doze_until:
            self._sleeping = False
            if at is None or at > self._doze_until:
                at = self._doze_until
        if self._work or stream.has_early or (data and connection.out):
            return data, wanted, 0.0
        if at is None:
            return data, wanted, None
        return data, wanted, at - now if at > now else 0.0

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

    # -- waiting ---------------------------------------------------------------------------

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
                        self._resting = self._sleeping = False  # before somebody else leads
                        self._led_for, self.reading = None, NOBODY
                        relieved = True
                    else:
                        self._resting = True
                        self._readiness.wake()  # it may have its result
            if relieved:
                self.led()

    def led(self) -> None:
        """After leading: have the I/O thread come, if it is needed before its next look."""
        self._leads += 1
        # without the lock: who began to wait, or called back, did so before it saw that one led
        if self._called_back or self.unanswered or self._work or self._stream.unsent:
            self._call_thread()

    def _call_thread(self) -> None:
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
        led_for, readiness, stream = self._led_for, self._readiness, self._stream
        sends, rests, looked = False, False, waiter.may_gather is None
        try:
            while not waiter.done and not self._work:
                sends = True
                with self.lock:
                    data, wanted, timeout = self._before_sleep(until)
                if data:
                    if not stream.send(data):
                        wanted |= WRITE
                    self._sending = False
                sends, rests = False, True
                self._resting = True
                gather = self._may_gather(waiter) if wanted == READ else 0.0
                if not gather:
                    ready = readiness.wait(wanted, timeout)
                elif looked:
                    ready = readiness.wait(0, gather) | READ
                else:  # what came while this thread published may be enough
                    ready = readiness.wait(READ, 0.0)
                rests, looked = False, True
                if self._led_for is led_for:  # else it is another one's, if this one was slow
                    self._resting = False
                if (self._relieves or self._led_for is not led_for) and self._was_relieved(
                    led_for, waiter, readiness
                ):
                    break
                self._sleeping = False
                if ready & WRITE:
                    self.flush(reads=True)
                if ready & READ or stream.has_early:
                    self._receive()
                    if waiter.done:
                        break
                now = time.monotonic()
                if self._deadline is not None and now >= self._deadline:
                    self._tick()
                if until is not None and now >= until:
                    break
        except BaseException as error:
            if sends:
                self._sending_failed(error)
            if self._is_to_raise(error, rests):
                raise
        # else the I/O thread has relieved this one, or it is in a signal handler
        if self._led_for is waiter:
            self._resting = self._sleeping = False  # before somebody else leads
            self._led_for, self.reading = None, NOBODY
            self.led()
        if not (waiter.done or self._work) and deadline is not None and not deadline.remaining():
            raise deadline.exceeded(operation)

    def _was_relieved(
        self, led_for: Waiter | None, waiter: Waiter, readiness: Readiness
    ) -> bool:
        """Whether the I/O thread has taken the lead from this one, which has waited there."""
        with self.lock:
            self._relieves = False
            if self._led_for is led_for:
                return False
            if led_for is waiter:  # else the interrupted one waits there, too
                self._close_left(readiness)
            return True

    def _is_to_raise(self, error: BaseException, rests: bool) -> bool:
        """What has come out of leading; False where the I/O thread tells everybody."""
        of_handler = is_of_handler(error)
        if not isinstance(error, Exception) or (rests and (of_handler or not self._aborted)):
            return True  # where a thread rests the end closes what is waited on
        self._fail(error)
        return of_handler or not isinstance(error, (OSError, *CALLERS_FAULTS))

    def _may_gather(self, waiter: Waiter) -> float:
        """For how many seconds what comes is left to become more; 0 where the broker has no more to
        send, or somebody waits for something else.
        """
        if self._left_some or self.unanswered != 1:
            return 0.0
        if self._gathers and self._streak >= STREAM:
            return COALESCE
        return CONFIRMS if waiter.may_gather is not None and waiter.may_gather() else 0.0

    def _may_wait(self) -> None:
        """Raise where this thread would wait for itself."""
        here = threading.get_ident()
        if (
            self._owned()
            or here == self._io_number  # who would read?
            or (self._sending and self._sender == here)
            or (self.reading == here and not self._resting)
        ):
            raise ReenteredError
