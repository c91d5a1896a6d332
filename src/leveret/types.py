"""Types that every layer speaks of."""

from __future__ import annotations

from typing import TypeAlias

__all__ = ["Buffer"]

Buffer: TypeAlias = bytes | bytearray | memoryview
"""What a message body may be given as; `bytes` is the cheapest."""
