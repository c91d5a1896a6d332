"""A publish, from its arguments to the connection's queue, in one step."""

from __future__ import annotations

from typing import Any

__all__ = ["queue_publish"]


def queue_publish(
    lock: Any,
    channel: Any,
    exchange: str,
    routing_key: str,
    raw_properties: bytes,
    body: bytes,
    mandatory: bool,
    publication: Any,
) -> int:
    """Queue a publish, if it is an ordinary one and this thread has not the lock.

    Args:
        lock: of the connection, an `RLock`; None where there is one thread only.
        channel: a `ClientChannel`; the rest as its `send_publish` takes it. A publication is
            counted in its window, too.

    Returns:
        How many bytes are queued. Less than 0: nothing was done, for the caller to do it all. So
        it is always here: in Python one more function would only cost.
    """
    return -1
