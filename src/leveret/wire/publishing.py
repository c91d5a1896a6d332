"""What is done once a publish: from its arguments to the connection's queue, and its confirm.

What publications, their trackers and windows are, the upper layers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

__all__ = ["confirm", "count_confirmed", "queue_publish"]


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


def confirm(
    publications: dict[int, Any], first: int, last: int, outcome: Any, settled: list[Any]
) -> int:
    """Take the publications with the numbers from `first` to `last` out of a dictionary, and give
    them an outcome. Numbers that are not there are passed over.

    Args:
        settled: takes them.

    Returns:
        The number of the first one that has come back, or in which nobody takes an interest: it
        is still there, and for the caller to look at; `last + 1` if there is none.
    """
    for number in range(first, last + 1):
        publication = publications.get(number)
        if publication is None:
            continue
        if publication.returned is not None or not publication.is_claimed:
            return number
        del publications[number]
        publication.outcome = outcome
        settled.append(publication)
    return last + 1


def count_confirmed(publications: Sequence[Any], window: Any, confirmed: Any) -> int:
    """How many publications from the first one on are of this window, have this outcome, and nobody
    waits for them.
    """
    for count, publication in enumerate(publications):
        if (
            publication.window is not window
            or publication.outcome is not confirmed
            or publication.waiters is not None
        ):
            return count
    return len(publications)
