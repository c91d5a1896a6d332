"""Exchange types: the matrices are RabbitMQ's own answers."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret.broker.routing import (
    DirectRouter,
    FanoutRouter,
    HeadersRouter,
    Router,
    TopicRouter,
    same,
)
from leveret.exceptions import PreconditionFailed

KEYS = ["", "a", "a.b", "a.b.c", ".", "a.", ".a", "a..b"]

TOPICS = {
    "#": KEYS,
    "*": ["a"],
    "*.*": ["a.b", ".", "a.", ".a"],
    "a.#": ["a", "a.b", "a.b.c", "a.", "a..b"],
    "#.b": ["a.b", "a..b"],
    "#.#": KEYS,
    "*.#": ["a", "a.b", "a.b.c", ".", "a.", ".a", "a..b"],
    "": [""],
    "a.*.#.c": ["a.b.c"],
    "a..b": ["a..b"],
    "a.*.b": ["a..b"],
    "*a": [],
}

HEADERS: list[dict[str, object]] = [
    {},
    {"a": 1},
    {"a": "1"},
    {"a": 2},
    {"a": 1, "b": 2},
    {"b": 2, "z": 9},
    {"a": 1, "x-y": 1},
    {"a": None},
]

HEADER_BINDINGS: list[tuple[dict[str, object], list[int]]] = [
    ({}, [0, 1, 2, 3, 4, 5, 6, 7]),
    ({"a": 1}, [1, 4, 6]),
    ({"x-match": "all", "a": 1, "b": 2}, [4]),
    ({"x-match": "any", "a": 1, "b": 2}, [1, 4, 5, 6]),
    ({"x-match": "any"}, []),
    ({"a": None}, [1, 2, 3, 4, 6, 7]),
    ({"x-match": "all", "x-y": 1}, [0, 1, 2, 3, 4, 5, 6, 7]),
    ({"x-match": "all-with-x", "x-y": 1}, [6]),
    ({"x-match": "any-with-x", "x-y": 1, "b": 2}, [4, 5, 6]),
]


def matched(router: Router[str], key: str, headers: dict[str, object] | None = None) -> set[str]:
    return set(router.match([key], headers or {}))


@pytest.mark.parametrize("pattern", TOPICS)
def test_topic_matches_as_rabbitmq(pattern: str) -> None:
    router: TopicRouter[str] = TopicRouter()
    router.add("q", pattern, {})
    assert [key for key in KEYS if matched(router, key)] == TOPICS[pattern]


@pytest.mark.parametrize(("arguments", "expected"), HEADER_BINDINGS)
def test_headers_match_as_rabbitmq(arguments: dict[str, object], expected: list[int]) -> None:
    router: HeadersRouter[str] = HeadersRouter()
    router.validate("", arguments)
    router.add("q", "", arguments)
    assert [i for i, headers in enumerate(HEADERS) if matched(router, "", headers)] == expected


def test_direct_and_fanout() -> None:
    direct: DirectRouter[str] = DirectRouter()
    direct.add("one", "k", {})
    direct.add("two", "k", {})
    direct.add("three", "other", {})
    assert matched(direct, "k") == {"one", "two"}
    assert matched(direct, "none") == set()
    assert set(direct.match(["k", "other"], {})) == {"one", "two", "three"}
    fanout: FanoutRouter[str] = FanoutRouter()
    fanout.add("one", "k", {})
    assert matched(fanout, "whatever") == {"one"}


@pytest.mark.parametrize("kind", [DirectRouter, FanoutRouter, TopicRouter, HeadersRouter])
def test_a_destination_stays_until_its_last_binding_goes(kind: type[Router[str]]) -> None:
    router = kind()
    router.add("q", "a", {"v": 1})
    router.add("q", "a", {"v": 2})
    router.remove("q", "a", {"v": 1})
    assert matched(router, "a", {"v": 2}) == {"q"}
    router.remove("q", "a", {"v": 2})
    assert matched(router, "a", {"v": 2}) == set()


def test_topic_forgets_the_nodes_of_removed_patterns() -> None:
    router: TopicRouter[str] = TopicRouter()
    router.add("q", "a.b.c", {})
    router.add("q", "a.#", {})
    router.remove("q", "a.b.c", {})
    assert matched(router, "a.b.c") == {"q"}
    router.remove("q", "a.#", {})
    assert not router._root.children


def test_topic_refuses_a_third_hash() -> None:
    router: TopicRouter[str] = TopicRouter()
    router.validate("#.a.#", {})
    with pytest.raises(PreconditionFailed, match="uses 3 '#' wildcards, at most 2 are allowed"):
        router.validate("#.a.#.b.#", {})


@pytest.mark.parametrize(
    ("value", "words"),
    [
        ("foo", 'Invalid x-match field value <<"foo">>; expected all, any, all-with-x, or '),
        (5, "Invalid x-match field type signedint (value 5); expected longstr"),
    ],
)
def test_headers_refuse_an_unknown_mode(value: object, words: str) -> None:
    with pytest.raises(PreconditionFailed) as caught:
        HeadersRouter[str]().validate("", {"x-match": value})
    assert caught.value.reply_text.startswith("PRECONDITION_FAILED - " + words)


def test_values_of_different_types_are_different() -> None:
    values: list[object] = [1, True, 1.0, "1", b"1", None, [1], [True], {"a": 1}, {"a": 1.0}]
    for i, left in enumerate(values):
        for j, right in enumerate(values):
            assert same(left, right) == (i == j)


words = st.lists(st.sampled_from(["a", "b", "", "*", "#"]), max_size=5)


def reference(pattern: list[str], key: list[str]) -> bool:
    if not pattern:
        return not key
    if pattern[0] == "#":
        return reference(pattern[1:], key) or (bool(key) and reference(pattern, key[1:]))
    return bool(key) and pattern[0] in ("*", key[0]) and reference(pattern[1:], key[1:])


@given(st.lists(words, max_size=6), words)
def test_topic_is_the_definition(patterns: list[list[str]], key: list[str]) -> None:
    router: TopicRouter[int] = TopicRouter()
    for number, pattern in enumerate(patterns):
        router.add(number, ".".join(pattern), {})

    def split(parts: list[str]) -> list[str]:
        text = ".".join(parts)
        return text.split(".") if text else []

    expected = {n for n, pattern in enumerate(patterns) if reference(split(pattern), split(key))}
    assert set(router.match([".".join(key)], {})) == expected
