"""Sizes, and a broker in a process of its own."""

from __future__ import annotations

import gc
import os
import threading
from collections.abc import Iterator

import pytest

from .served import serve

FULL = os.environ.get("LEVERET_STRESS") == "full"
GRACE_SECONDS = 5.0


@pytest.fixture(scope="session")
def full() -> bool:
    """Whether the sizes are those of the promises (`LEVERET_STRESS=full`), or smaller."""
    return FULL


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
