"""A set of delivery tags, which mostly follow each other.

The unsettled deliveries of a channel are a few runs of numbers: so that is what is kept, the first
and the last number of each run, in order. What is taken out at either end of a run shortens it;
what is taken out in the middle is a hole. Where holes are in the majority, the runs are cut at
them. A million tags thus cost what ten do, in time and in memory, and one delivery held for long
does not make the rest pile up.
"""

from __future__ import annotations

from bisect import bisect_right

__all__ = ["TagSet"]

HOLES_MIN = 64  # fewer holes than this are never worth cutting at
HEAD_MAX = 64  # used-up runs that are kept before the lists are cut


class TagSet:
    """Tags in runs. Those added must be higher than all before, but after `clear`.

    Attributes:
        front: the lowest tag; 0 where there is none.
    """

    __slots__ = ("_count", "_ends", "_head", "_holes", "_starts", "front")

    def __init__(self) -> None:
        self.front = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._head = 0  # the runs before this one are used up
        self._holes: set[int] = set()  # inside of runs, never at their ends
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __contains__(self, tag: int) -> bool:
        return self._find(tag) >= 0

    @property
    def last(self) -> int:
        """The highest tag; 0 where there is none."""
        return self._ends[-1] if self._count else 0

    @property
    def pieces(self) -> int:
        """How many numbers are kept: what the set costs in memory."""
        return len(self._starts) + len(self._ends) + len(self._holes)

    def add(self, first: int, last: int) -> None:
        """Add the tags from `first` to `last`, both included."""
        count = self._count
        self._count = count + last - first + 1
        if count:
            if self._ends[-1] == first - 1:
                self._ends[-1] = last
                return
        else:
            if self._head:
                self._starts.clear()
                self._ends.clear()
                self._head = 0
            self.front = first
        self._starts.append(first)
        self._ends.append(last)

    def clear(self) -> None:
        """Take all out."""
        self._starts.clear()
        self._ends.clear()
        self._holes.clear()
        self._head = self._count = self.front = 0

    def remove(self, tag: int) -> bool:
        """Take a tag out; False if it is not in."""
        index = self._find(tag)
        if index < 0:
            return False
        self._count -= 1
        holes = self._holes
        if tag == self._starts[index]:
            self._begin_at(index, tag + 1)
        elif tag == self._ends[index]:
            tag -= 1
            while tag in holes:
                holes.discard(tag)
                tag -= 1
            self._ends[index] = tag
        else:
            holes.add(tag)
            if len(holes) > HOLES_MIN and len(holes) > self._count:
                self._cut_at_holes()
        return True

    def remove_front(self) -> None:
        """Take the lowest tag out; there is one."""
        self._count -= 1
        self._begin_at(self._head, self.front + 1)

    def remove_run(self, tags: list[int]) -> bool:
        """Take the lowest tags out where they are `tags`, in order; else False, and none is."""
        first, last = tags[0], tags[-1]
        if (
            not self._count
            or first != self.front
            or self._holes
            or last > self._ends[self._head]
            or last - first != len(tags) - 1
            or tags != list(range(first, last + 1))
        ):
            return False
        self._count -= len(tags)
        self._begin_at(self._head, last + 1)
        return True

    def remove_to(self, tag: int) -> None:
        """Take out all tags up to this one."""
        while self._count and self.front <= tag:
            end = min(tag, self._ends[self._head])
            self._count -= end - self.front + 1
            if self._holes:
                for number in range(self.front, end + 1):
                    if number in self._holes:
                        self._holes.discard(number)
                        self._count += 1
            self._begin_at(self._head, end + 1)

    def _find(self, tag: int) -> int:
        """Which run has the tag; -1 for none."""
        index = bisect_right(self._starts, tag, self._head) - 1
        if index < self._head or tag > self._ends[index] or tag in self._holes:
            return -1
        return index

    def _begin_at(self, index: int, tag: int) -> None:
        """A run has lost its first tags, up to the one before `tag`."""
        starts, ends, holes = self._starts, self._ends, self._holes
        while tag in holes:
            holes.discard(tag)
            tag += 1
        if tag <= ends[index]:
            starts[index] = tag
        elif index == self._head:
            self._head += 1
            if self._head > HEAD_MAX and 2 * self._head > len(starts):
                del starts[: self._head], ends[: self._head]
                self._head = 0
        else:
            del starts[index], ends[index]
        self.front = starts[self._head] if self._count else 0

    def _cut_at_holes(self) -> None:
        """Make the holes the gaps between runs."""
        holes = sorted(self._holes)
        starts: list[int] = []
        ends: list[int] = []
        at = 0
        for start, end in zip(self._starts[self._head :], self._ends[self._head :], strict=True):
            while at < len(holes) and holes[at] < end:
                if holes[at] > start:
                    starts.append(start)
                    ends.append(holes[at] - 1)
                start = holes[at] + 1
                at += 1
            starts.append(start)
            ends.append(end)
        self._starts, self._ends, self._head = starts, ends, 0
        self._holes.clear()
