"""Time as queues know it: what is due when, and a clock that stands until it is moved.

A queue has something to do by itself when its first message expires, or when it has been out of
use for too long. It tells `Timers` the next such moment, and is called then. A moment is asked
for once and looked at again when it comes, so that neither a message nor a use of a queue costs
an entry here; nothing runs between two moments, and there is no thread. Whoever owns the timers
calls `run` at `next_deadline`: the server by a timer of its event loop, a test by hand.

Connections do not live by this clock: their heartbeats and timeouts are about the network.
"""

from __future__ import annotations

import heapq
import itertools
import time
from collections.abc import Callable
from typing import Protocol

from ..exceptions import LocalProtocolError

__all__ = ["Timed", "Timers", "VirtualClock"]

STALE_ENTRIES = 100  # that may wait in vain whatever their share
MAX_STEPS = 1_000_000


class Timed(Protocol):
    """What `Timers` calls.

    Attributes:
        timer_at: when it is to be called, None for never. Set by `Timers`.
    """

    timer_at: float | None

    def on_time(self) -> None:
        """The moment has come."""


class Timers:
    """Who wants to be called when.

    Args:
        clock: gives the present in seconds, never falling.
        wall: gives the present in seconds since 1970, for people.

    Attributes:
        on_earlier: called when `next_deadline` is earlier than it was.
    """

    def __init__(
        self, clock: Callable[[], float] = lambda: 0.0, wall: Callable[[], float] = time.time
    ) -> None:
        self.clock = clock
        self.wall = wall
        self.on_earlier: Callable[[], None] = lambda: None
        self._heap: list[tuple[float, int, Timed]] = []
        self._number = itertools.count()  # so that the heap never compares what is called
        self._stale = 0

    def at_latest(self, timed: Timed, deadline: float) -> None:
        """Call it at that time, unless it is to be called earlier anyway."""
        if timed.timer_at is not None:
            if timed.timer_at <= deadline:
                return
            self._stale += 1
        timed.timer_at = deadline
        first = not self._heap or deadline < self._heap[0][0]
        heapq.heappush(self._heap, (deadline, next(self._number), timed))
        if first:
            self.on_earlier()

    def cancel(self, timed: Timed) -> None:
        """Call it no more."""
        if timed.timer_at is None:
            return
        timed.timer_at = None
        self._stale += 1
        if self._stale > STALE_ENTRIES and self._stale * 2 > len(self._heap):
            self._heap = [entry for entry in self._heap if entry[2].timer_at == entry[0]]
            heapq.heapify(self._heap)
            self._stale = 0

    def next_deadline(self) -> float | None:
        """When `run` wants to be called; None for never."""
        return self._heap[0][0] if self._heap else None

    def run(self) -> None:
        """Call what is due now; what that makes due waits for the next time."""
        now = self.clock()
        due = []
        while self._heap and self._heap[0][0] <= now:
            deadline, _, timed = heapq.heappop(self._heap)
            if timed.timer_at == deadline:
                timed.timer_at = None
                due.append(timed)
            else:
                self._stale -= 1
        for timed in due:
            timed.on_time()


class Follower(Protocol):
    """What lives by a `VirtualClock`; called from any thread."""

    def next_deadline(self) -> float | None:
        """When it has something to do."""

    def run_timers(self) -> None:
        """The time has come; back when it is done."""


class VirtualClock:
    """Time that stands until it is moved, for the queues of a broker.

        clock = VirtualClock()
        with Broker(clock=clock) as broker:
            ...  # publish to a queue with an x-message-ttl of half an hour
            clock.advance(1800)

    It is the time of `x-message-ttl`, `expiration`, `x-expires`, and of the headers of dead
    letters; the heartbeats and timeouts of connections go on in real time.

    Args:
        now: seconds since 1970; None for the present.
    """

    def __init__(self, now: float | None = None) -> None:
        self._now = time.time() if now is None else now
        self._followers: list[Follower] = []

    def __repr__(self) -> str:
        return f"<VirtualClock {self._now:.3f}>"

    def __call__(self) -> float:
        """The present, in seconds since 1970."""
        return self._now

    def advance(self, seconds: float) -> None:
        """Move time on, step by step through all that is due on the way; back when it is done.

        For any thread, one at a time, and for the loop of an `AsyncBroker` as well.

        Args:
            seconds: 0 or more.

        Raises:
            LocalProtocolError: a negative number, or there is no end of what is due.
            DeadlineExceeded: a broker did not answer.
        """
        if seconds < 0:
            raise LocalProtocolError(f"time cannot be moved by {seconds} seconds")
        target = self._now + seconds
        for _ in range(MAX_STEPS):
            deadlines = [follower.next_deadline() for follower in self._followers]
            first = min((at for at in deadlines if at is not None), default=None)
            if first is None or first > target:
                self._now = target
                return
            self._now = max(self._now, first)
            for follower in list(self._followers):
                follower.run_timers()
        raise LocalProtocolError(f"{MAX_STEPS} deadlines, and there are more")

    def attach(self, follower: Follower) -> None:
        """A broker lives by this clock from here on."""
        self._followers.append(follower)

    def detach(self, follower: Follower) -> None:
        """It does so no more."""
        self._followers.remove(follower)
