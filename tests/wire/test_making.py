"""Objects made without a constructor."""

from __future__ import annotations

import gc
import weakref
from typing import Any

import pytest

from leveret import wire


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
