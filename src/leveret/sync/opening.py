"""The blocking twin of `leveret/asyncio/opening.py`: a call that waits needs no help."""

from __future__ import annotations

from typing import TypeVar

__all__ = ["opening"]

T = TypeVar("T")


def opening(function: T) -> T:
    """Leave a function as it is."""
    return function
