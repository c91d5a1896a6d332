# Made by tools/async_to_sync.py from leveret/asyncio/__init__.py: change it there.
"""The blocking client, under the names that `leveret` itself has."""

from .channel import Channel
from .connection import Connection, connect
from .consumer import Consumer
from .publisher import Publication, Publisher

__all__ = ["Channel", "Connection", "Consumer", "Publication", "Publisher", "connect"]
