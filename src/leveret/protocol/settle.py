"""Unsettled deliveries of one channel, and acknowledgements that leave together.

A delivery is unsettled from its arrival to its ack, nack or reject (AMQP 0-9-1, 1.8.3.13).

An ack of a single delivery waits until the channel sends something else or the connection is asked
for its bytes; whatever was acked by then leaves together: the tags that were the lowest ones as
one `multiple=True`, the others by themselves before it. That is exact: nothing unsettled is below
them. It is not in a transaction, whose rollback makes deliveries unsettled again: there, every ack
leaves by itself.

How long acks may be kept back is the transport's affair, as long as `may_wait` says that the broker
has no need of them: with a prefetch it stops delivering where too many deliveries are unsettled.

`acked` is for callers of any thread, who need no lock to add to it: while `gathers` is true they
append a tag that is theirs to settle, and see to it that the connection knows (`noted`). What is
in it is looked at by whoever sends next.
"""

from __future__ import annotations

from .. import wire
from ..exceptions import DeliverySettledError
from .tags import TagSet

__all__ = ["SettleTracker"]

UNLIMITED = 1024  # deliveries: the prefetch that is counted with where there is none
SHARE = 4  # acks that wait take no more than one part in so many of what the prefetch leaves


class SettleTracker:
    """The unsettled tags of one channel.

    Args:
        channel: its number, for the frames.

    Attributes:
        delivered: deliveries that want to be settled have come: takes the first and the last tag.
        acked: tags that callers have acked and nobody has looked at; each must be unsettled.
        gathers: whether acks may be put there. Not before the channel is open and after its end,
            not in transactions, nor once tags were settled by number, so that settling twice is
            found out at once.
        noted: whether the connection knows that there are acks.
        front_count, frames: what was looked at and has not left: how many of the lowest tags, and
            the frames of the others.
        prefetch: how many deliveries the broker sends ahead, as far as that is known.
        transactional: whether tx.select was sent.
    """

    __slots__ = (
        "_channel",
        "_floor",
        "_front",
        "_recovering",
        "_tags",
        "acked",
        "delivered",
        "frames",
        "front_count",
        "gathers",
        "noted",
        "prefetch",
        "transactional",
    )

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._tags = TagSet()
        self.delivered = self._tags.add  # without a call between: it is called once a message
        self._floor = 0  # tags up to this one were taken back by basic.recover
        self._recovering = 0  # basic.recover without an answer yet
        self._front = 0  # the last of the acked tags that were the lowest
        self.front_count = 0
        self.frames: list[bytes] = []  # of the other ones
        self.prefetch = UNLIMITED
        self.acked: list[int] = []
        self.gathers = False
        self.noted = False
        self.transactional = False

    def __len__(self) -> int:
        self._look()
        return len(self._tags)

    @property
    def pieces(self) -> int:
        """See `TagSet`."""
        return self._tags.pieces

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
        acked = len(self.acked)  # which are among the tags still
        room = self.prefetch - len(self._tags) + acked
        return (acked + self.front_count + len(self.frames)) * SHARE < room

    def is_lost(self, tag: int) -> bool:
        """Whether the broker has taken the delivery back, or is about to (basic.recover)."""
        return tag <= self._floor or self._recovering > 0

    def last(self) -> int:
        """The highest unsettled tag; 0 where there is none, or all are lost."""
        self._look()
        return 0 if self._recovering else self._tags.last

    def ack(self, tag: int) -> None:
        """Keep the ack of an unsettled delivery back for `take_acks`.

        Raises:
            DeliverySettledError: as `check`.
        EncodeError: it is no tag.
        """
        self._look()
        tags = self._tags
        if tag and tag == tags.front and not (self.transactional or self._recovering):
            tags.remove_front()
            self._front = tag
            self.front_count += 1
        else:
            frame = wire.encode_ack(self._channel, tag, False)
            self.check(tag)
            tags.remove(tag)
            self.frames.append(frame)

    def check(self, tag: int) -> None:
        """Raise where the broker would close the channel for a tag that it does not know (406).

        With `multiple`, too, the tag itself must be unsettled. In transactions all is let through.

        Raises:
            DeliverySettledError: it is not unsettled.
        """
        self._look()
        if self.transactional or (not self._recovering and tag in self._tags):
            return
        if tag and self.is_lost(tag):
            raise DeliverySettledError(f"delivery {tag} was taken back by basic.recover")
        raise DeliverySettledError(
            f"delivery {tag} of channel {self._channel} cannot be settled: it is settled already, "
            "or never came to be settled"
        )

    def settle(self, tag: int, multiple: bool) -> None:
        """`tag` (with `multiple`, all up to it; 0 for all) is settled by a frame of its own."""
        if not multiple:
            self._tags.remove(tag)
        elif tag:
            self._tags.remove_to(tag)
        else:
            self._tags.clear()

    def take_acks(self) -> bytes:
        """The frames for the acks kept back; empty if there are none."""
        self.noted = False
        if self.acked:
            self._look()
        frames, count = self.frames, self.front_count
        if count:
            self.front_count = 0
            frames.append(wire.encode_ack(self._channel, self._front, count > 1))
        elif not frames:
            return b""
        self.frames = []
        return frames[0] if len(frames) == 1 else b"".join(frames)

    def _look(self) -> None:
        """Look at what callers have acked."""
        if not self.acked:
            return
        self.noted = False  # before looking: who acks behind our back notes it again
        tags = self.acked[:]
        del self.acked[: len(tags)]
        if self._recovering:
            return
        if len(tags) == 1 and tags[0] == self._tags.front and not self.transactional:
            self._tags.remove_front()
            self._front = tags[0]
            self.front_count += 1
            return
        if len(tags) > 1:
            tags.sort()
        if not self.transactional and self._tags.remove_run(tags):
            self._front = tags[-1]
            self.front_count += len(tags)
            return
        for tag in tags:
            # one that two threads have acked at the same time is there twice
            if tag in self._tags:
                self.ack(tag)

    def select(self) -> None:
        """tx.select was sent."""
        self.transactional = True
        self.gathers = False

    def recovering(self) -> None:
        """basic.recover was sent: what was delivered until recover-ok is lost already."""
        self._recovering += 1
        self.gathers = False

    def recovered(self) -> None:
        """recover-ok: the broker has taken back all that was delivered until now."""
        self._recovering = max(0, self._recovering - 1)
        self._floor = self._tags.last or self._floor
        self._tags.clear()
