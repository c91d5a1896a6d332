"""Unsettled deliveries of one channel, and acknowledgements that leave together.

A delivery is unsettled from its arrival to its ack, nack or reject (AMQP 0-9-1, 1.8.3.13).

An ack of a single delivery waits until its channel sends something else or the connection is asked
for its bytes; whatever was acked by then leaves together: the tags that were the lowest ones as
one `multiple=True`, the others by themselves before it. That is exact: nothing unsettled is below
them. It is not in a transaction, whose rollback makes deliveries unsettled again: there, every ack
leaves by itself.

How long acks may be kept back is the transport's affair, as long as `Acks.may_wait` says that the
broker has no need of them: with a prefetch it stops delivering where too many deliveries are
unsettled.

Mostly deliveries are acked in the order in which they came: then what is unsettled of a channel is
one run of tags, two numbers, which `wire.claim` and `wire.settle` move on (`plain`). Where it is
more than that it is a `TagSet`, until it is one run again.
"""

from __future__ import annotations

from .. import wire
from ..exceptions import DeliverySettledError
from .tags import TagSet

__all__ = ["Acks", "SettleTracker"]

UNLIMITED = 1024  # deliveries: the prefetch that is counted with where there is none
SHARE = 4  # acks that wait take no more than one part in so many of what the prefetch leaves


class Acks(wire.Acked):
    """Acks of all channels of a connection that have not left.

    Attributes:
        waiting: of deliveries that callers have acked and nobody has looked at. Callers of any
            thread add to it, without a lock: while a tracker `gathers` they append it, with a tag
            that is theirs to settle, and see to it that the connection knows (`noted`). Whoever
            sends next looks at them.
        noted: the connection knows that there are acks. Where there are some, it is soon true.
        touched: trackers with acks of the lowest tags; some may have left.
        others: trackers with other acks; some may have left.
    """

    __slots__ = ("_pressing", "others", "touched")

    def __init__(self) -> None:
        self.waiting: list[tuple[SettleTracker, int]] = []
        self.noted = False
        self.touched: list[SettleTracker] = []
        self.others: list[SettleTracker] = []
        self._pressing = False

    def look(self) -> None:
        """Look at what callers have acked."""
        waiting = self.waiting
        if not waiting:
            return
        acked = waiting[:]
        del waiting[: len(acked)]
        rest, pressing = wire.settle(acked, self.touched, SHARE)  # type: ignore[arg-type]
        if pressing:
            self._pressing = True
        if rest:
            self._look_closer(rest)  # type: ignore[arg-type]

    def _look_closer(self, acked: list[tuple[SettleTracker, int]]) -> None:
        by_tracker: dict[SettleTracker, list[int]] = {}
        for tracker, tag in acked:
            by_tracker.setdefault(tracker, []).append(tag)
        for tracker, tags in by_tracker.items():
            tracker.acked(tags)
            self.look_at(tracker)

    def look_at(self, tracker: SettleTracker) -> None:
        """A tracker has more acks."""
        if not tracker.may_wait():
            self._pressing = True

    def may_wait(self) -> bool:
        """Whether each channel's acks are few beside what its prefetch lets the broker send."""
        self.look()
        return not self._pressing

    def take(self) -> bytes:
        """The frames of all; empty if there are none."""
        self.noted = False  # before looking: who acks behind our back notes it again
        self.look()
        self._pressing = False
        first = b""
        if self.others:
            others, self.others = self.others, []
            first = b"".join([tracker.take_acks() for tracker in others])
        touched = self.touched
        if not touched:
            return first
        frames = wire.encode_acks(touched)
        touched.clear()
        return first + frames if first else frames

    def clear(self) -> None:
        """Forget them: nobody is there to take them any more."""
        self.noted = self._pressing = False
        del self.waiting[:]
        self.touched.clear()
        self.others.clear()


class SettleTracker(wire.Unsettled):
    """The unsettled tags of one channel.

    Args:
        channel: its number, for the frames.
        acks: those of its connection.

    Attributes:
        gathers: whether acks may be put into `Acks.waiting`. Not before the channel is open and
            after its end, not in transactions, nor once tags were settled by number, so that
            settling twice is found out at once.
        frames: of acks that have not left and are not of the lowest tags.
        transactional: whether tx.select was sent.
    """

    __slots__ = (
        "_acks",
        "_ended",
        "_floor",
        "_recovering",
        "_tags",
        "frames",
        "transactional",
    )

    def __init__(self, channel: int, acks: Acks) -> None:
        self.channel = channel
        self.below = self.last = self.front = self.count = 0
        self.plain = True
        self.prefetch = UNLIMITED
        self._acks = acks
        self._tags = TagSet()  # besides those after `below`; empty while `plain`
        self._floor = 0  # tags up to this one were taken back by basic.recover
        self._recovering = 0  # basic.recover without an answer yet
        self._ended = False
        self.frames: list[bytes] = []
        self.gathers = False
        self.transactional = False

    def __len__(self) -> int:
        self._acks.look()
        return self.last - self.below + len(self._tags)

    def __contains__(self, tag: int) -> bool:
        return self.below < tag <= self.last or tag in self._tags

    @property
    def pieces(self) -> int:
        """See `TagSet`."""
        return 2 + self._tags.pieces

    def limited_to(self, prefetch: int) -> None:
        """basic.qos was sent, with so many deliveries; 0 for no limit. The smallest one counts:
        which consumers have which is not looked at.
        """
        if 0 < prefetch < self.prefetch:
            self.prefetch = prefetch

    def may_wait(self) -> bool:
        """Whether the acks kept back are few beside what the prefetch lets the broker send."""
        if self.transactional:
            return False
        unsettled = self.last - self.below + len(self._tags)
        return (self.count + len(self.frames)) * SHARE < self.prefetch - unsettled

    def is_lost(self, tag: int) -> bool:
        """Whether the broker has taken the delivery back, or is about to (basic.recover)."""
        return tag <= self._floor or self._recovering > 0

    def highest(self) -> int:
        """The highest unsettled tag; 0 where there is none, or all are lost."""
        self._acks.look()
        return 0 if self._recovering else self._highest()

    def _highest(self) -> int:
        return self.last if self.below < self.last else self._tags.last

    def delivered(self, tag: int) -> None:
        """A delivery that wants to be settled has come; most come by `wire.claim`."""
        if tag != self.last + 1:
            if self.below < self.last:
                self._into_set()
            self.below = max(tag, 1) - 1  # 0 is no tag
        self.last = tag

    def ack(self, tag: int) -> None:
        """Keep the ack of an unsettled delivery back for `take_acks`.

        Raises:
            DeliverySettledError: as `check`.
            EncodeError: it is no tag.
        """
        self._acks.look()
        if self.plain and tag == self.below + 1 and tag <= self.last:
            self.below = tag
            self._were_lowest(tag, 1)
        else:
            frame = wire.encode_ack(self.channel, tag, False)
            self.check(tag)
            tags = self._into_set()
            if tag == tags.front and not self.transactional:
                tags.remove_front()
                self._were_lowest(tag, 1)
            else:
                tags.remove(tag)
                self._add_frame(frame)
            self._tidy()
        self._acks.look_at(self)

    def acked(self, acked: list[int]) -> None:
        """Callers have acked these tags. One that two threads have acked at the same time is there
        twice, or is gone already.
        """
        if self._recovering or self._ended:
            return
        acked.sort()
        tags = self._into_set()
        if not self.transactional and tags.remove_run(acked):
            self._were_lowest(acked[-1], len(acked))
            self._tidy()
            return
        for tag in acked:
            if tag and tag == tags.front and not self.transactional:
                tags.remove_front()
                self._were_lowest(tag, 1)
            elif tags.remove(tag):
                self._add_frame(wire.encode_ack(self.channel, tag, False))
        self._tidy()

    def _were_lowest(self, tag: int, count: int) -> None:
        """So many acked tags, up to this one, were the lowest."""
        if not self.count:
            self._acks.touched.append(self)
        self.count += count
        self.front = tag

    def _add_frame(self, frame: bytes) -> None:
        if not self.frames:
            self._acks.others.append(self)
        self.frames.append(frame)

    def check(self, tag: int) -> None:
        """Raise where the broker would close the channel for a tag that it does not know (406).

        With `multiple`, too, the tag itself must be unsettled. In transactions all is let through.

        Raises:
            DeliverySettledError: it is not unsettled.
        """
        self._acks.look()
        if self.transactional or (not self._recovering and tag in self):
            return
        if tag and self.is_lost(tag):
            raise DeliverySettledError(f"delivery {tag} was taken back by basic.recover")
        raise DeliverySettledError(
            f"delivery {tag} of channel {self.channel} cannot be settled: it is settled already, "
            "or never came to be settled"
        )

    def settle(self, tag: int, multiple: bool) -> None:
        """`tag` (with `multiple`, all up to it; 0 for all) is settled by a frame of its own."""
        if self.plain and (multiple or tag == self.below + 1):
            self.below = min(max(tag, self.below), self.last) if tag else self.last
            return
        tags = self._into_set()
        if not multiple:
            tags.remove(tag)
        elif tag:
            tags.remove_to(tag)
        else:
            tags.clear()
        self._tidy()

    def take_acks(self) -> bytes:
        """The frames for the acks kept back; empty if there are none."""
        self._acks.look()
        frames, count = self.frames, self.count
        if count:
            self.count = 0
            frames.append(wire.encode_ack(self.channel, self.front, count > 1))
        elif not frames:
            return b""
        self.frames = []
        return frames[0] if len(frames) == 1 else b"".join(frames)

    # -- one run, or a set -----------------------------------------------------------------

    def _into_set(self) -> TagSet:
        """All that is unsettled, in the set."""
        self.plain = False
        if self.below < self.last:
            self._tags.add(self.below + 1, self.last)
            self.below = self.last
        return self._tags

    def _tidy(self) -> None:
        """After `_into_set`: whether it is one run that deliveries follow."""
        if self.transactional or self._recovering or self._ended:
            return
        tags = self._tags
        count = len(tags)
        if not count:
            self.plain = True
        elif tags.last == self.last and tags.last - tags.front + 1 == count:
            self.below = tags.front - 1
            tags.clear()
            self.plain = True

    # -- what ends the ordinary ------------------------------------------------------------

    def select(self) -> None:
        """tx.select was sent."""
        self.transactional = True
        self.gathers = False
        self._into_set()

    def recovering(self) -> None:
        """basic.recover was sent: what was delivered until recover-ok is lost already."""
        self._recovering += 1
        self.gathers = False
        self._into_set()

    def recovered(self) -> None:
        """recover-ok: the broker has taken back all that was delivered until now."""
        self._recovering = max(0, self._recovering - 1)
        self._floor = self._highest() or self._floor
        self._into_set().clear()
        self._tidy()

    def end(self) -> None:
        """The channel has ended, or is about to: nothing more can be settled."""
        self.gathers = False
        self._ended = True
        self._into_set()
        self.count = 0
        self.frames = []
