"""A mark for each message: which were published, which arrived, and how often.

A message id names its run, its publisher and its number. Each publisher has one byte a number,
so that the proof for a hundred thousand messages takes a hundred kilobytes: zero is a message
that has not arrived, one that has, more one that has arrived again.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Sequence

__all__ = ["Ledger"]

SHOWN = 5  # examples kept of what should not be


class Ledger:
    """Which messages arrived.

    Args:
        shares: how many messages each publisher has.

    Attributes:
        messages: how many there are.
        run: names this run in each message id.
        published, confirmations: how many, by publisher; the publisher keeps them.
        deliveries: messages that arrived, repeated ones too.
        distinct: message ids that arrived.
        redelivered: deliveries that the broker marked as repeated.
        unexpected: deliveries whose id was never published, or whose body was changed.
        strangers: a few of their ids.
    """

    def __init__(self, shares: Sequence[int]) -> None:
        self.run = secrets.token_hex(4)
        self.published = [0] * len(shares)
        self.confirmations = [0] * len(shares)
        self.deliveries = 0
        self.distinct = 0
        self.redelivered = 0
        self.unexpected = 0
        self.strangers: list[str] = []
        self.messages = sum(shares)
        self._marks = [bytearray(share) for share in shares]
        self._lock = threading.Lock()

    @property
    def shares(self) -> list[int]:
        """How many messages each publisher has."""
        return [len(marks) for marks in self._marks]

    @property
    def confirmed(self) -> int:
        """How many messages the broker has confirmed."""
        return sum(self.confirmations)

    @property
    def complete(self) -> bool:
        """Whether every id has arrived."""
        return self.distinct == self.messages

    @property
    def duplicates(self) -> int:
        """How many deliveries repeated an id."""
        return self.deliveries - self.distinct - self.unexpected

    @property
    def lost(self) -> int:
        """How many published ids have not arrived, counted anew from the marks."""
        return sum(map(self.lost_by, range(len(self._marks))))

    def message_id(self, publisher: int, number: int) -> str:
        """The id of a publisher's message."""
        return f"{self.run}-{publisher}-{number}"

    def lost_by(self, publisher: int) -> int:
        """How many published ids of one publisher have not arrived."""
        return self._marks[publisher].count(0, 0, self.published[publisher])

    def missing(self, limit: int = SHOWN) -> list[str]:
        """The first published ids that have not arrived."""
        found: list[str] = []
        for publisher, marks in enumerate(self._marks):
            end = self.published[publisher]
            number = marks.find(0, 0, end)
            while number >= 0 and len(found) < limit:
                found.append(self.message_id(publisher, number))
                number = marks.find(0, number + 1, end)
        return found

    def receive(self, message_id: str | None, redelivered: bool, intact: bool = True) -> bool:
        """Note a delivery; may be called by several threads.

        Args:
            message_id: as it came.
            redelivered: the broker's mark.
            intact: whether the body is the one that was published.

        Returns:
            Whether now every id has arrived, and had not before.
        """
        place = self._place(message_id) if intact else None
        with self._lock:
            self.deliveries += 1
            self.redelivered += redelivered
            if place is None:
                self.unexpected += 1
                if len(self.strangers) < SHOWN:
                    self.strangers.append(str(message_id) + ("" if intact else " (body changed)"))
                return False
            marks, number = place
            if marks[number]:
                marks[number] = min(marks[number] + 1, 255)
                return False
            marks[number] = 1
            self.distinct += 1
            return self.complete

    def _place(self, message_id: str | None) -> tuple[bytearray, int] | None:
        """Where the mark of an id is; None where it is not one of this run's."""
        if message_id is None:
            return None
        run, _, rest = message_id.partition("-")
        publisher, _, number = rest.partition("-")
        if run != self.run or not (publisher.isdecimal() and number.isdecimal()):
            return None
        at, mark = int(publisher), int(number)
        if at >= len(self._marks) or mark >= self.published[at]:
            return None
        return self._marks[at], mark
