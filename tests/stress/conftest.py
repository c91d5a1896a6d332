"""Sizes, and a broker in a process of its own."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest

from .served import serve

FULL = os.environ.get("LEVERET_STRESS") == "full"
SMALL = os.environ.get("LEVERET_STRESS") == "small"
GRACE_SECONDS = 5.0


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the sizes are those of the promises (`LEVERET_STRESS=full`), or smaller."""
    return FULL


@pytest.fixture(scope="session")
def part() -> int:
    """What the largest sizes are divided by: 1, or with `LEVERET_STRESS=small` 10.

    They look for races and leaks, most of which no codec has to do with: CI runs them in full with
    one codec, small with the other.
    """
    return 10 if SMALL else 1


@pytest.fixture(scope="session")
def server() -> Iterator[str]:
    """The URL of an embedded broker in a process of its own."""
    with serve() as url:
        yield url


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """A connection's threads end with it."""
    before = set(threading.enumerate())
    yield
    gc.collect()
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("leveret ") or thread.name == "proxy":
            thread.join(GRACE_SECONDS)
            assert not thread.is_alive(), f"thread left behind: {thread.name}"
