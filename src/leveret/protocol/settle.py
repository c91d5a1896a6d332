"""Unsettled deliveries of one channel, and acknowledgements that leave together.

A delivery is unsettled from its arrival to its ack, nack or reject (AMQP 0-9-1, 1.8.3.13). The
tags of a channel rise, so the unsettled ones are a queue with holes: `_tags` in order, `_holes`
those settled out of order, never the first or the last. Settling at the front, the usual case,
costs the same however many are behind; and where holes are in the majority they are closed, so
that one delivery held for long does not make the rest pile up.

An ack of the front tag is kept back until the channel sends something else or the connection is
asked for its bytes; further acks of the then-front tag join it, and they leave as one
`multiple=True`. That is exact: nothing unsettled is below the front. It is not in a transaction,
whose rollback makes deliveries unsettled again: there, every ack leaves by itself.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque

from .. import wire
from ..exceptions import DeliverySettledError

__all__ = ["SettleTracker"]

HOLES_MIN = 64  # fewer holes than this are never worth closing


class SettleTracker:
    """The unsettled tags of one channel.

    Args:
        channel: its number, for the frames.

    Attributes:
        transactional: whether tx.select was sent.
    """

    __slots__ = (
        "_ack_count",
        "_ack_tag",
        "_alone",
        "_channel",
        "_floor",
        "_holes",
        "_recovering",
        "_tags",
        "transactional",
    )

    def __init__(self, channel: int) -> None:
        self._channel = channel
        self._tags: deque[int] = deque()
        self._holes: set[int] = set()
        self._floor = 0  # tags up to this one were taken back by basic.recover
        self._recovering = 0  # basic.recover without an answer yet
        self._ack_tag = 0
        self._ack_count = 0
        self._alone = False  # no ack is kept back: in transactions and while recovering
        self.transactional = False

    def __len__(self) -> int:
        return len(self._tags) - len(self._holes)

    def delivered(self, tag: int) -> None:
        """A delivery that wants to be settled has arrived."""
        self._tags.append(tag)

    def is_lost(self, tag: int) -> bool:
        """Whether the broker has taken the delivery back, or is about to (basic.recover)."""
        return tag <= self._floor or self._recovering > 0

    def last(self) -> int:
        """The highest unsettled tag; 0 where there is none, or all are lost."""
        return self._tags[-1] if self._tags and not self._recovering else 0

    def ack_front(self, tag: int) -> bool:
        """Keep back the ack of `tag` if it is the front; else False, and nothing is done."""
        tags = self._tags
        if not tags or tags[0] != tag or self._alone:
            return False
        tags.popleft()
        if self._holes:
            self._skip_holes()
        self._ack_tag = tag
        self._ack_count += 1
        return True

    def check(self, tag: int) -> None:
        """Raise where the broker would close the channel for a tag that it does not know (406).

        With `multiple`, too, the tag itself must be unsettled. In transactions all is let through.

        Raises:
            DeliverySettledError: it is not unsettled.
        """
        if self.transactional or (not self._recovering and self._is_unsettled(tag)):
            return
        if tag and self.is_lost(tag):
            raise DeliverySettledError(f"delivery {tag} was taken back by basic.recover")
        raise DeliverySettledError(
            f"delivery {tag} of channel {self._channel} cannot be settled: it is settled already, "
            "or never came to be settled"
        )

    def _is_unsettled(self, tag: int) -> bool:
        tags = self._tags
        if not tags or not tags[0] <= tag <= tags[-1] or tag in self._holes:
            return False
        if tags[-1] - tags[0] == len(tags) - 1:
            return True
        return tags[bisect_left(tags, tag)] == tag  # there are tags without need of an ack

    def settle(self, tag: int, multiple: bool) -> None:
        """`tag` (with `multiple`, all up to it; 0 for all) is settled by a frame of its own."""
        tags = self._tags
        if multiple:
            while tags and (tag == 0 or tags[0] <= tag):
                self._holes.discard(tags.popleft())
        elif tags and tags[0] == tag:
            tags.popleft()
        elif tags and tags[-1] == tag:
            tags.pop()
        elif tags and tags[0] < tag < tags[-1]:
            self._holes.add(tag)
        if self._holes:
            self._skip_holes()

    def _skip_holes(self) -> None:
        tags, holes = self._tags, self._holes
        while tags and tags[0] in holes:
            holes.discard(tags.popleft())
        while tags and tags[-1] in holes:
            holes.discard(tags.pop())
        if len(holes) > HOLES_MIN and 2 * len(holes) > len(tags):
            self._tags = deque(tag for tag in tags if tag not in holes)
            holes.clear()

    def take_acks(self) -> bytes:
        """The frame for the acks kept back; empty if there are none."""
        count = self._ack_count
        if not count:
            return b""
        self._ack_count = 0
        return wire.encode_ack(self._channel, self._ack_tag, count > 1)

    def select(self) -> None:
        """tx.select was sent."""
        self.transactional = True
        self._alone = True

    def recovering(self) -> None:
        """basic.recover was sent: what was delivered until recover-ok is lost already."""
        self._recovering += 1
        self._alone = True

    def recovered(self) -> None:
        """recover-ok: the broker has taken back all that was delivered until now."""
        self._recovering = max(0, self._recovering - 1)
        self._alone = self.transactional or self._recovering > 0
        if self._tags:
            self._floor = self._tags[-1]
        self._tags.clear()
        self._holes.clear()
