"""Runs of deliveries, and objects made without a constructor."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import wire
from leveret.client.delivery import Delivery


def delivery(
    channel: int = 1, tag: str | None = "t", number: int = 1, kind: type[Any] = Delivery
) -> Any:
    return kind(channel, tag, number, False, "", "q", b"\0\0", b"")


def same_text(text: str) -> str:
    """The same text as another object, as it comes from another read."""
    return "".join(list(text))


def test_a_run_is_of_one_consumer_and_its_tags_follow_each_other():
    items = [delivery(number=number) for number in (5, 6, 7)]
    items.append(delivery(number=9))
    owner = object()
    assert wire.claim_run(items, 0, owner) == 3
    assert [item.owner for item in items] == [owner, owner, owner, None]
    assert wire.claim_run(items, 3, "other") == 4
    assert items[3].owner == "other"


@pytest.mark.parametrize(
    "other",
    [
        delivery(channel=2, number=2),
        delivery(tag="u", number=2),
        delivery(tag=None, number=2),
        delivery(number=1),
        delivery(number=3),
        delivery(number=2, kind=wire.Delivery),
        wire.BasicAck(2),
        wire.Heartbeat(1),
    ],
    ids=["channel", "consumer", "get", "again", "gap", "class", "method", "heartbeat"],
)
def test_what_ends_a_run(other: Any):
    items = [delivery(), other]
    assert wire.claim_run(items, 0, "owner") == 1
    assert getattr(other, "owner", None) is None


def test_names_are_compared_by_what_they_say():
    items = [
        delivery(channel=int("1000"), tag=same_text("consumer"), number=1),
        delivery(channel=int("1000"), tag=same_text("consumer"), number=2),
    ]
    assert wire.claim_run(items, 0, "owner") == 2


def test_a_delivery_changes_hands():
    """The owner before is let go of."""

    class Owner:
        pass

    item = delivery()
    owner = Owner()
    gone = weakref.ref(owner)
    assert wire.claim_run([item], 0, owner) == 1
    del owner
    assert wire.claim_run([item], 0, None) == 1
    gc.collect()
    assert gone() is None


@given(st.lists(st.tuples(st.integers(1, 2), st.sampled_from("ab"), st.integers(1, 3)), min_size=1))
def test_every_delivery_is_in_one_run(facts: list[tuple[int, str, int]]):
    items: list[Any] = []
    number = 0
    for channel, tag, step in facts:
        number += step
        items.append(delivery(channel, tag, number))
    position, runs = 0, []
    while position < len(items):
        stop = wire.claim_run(items, position, len(runs))
        assert stop > position
        runs.append(items[position:stop])
        position = stop
    for index, run in enumerate(runs):
        assert {item.owner for item in run} == {index}
        assert len({(item.channel, item.consumer_tag) for item in run}) == 1
        assert [item.delivery_tag for item in run] == list(
            range(run[0].delivery_tag, run[0].delivery_tag + len(run))
        )


class Base:
    __slots__ = ("a", "b")


class Made(Base):
    __slots__ = ("c", "d")

    def __init__(self) -> None:
        raise AssertionError("no constructor is called")


def test_a_maker_fills_the_slots():
    constant = object()
    make = wire.maker(Made, ("c", "a"), {"b": constant, "d": None})
    made = make(1, "two")
    assert type(made) is Made
    assert (made.a, made.b, made.c, made.d) == ("two", constant, 1, None)
    assert make(3, 4).a == 4
    assert (made.a, made.c) == ("two", 1)


@pytest.mark.parametrize("values", [(), (1,), (1, 2, 3)])
def test_a_maker_wants_what_was_said(values: tuple[int, ...]):
    make = wire.maker(Made, ("c", "a"), {})
    with pytest.raises(TypeError, match="argument"):
        make(*values)


def test_a_maker_leaves_alone_what_was_not_said():
    made = wire.maker(Made, (), {"a": 1})()
    assert made.a == 1
    with pytest.raises(AttributeError):
        _ = made.b


@pytest.mark.parametrize("name", ["e", "__init__"])
def test_a_maker_of_what_is_no_slot(name: str):
    with pytest.raises(AttributeError):
        wire.maker(Made, (name,), {})


def test_what_a_maker_made_is_collected():
    class Node:
        __slots__ = ("__weakref__", "me")

    make = wire.maker(Node, ("me",), {})
    node: Any = make(None)
    node.me = node
    gone = weakref.ref(node)
    del node
    gc.collect()
    assert gone() is None
