"""A pair of connections for every test that asks for one."""

from __future__ import annotations

import pytest

from .pair import Pair


@pytest.fixture
def pair() -> Pair:
    """A client and a server, the handshake done."""
    return Pair().open()
