"""The asyncio client: the names of `leveret`, with `await`."""

from .channel import Channel
from .connection import Connection, connect
from .consumer import Consumer
from .publisher import Publication, Publisher

__all__ = ["Channel", "Connection", "Consumer", "Publication", "Publisher", "connect"]
