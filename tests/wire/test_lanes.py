"""Deliveries of many channels to their owners, and acks of many channels into frames."""

from __future__ import annotations

import gc
import sys
import weakref
from collections import deque
from itertools import count, islice
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import wire
from leveret.client.delivery import Delivery

SHARE = 4


class Tracker(wire.Unsettled):
    """As the layer above has it."""

    __slots__ = ("more",)

    def __init__(
        self, channel: int = 1, below: int = 0, last: int = 0, prefetch: int = 10**6
    ) -> None:
        self.channel = channel
        self.below = self.front = below
        self.last = last
        self.count = 0
        self.plain = True
        self.prefetch = prefetch

    def tags(self) -> tuple[int, int]:
        return self.below, self.last


class Box(wire.Inbox):
    """Notes what `deal` leaves to it."""

    __slots__ = ("__weakref__", "received")

    def __init__(self, check_at: int = 2**62) -> None:
        self.deliveries: wire.Queue[Any] = wire.Queue()
        self.check_at = check_at
        self.received: list[Any] = []

    def receive(self, deliveries: list[Any]) -> None:
        self.received += deliveries


def delivery(
    channel: int = 1, tag: str | None = "t", number: int = 1, kind: type[Any] = Delivery
) -> Any:
    return kind(channel, tag, number, False, "", "q", b"\0\0", b"")


def same_text(text: str) -> str:
    """The same text as another object, as it comes from another read."""
    return "".join(list(text))


def lanes_of(**owners: object) -> list[wire.Lane | None]:
    """Channel 1 with a consumer for each name, the first of which is next."""
    siblings: dict[str | None, wire.Lane] = {}
    tracker = Tracker()
    for tag, owner in owners.items():
        siblings[tag] = wire.Lane(tag, owner, tracker, siblings)
    return [None, next(iter(siblings.values()))]


def tracker_of(lane: wire.Lane | None) -> Tracker:
    assert lane is not None
    assert isinstance(lane.unsettled, Tracker)
    return lane.unsettled


# -- claim -------------------------------------------------------------------------------------


def test_deliveries_of_one_consumer():
    owner = object()
    lanes = lanes_of(t=owner)
    items = [delivery(number=number) for number in (1, 2, 3)]
    assert wire.claim(items, 0, lanes) == (3, owner)
    assert [item.owner for item in items] == [owner] * 3
    assert tracker_of(lanes[1]).tags() == (0, 3)
    assert wire.claim([items[0], delivery(number=4)], 1, lanes) == (2, owner)
    assert tracker_of(lanes[1]).tags() == (0, 4)


def test_deliveries_of_many_channels():
    lanes: list[wire.Lane | None] = [None]
    for channel in range(1, 401):
        siblings: dict[str | None, wire.Lane] = {}
        siblings["t"] = wire.Lane("t", f"owner {channel}", Tracker(channel), siblings)
        lanes.append(siblings["t"])
    items = [
        delivery(channel, same_text("t"), tag) for tag in (1, 2, 3) for channel in range(1, 401)
    ]
    assert wire.claim(items, 0, lanes) == (1200, None)
    assert all(item.owner == f"owner {item.channel}" for item in items)
    assert all(tracker_of(lane).tags() == (0, 3) for lane in lanes[1:])


def test_deliveries_of_many_consumers_of_a_channel():
    lanes = lanes_of(t="one", u="two", v="three")
    items = [delivery(tag=tag, number=number) for number, tag in enumerate("tuvuut", 1)]
    assert wire.claim(items, 0, lanes) == (6, None)
    assert [item.owner for item in items] == ["one", "two", "three", "two", "two", "one"]
    assert tracker_of(lanes[1]).tags() == (0, 6)
    assert wire.claim([delivery(tag="v", number=7)], 0, lanes) == (1, "three")
    assert lanes[1] is not None
    assert lanes[1].consumer_tag == "v"


def test_a_lane_takes_the_name_that_its_deliveries_have():
    """To be told that it is the same text by its being the same object."""
    lanes = lanes_of(tag="one", other="two")
    items = [delivery(tag=same_text(tag), number=at) for at, tag in enumerate(("tag", "other"), 1)]
    for item in items:
        assert wire.claim([item], 0, lanes)[0] == 1
        assert lanes[1] is not None
        assert lanes[1].consumer_tag is item.consumer_tag


def test_deliveries_that_want_no_settling():
    lane = wire.Lane("t", "owner", None, {})
    items = [delivery(number=5), delivery(number=9)]
    assert wire.claim(items, 0, [None, lane]) == (2, "owner")
    assert [item.owner for item in items] == ["owner"] * 2


@pytest.mark.parametrize(
    "other",
    [
        delivery(channel=2, number=2),
        delivery(channel=3, number=2),
        delivery(tag="u", number=2),
        delivery(tag=None, number=2),
        delivery(number=1),
        delivery(number=3),
        wire.BasicAck(2),
        wire.Heartbeat(1),
    ],
    ids=["no lane", "no channel", "consumer", "get", "again", "gap", "method", "heartbeat"],
)
def test_what_is_not_claimed(other: Any):
    lanes = [*lanes_of(t="owner"), None]
    assert wire.claim([delivery(), other], 0, lanes) == (1, "owner")
    assert getattr(other, "owner", None) is None
    assert tracker_of(lanes[1]).tags() == (0, 1)
    assert wire.claim([other], 0, lanes) == (0, None)
    assert tracker_of(lanes[1]).tags() == (0, 1)


def test_a_gap_where_nothing_is_unsettled():
    lanes = lanes_of(t="owner")
    tracker_of(lanes[1]).below = tracker_of(lanes[1]).last = 3
    assert wire.claim([delivery(number=7), delivery(number=8)], 0, lanes) == (2, "owner")
    assert tracker_of(lanes[1]).tags() == (6, 8)
    tracker_of(lanes[1]).below = 8
    assert wire.claim([delivery(number=8)], 0, lanes) == (0, None)
    assert tracker_of(lanes[1]).tags() == (8, 8)


def test_a_delivery_changes_hands():
    """The owner before is let go of."""
    item, owner = delivery(), Box()
    gone = weakref.ref(owner)
    assert wire.claim([item], 0, lanes_of(t=owner)) == (1, owner)
    del owner
    assert wire.claim([item], 0, lanes_of(t="other")) == (1, "other")
    gc.collect()
    assert gone() is None


consumers = st.sampled_from(["t", "u", "free", "unknown", None])


@given(st.lists(st.tuples(st.integers(1, 4), consumers, st.integers(0, 2))))
def test_claims_are_those_of_a_model(facts: list[tuple[int, str | None, int]]):
    """One by one, with a dictionary instead of lanes, and a set instead of two numbers."""
    lanes: list[wire.Lane | None] = [None]
    sets: dict[int, list[int]] = {}
    highest = dict.fromkeys(range(1, 5), 0)
    for channel in (1, 2, 3):
        siblings: dict[str | None, wire.Lane] = {}
        tracker = Tracker(channel)
        for tag in ("t", "u", "free"):
            unsettled = None if tag == "free" else tracker
            siblings[tag] = wire.Lane(tag, (channel, tag), unsettled, siblings)
        lanes.append(siblings["t"])
        sets[channel] = []
    items = []
    for channel, consumer, step in facts:
        highest[channel] += step
        items.append(delivery(channel, consumer, highest[channel]))
    stop = 0
    for item in items:
        if item.channel == 4 or item.consumer_tag not in ("t", "u", "free"):
            break
        have = sets[item.channel]
        if item.consumer_tag != "free":
            if have and item.delivery_tag != have[-1] + 1:
                break
            if item.delivery_tag <= (have[-1] if have else 0):
                break
            have.append(item.delivery_tag)
        stop += 1
    position, only = wire.claim(items, 0, lanes)
    assert position == stop
    owners = [item.owner for item in items]
    assert owners[:stop] == [(item.channel, item.consumer_tag) for item in items[:stop]]
    assert owners[stop:] == [None] * (len(items) - stop)
    assert only == (owners[0] if stop and len(set(owners[:stop])) == 1 else None)
    for channel, have in sets.items():
        below, last = tracker_of(next(iter(lanes[channel].siblings.values()))).tags()  # type: ignore[union-attr]
        assert list(range(below + 1, last + 1)) == have


# -- where deliveries wait ---------------------------------------------------------------------

steps = st.one_of(
    st.just("popleft"),
    st.just("clear"),
    st.just("append"),
    st.tuples(st.just("extend"), st.integers(0, 20)),
)


@given(st.lists(steps))
def test_a_queue_is_as_a_deque(steps: list[Any]):
    queue: wire.Queue[int] = wire.Queue()
    model: deque[int] = deque()
    numbers = count()
    for step in steps:
        if step == "append":
            number = next(numbers)
            queue.append(number)
            model.append(number)
        elif step == "clear":
            queue.clear()
            model.clear()
        elif step != "popleft":
            more = list(islice(numbers, step[1]))
            queue.extend(more)
            model.extend(more)
        elif model:
            assert queue.popleft() == model.popleft()
        else:
            with pytest.raises(IndexError):
                queue.popleft()
        assert list(queue) == list(model)
        assert len(queue) == len(model)
        assert bool(queue) == bool(model)


@pytest.mark.parametrize("collection", [1, 2, 3])
@pytest.mark.parametrize("taken", [1, 2, 9])
@pytest.mark.parametrize("waiting", [1, 5, 9])
def test_a_queue_that_others_take_from_while_it_grows(waiting: int, taken: int, collection: int):
    queue: wire.Queue[int] = wire.Queue()
    queue.extend(range(waiting))
    numbers = count(1)
    got: list[int] = []

    def collected(phase: str, _: object) -> None:
        if phase == "start" and next(numbers) == collection:
            got.extend(queue.popleft() for _ in range(min(taken, len(queue))))

    spare: list[list[int]] = [[] for _ in range(100)]  # none is left that costs no allocation
    thresholds = gc.get_threshold()
    gc.callbacks.append(collected)
    gc.set_threshold(1)
    try:
        queue.append(waiting)
        queue.append(waiting + 1)
    finally:
        gc.set_threshold(*thresholds)
        gc.callbacks.remove(collected)
    del spare
    got += queue
    assert got == list(range(waiting + 2))


@pytest.mark.parametrize("taken", [True, False])
def test_a_queue_lets_go_of_what_it_had(taken: bool):
    queue: wire.Queue[Box] = wire.Queue()
    boxes = [Box() for _ in range(20)]
    gone = [weakref.ref(box) for box in boxes]
    queue.extend(boxes)
    boxes.clear()
    for _ in gone if taken else ():
        queue.popleft()
    if not taken:
        queue.clear()
    assert [ref() for ref in gone] == [None] * 20


def test_a_queue_that_was_long_is_small_again():
    queue: wire.Queue[int] = wire.Queue()
    queue.extend(range(50_000))
    assert [queue.popleft() for _ in range(50_000)] == list(range(50_000))
    assert sum(map(sys.getsizeof, gc.get_referents(queue))) < 10_000


@pytest.mark.parametrize("waiting", [1, 20])
def test_what_waits_for_nobody_is_garbage(waiting: int):
    box = Box()
    box.deliveries.extend(owned(*[box] * waiting))
    gone = weakref.ref(box)
    del box
    gc.collect()
    assert gone() is None


# -- deal --------------------------------------------------------------------------------------


def owned(*owners: Box) -> list[Any]:
    deliveries = []
    for number, owner in enumerate(owners, 1):
        deliveries.append(delivery(number=number))
        deliveries[-1].owner = owner
    return deliveries


def test_each_delivery_into_its_inbox():
    boxes = [Box() for _ in range(100)]
    deliveries = owned(*boxes, *boxes)
    wire.deal(deliveries)
    assert [list(box.deliveries) for box in boxes] == [
        [deliveries[at], deliveries[at + 100]] for at in range(100)
    ]
    assert not any(box.received for box in boxes)


def test_what_an_inbox_looks_at_itself():
    full, awaited, plain = Box(check_at=3), Box(check_at=0), Box()
    deliveries = owned(full, awaited, full, awaited, plain, full, full)
    wire.deal(deliveries)
    assert list(full.deliveries) == [deliveries[0], deliveries[2]]
    assert full.received == [deliveries[5], deliveries[6]]
    assert awaited.received == [deliveries[1], deliveries[3]]
    assert list(plain.deliveries) == [deliveries[4]]
    assert not awaited.deliveries


def test_an_inbox_that_fails():
    class Failing(Box):
        def receive(self, deliveries: list[Any]) -> None:
            raise RuntimeError("no")

    box, failing = Box(), Failing()
    failing.check_at = 0
    with pytest.raises(RuntimeError):
        wire.deal(owned(box, failing, box))
    assert len(box.deliveries) == 1


# -- acks --------------------------------------------------------------------------------------


def test_acks_of_the_lowest_tags():
    one, other = Tracker(1, 0, 5), Tracker(300, 7, 9)
    touched: list[Any] = []
    rest, many = wire.settle([(one, 1), (other, 8), (one, 2), (other, 9)], touched, SHARE)  # type: ignore[arg-type]
    assert (rest, many) == ([], False)
    assert touched == [one, other]
    assert (one.tags(), other.tags()) == ((2, 5), (9, 9))
    assert wire.encode_acks(touched) == wire.encode_ack(1, 2, True) + wire.encode_ack(300, 9, True)
    assert wire.encode_acks(touched) == b""
    assert wire.settle([(one, 3)], touched, SHARE) == ([], False)
    assert wire.encode_acks([other, one, one]) == wire.encode_ack(1, 3, False)


@pytest.mark.parametrize("tag", [0, 1, 3, 6, 2**63])
def test_acks_that_are_left(tag: int):
    tracker = Tracker(1, 1, 5)
    touched: list[Any] = []
    assert wire.settle([(tracker, tag)], touched, SHARE) == ([(tracker, tag)], False)
    assert tracker.tags() == (1, 5)
    assert touched == []
    tracker.plain = False
    assert wire.settle([(tracker, 2)], touched, SHARE) == ([(tracker, 2)], False)
    assert wire.encode_acks(touched) == b""


def test_nothing_above_the_last_is_acked():
    tracker = Tracker(1, 5, 5)
    assert wire.settle([(tracker, 6)], [], SHARE) == ([(tracker, 6)], False)


@pytest.mark.parametrize("acks", range(1, 9))
def test_when_acks_are_many(acks: int):
    """Of a prefetch of 20, with 10 deliveries there."""
    tracker, other = Tracker(1, 0, 10, prefetch=20), Tracker(2, 0, 1)
    touched: list[Any] = []
    pairs = [(other, 1), *((tracker, tag) for tag in range(1, acks + 1))]
    rest, many = wire.settle(pairs, touched, SHARE)  # type: ignore[arg-type]
    assert rest == []
    assert many == (acks * SHARE >= 20 - (10 - acks))
    assert wire.settle([(other, 1)], touched, SHARE) == ([(other, 1)], False)
    tracker.last += 9
    more = tracker.below + 1
    assert wire.settle([(tracker, more), (tracker, more + 1)], touched, SHARE) == ([], True)


@given(st.data())
def test_acks_are_those_of_a_model(data: st.DataObject):
    trackers = [Tracker(channel, 10 * channel, 10 * channel + 5) for channel in (1, 2, 3)]
    trackers[2].plain = data.draw(st.booleans())
    pairs = [
        (tracker, tracker.below + offset)
        for tracker, offset in data.draw(
            st.lists(st.tuples(st.sampled_from(trackers), st.integers(0, 6)))
        )
    ]
    lowest = {tracker.channel: tracker.below for tracker in trackers}
    expected: dict[int, int] = {}
    left = []
    for tracker, tag in pairs:
        if tracker.plain and tag == lowest[tracker.channel] + 1 <= tracker.last:
            lowest[tracker.channel] = tag
            expected[tracker.channel] = expected.get(tracker.channel, 0) + 1
        else:
            left.append((tracker, tag))
    touched: list[Any] = []
    assert wire.settle(pairs, touched, SHARE) == (left, False)  # type: ignore[arg-type]
    assert [tracker.channel for tracker in touched] == list(expected)
    assert wire.encode_acks(touched) == b"".join(
        wire.encode_ack(channel, lowest[channel], count > 1) for channel, count in expected.items()
    )
    assert not any(tracker.count for tracker in trackers)
