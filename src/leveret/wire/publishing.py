"""What is done once a publish: from its arguments to the connection's queue, and its confirm.

What publications, their trackers and windows are, the upper layers say.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice
from typing import Any

from .content import Item
from .methods import BasicAck

__all__ = ["confirm", "confirm_run", "count_confirmed", "queue_publish"]


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


def confirm_run(
    items: Sequence[Item],
    start: int,
    channel: int,
    publications: dict[int, Any],
    low: int,
    last: int,
    outcome: Any,
    settled: list[Any],
) -> tuple[int, int]:
    """The acks of a channel from `start` on, as far as they follow each other.

    Args:
        publications, outcome, settled: as for `confirm`.
        low: no publication has a lower number.
        last: the highest number that was given.

    Returns:
        The position of the first item that is no such ack, or is to be looked at by the caller;
        and the new `low`.
    """
    position = start
    item: Any
    for item in islice(items, start, None):
        if item.__class__ is not BasicAck or item.channel != channel:
            break
        tag = item.delivery_tag
        if not 0 < tag <= last:
            break
        if item.multiple:
            if tag >= low:
                if confirm(publications, low, tag, outcome, settled) <= tag:
                    break
                low = tag + 1
        else:
            publication = publications.get(tag)
            if publication is not None:  # as `confirm`, without the call: most acks are for one
                if publication.returned is not None or not publication.is_claimed:
                    break
                del publications[tag]
                publication.outcome = outcome
                settled.append(publication)
            if tag == low:
                low = tag + 1
        position += 1
    return position, low


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
