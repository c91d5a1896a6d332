"""Confirms of many publishes at once, compiled and in Python."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import wire
from leveret.client.publisher import Window
from leveret.protocol import Outcome, Publication
from leveret.protocol.confirms import Unclaimed
from leveret.sync.publisher import make_publication
from leveret.wire import pure

from .pair import Pair

ways = [pure]
try:
    from leveret.wire import _speedups

    ways.append(_speedups)
except ImportError:
    pass

kinds = st.lists(st.sampled_from(["plain", "plain", "gone", "returned", "unclaimed"]), max_size=12)
RETURNED = wire.Returned(1, 312, "NO_ROUTE", "", "q", b"\0\0", b"")


def publication(kind: str, number: int, window: Window | None = None) -> Publication:
    if kind == "unclaimed":
        made: Any = Unclaimed("", "q", b"", True)
    else:
        made = make_publication(None, "", "q", b"", True, window)
    made.delivery_tag = number
    if kind == "returned":
        made.returned = RETURNED
    return made  # type: ignore[no-any-return]


def confirmed(way: Any, states: list[str], first: int, last: int) -> tuple[Any, ...]:
    publications = {
        number: publication(kind, number)
        for number, kind in enumerate(states, 1)
        if kind != "gone"
    }
    made = list(publications.values())
    settled: list[Publication] = []
    stopped = way.confirm(publications, first, last, Outcome.CONFIRMED, settled)
    return (
        stopped,
        list(publications),
        [p.delivery_tag for p in settled],
        [(p.delivery_tag, p.outcome) for p in made],
    )


@pytest.fixture(scope="module", autouse=True)
def publications_are_known() -> None:
    """The compiled functions know the class of the publications that were sent."""
    channel = Pair().open().confirming()
    made = make_publication(None, "", "q", b"", True, None)
    ways[-1].queue_publish(None, channel, "", "q", b"\0\0", b"", True, made)


@pytest.mark.parametrize("way", ways, ids=lambda way: way.__name__.split(".")[-1])
@given(states=kinds, first=st.integers(1, 5), last=st.integers(0, 14))
def test_confirm(way: Any, states: list[str], first: int, last: int) -> None:
    stopped, left, settled, outcomes = confirmed(way, states, first, last)
    numbers = range(first, max(last + 1, first))
    odd = [
        n for n in numbers if n <= len(states) and states[n - 1] in ("returned", "unclaimed")
    ]
    assert stopped == (odd[0] if odd else last + 1)
    taken = [n for n in range(first, stopped) if n <= len(states) and states[n - 1] == "plain"]
    assert settled == taken
    assert left == [
        n for n, kind in enumerate(states, 1) if kind != "gone" and n not in taken
    ]
    for number, outcome in outcomes:
        assert outcome is (Outcome.CONFIRMED if number in taken else Outcome.PENDING)


@pytest.mark.parametrize("way", ways, ids=lambda way: way.__name__.split(".")[-1])
@given(kinds=st.lists(st.sampled_from(["same", "same", "other", "pending", "waited"]), max_size=9))
def test_count_confirmed(way: Any, kinds: list[str]) -> None:
    window, other = Window(1), Window(1)
    publications: list[Any] = []
    for number, kind in enumerate(kinds, 1):
        made: Any = publication("plain", number, other if kind == "other" else window)
        made.outcome = Outcome.PENDING if kind == "pending" else Outcome.CONFIRMED
        made.waiters = [None] if kind == "waited" else None
        publications.append(made)
    odd = [at for at, kind in enumerate(kinds) if kind != "same"]
    expected = odd[0] if odd else len(kinds)
    assert way.count_confirmed(publications, window, Outcome.CONFIRMED) == expected
    assert way.count_confirmed(tuple(publications), window, Outcome.CONFIRMED) == expected


acks = st.lists(
    st.tuples(st.integers(0, 14), st.booleans(), st.sampled_from([1, 1, 1, 2])), max_size=8
)


@given(states=kinds, runs=acks)
def test_confirm_run(states: list[str], runs: list[tuple[int, bool, int]]) -> None:
    """Both ways stop at the same place, with the same done."""
    items: list[Any] = [
        wire.BasicAck(*wire_ack[:2]) if wire_ack[2] == 1 else wire.BasicNack(1)
        for wire_ack in runs
    ]
    for item in items:
        item.channel = 1

    def run(way: Any) -> tuple[Any, ...]:
        publications = {
            number: publication(kind, number)
            for number, kind in enumerate(states, 1)
            if kind != "gone"
        }
        made = list(publications.values())
        settled: list[Any] = []
        place = way.confirm_run(
            items, 0, 1, publications, 1, len(states), Outcome.CONFIRMED, settled
        )
        left = (list(publications), [p.delivery_tag for p in settled])
        return place, left, [p.outcome for p in made]

    first, *others = [run(way) for way in ways]
    for other in others:
        assert other == first
    (position, low), (left, _), outcomes = first
    assert position <= len(items)
    assert all(number in left for number in range(1, len(states) + 1) if states[number - 1] in ODD)
    assert not any(number in left for number in range(1, low) if states[number - 1] == "plain")
    assert set(outcomes) <= {Outcome.PENDING, Outcome.CONFIRMED}


ODD = ("returned", "unclaimed")


@pytest.mark.parametrize("way", ways)
@pytest.mark.parametrize("slot", ["channel", "delivery_tag", "multiple"])
def test_an_ack_with_an_empty_slot(way: Any, slot: str) -> None:
    """It is no such ack, or an error: read it is not, which would be the end of the process."""
    ack = wire.BasicAck(1)
    ack.channel = 1
    object.__delattr__(ack, slot)
    open_ones = {1: publication("plain", 1)}
    try:
        position, _ = way.confirm_run([ack], 0, 1, open_ones, 1, 1, Outcome.CONFIRMED, [])
    except AttributeError:
        position = 0
    assert position == 0
    assert list(open_ones) == [1]
