"""Queues with rules against a model: a list, searched and sorted anew at each step."""

from __future__ import annotations

from typing import NamedTuple

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from test_rules import Place

from leveret import wire
from leveret.broker.queue import Entry, Reason
from leveret.broker.rules import RuledQueue


class Kept(NamedTuple):
    """A message of the model; sorts as the queue is to deliver."""

    rank: int
    number: int
    size: int
    expires_at: float

    @property
    def body(self) -> str:
        return f"{self.number}".ljust(self.size, ".")


NEVER = float("inf")
LIMIT = st.none() | st.integers(0, 6)


class RuledMachine(RuleBasedStateMachine):
    """What is ready, in which order, and who died of what."""

    @initialize(
        length=LIMIT,
        size=LIMIT,
        ttl=st.none() | st.integers(0, 4),
        priorities=st.none() | st.integers(0, 3),
        overflow=st.sampled_from(["drop-head", "reject-publish", "reject-publish-dlx"]),
    )
    def declare(
        self,
        length: int | None,
        size: int | None,
        ttl: int | None,
        priorities: int | None,
        overflow: str,
    ) -> None:
        given = {
            "x-max-length": length,
            "x-max-length-bytes": None if size is None else 4 * size,
            "x-message-ttl": None if ttl is None else 1000 * ttl,
            "x-max-priority": priorities,
        }
        arguments: dict[str, object] = {k: v for k, v in given.items() if v is not None}
        arguments |= {"x-dead-letter-exchange": "", "x-overflow": overflow}
        self.place = Place()
        self.queue = RuledQueue("q", home=self.place, arguments=arguments)
        self.length = NEVER if length is None else length
        self.bytes = NEVER if size is None else 4 * size
        self.ttl = NEVER if ttl is None else ttl
        self.priorities = priorities or 0
        self.overflow = overflow
        self.ready: list[Kept] = []
        self.out: dict[Kept, Entry] = {}
        self.dead: list[tuple[str, Reason]] = []
        self.published = 0

    def is_over(self, *more: Kept) -> bool:
        all_ = [*self.ready, *more]
        return len(all_) > self.length or sum(kept.size for kept in all_) > self.bytes

    def keep(self, kept: Kept) -> None:
        self.ready = sorted([*self.ready, kept])
        while self.overflow == "drop-head" and self.is_over():
            self.dead.append((self.ready.pop(0).body, Reason.MAXLEN))
        self.settle()

    def settle(self) -> None:
        """What is due has happened, here and there."""
        while self.ready and self.ready[0].expires_at <= self.place.clock():
            self.dead.append((self.ready.pop(0).body, Reason.EXPIRED))
        self.place.timers.run()

    @rule(size=st.integers(3, 9), priority=st.integers(0, 4), ttl=st.none() | st.integers(0, 4))
    def publish(self, size: int, priority: int, ttl: int | None) -> None:
        ends = self.place.clock() + min(self.ttl, NEVER if ttl is None else ttl)
        kept = Kept(-min(priority, self.priorities), self.published, size, ends)
        self.published += 1
        raw = wire.Properties(priority=priority).encode()
        message = wire.Published(1, "", "q", False, False, raw, kept.body.encode())
        refused = self.overflow != "drop-head" and self.is_over(kept)
        assert self.queue.publish(message, None if ttl is None else float(ttl)) is not refused
        if not refused:
            self.keep(kept)
        elif self.overflow == "reject-publish-dlx":
            self.dead.append((kept.body, Reason.MAXLEN))

    @rule()
    def take(self) -> None:
        entry = self.queue.take()
        assert (entry is not None) == bool(self.ready)
        if entry is not None:
            kept = self.ready.pop(0)
            assert entry.message.body.decode() == kept.body
            self.out[kept] = entry
        self.settle()

    @precondition(lambda self: self.out)
    @rule(data=st.data(), how=st.sampled_from(["ack", "reject", "requeue"]))
    def settle_one(self, data: st.DataObject, how: str) -> None:
        kept = data.draw(st.sampled_from(sorted(self.out)))
        entry = self.out.pop(kept)
        if how == "ack":
            self.queue.settle(entry)
        elif how == "reject":
            self.queue.reject(entry)
            self.dead.append((kept.body, Reason.REJECTED))
        else:
            self.queue.requeue(entry)
            self.keep(kept)

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.place.clock.now += seconds
        self.settle()

    @rule()
    def purge(self) -> None:
        assert self.queue.purge() == len(self.ready)
        self.ready.clear()

    @invariant()
    def agrees(self) -> None:
        if not hasattr(self, "queue"):
            return
        assert self.place.buried == self.dead
        assert self.queue.message_count() == len(self.ready)
        held = [*self.ready, *self.out]
        assert (self.place.usage.bytes == 0) == (not held)
        first = self.ready[0].expires_at if self.ready else NEVER
        deadline = self.place.timers.next_deadline()
        assert deadline is not None or first == NEVER
        assert deadline is None or deadline <= first or first == NEVER


RuledMachine.TestCase.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)
TestRuled = RuledMachine.TestCase
