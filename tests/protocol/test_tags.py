"""The set of delivery tags against a plain set."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from leveret.protocol.tags import TagSet

ADD, REMOVE, REMOVE_TO, REMOVE_RUN, CLEAR = range(5)

STEPS = st.lists(
    st.one_of(
        st.tuples(st.just(ADD), st.integers(0, 3), st.integers(1, 200)),
        st.tuples(st.just(REMOVE), st.integers(0, 250), st.integers(1, 200)),
        st.tuples(st.just(REMOVE_TO), st.integers(0, 250), st.just(0)),
        st.tuples(st.just(REMOVE_RUN), st.integers(0, 3), st.integers(1, 20)),
        st.tuples(st.just(CLEAR), st.just(0), st.just(0)),
    ),
    max_size=60,
)


def check(tags: TagSet, model: set[int], highest: int) -> None:
    assert len(tags) == len(model)
    assert tags.front == min(model, default=0)
    assert tags.last == max(model, default=0)
    assert [tag for tag in range(highest + 2) if tag in tags] == sorted(model)


@settings(max_examples=300, deadline=None)
@given(STEPS)
def test_it_is_a_set(steps: list[tuple[int, int, int]]) -> None:
    tags, model, highest = TagSet(), set[int](), 0
    for kind, at, count in steps:
        low = min(model, default=0)
        if kind == ADD:
            first = highest + 1 + at
            highest = first + count - 1
            tags.add(first, highest)
            model.update(range(first, highest + 1))
        elif kind == REMOVE:
            for tag in range(low + at, low + at + count, 2):
                assert tags.remove(tag) is (tag in model)
                model.discard(tag)
        elif kind == REMOVE_TO:
            tags.remove_to(low + at)
            model = {tag for tag in model if tag > low + at}
        elif kind == REMOVE_RUN:
            run = list(range(low + at, low + at + count))
            taken = tags.remove_run(run)
            if taken:
                assert set(run) <= model
                assert not at
                model.difference_update(run)
            elif not at and model:
                assert not set(run) <= model or len(model) < max(model) - low + 1
        else:
            tags.clear()
            model = set()
        check(tags, model, highest)


def test_a_run_with_a_hole_or_a_tag_twice_is_none() -> None:
    tags = TagSet()
    tags.add(1, 10)
    assert not tags.remove_run([1, 1, 3])
    assert not tags.remove_run([1, 3])
    assert not tags.remove_run([2, 3])
    assert not tags.remove_run(list(range(1, 12)))
    assert len(tags) == 10
    assert tags.remove_run([1, 2, 3])
    assert tags.front == 4


def test_gaps_by_the_thousand_are_forgotten() -> None:
    """Every other delivery needs no ack: no two tags follow each other."""
    tags = TagSet()
    for tag in range(1, 200_001, 2):
        tags.add(tag, tag)
        if tag > 100:
            assert tags.remove(tag - 100)
        assert tags.pieces < 1000
    assert len(tags) == 50
