"""What holds for every test of the suite."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

GRACE_SECONDS = 5.0


@pytest.fixture(autouse=True)
def no_thread_left_behind() -> Iterator[None]:
    """A connection's threads end with it."""
    before = set(threading.enumerate())
    yield
    for thread in set(threading.enumerate()) - before:
        if thread.name.startswith("leveret ") or thread.name == "proxy":
            thread.join(GRACE_SECONDS)
            assert not thread.is_alive(), f"thread left behind: {thread.name}"
