"""Which operation the broker means where it closes a channel.

channel.close carries the number of a method, not which one of those that were sent. Replies come
in order, so the culprit was sent after the last request that has its reply, and not after the
first that has none, `LATE` ones apart. Of the methods in between those that the reply text quotes
the most arguments of are meant; where several are left, what they have in common is all that is
known.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from itertools import islice

from .. import wire

__all__ = ["LATE", "SentMethods", "settled_tag"]

LATE = (wire.BasicCancel, wire.BasicConsume, wire.TxCommit)
"""Requests whose replies may come after those to later requests. RabbitMQ's channel process asks
the queue, which answers by a message of its own (rabbit_channel, `send_command`), and tx.commit
waits for confirms (`maybe_complete_tx`); meanwhile the channel handles what was sent next."""

RECENT = 32  # methods sent without waiting since the last reply that are remembered


class SentMethods:
    """What was sent on one channel and may yet fail, publishes and acks apart."""

    __slots__ = ("_requests", "_stretches")

    def __init__(self) -> None:
        # Methods sent without waiting, split at the open requests: the first stretch was sent
        # before the first open request, and so on; there is one more than there are requests.
        self._stretches: deque[deque[wire.Method]] = deque([deque(maxlen=RECENT)])
        self._requests: deque[wire.Method] = deque()

    def add(self, method: wire.Method) -> None:
        """A method without a reply was sent."""
        self._stretches[-1].append(method)

    def add_request(self, method: wire.Method) -> None:
        """A method with a reply was sent."""
        self._requests.append(method)
        self._stretches.append(deque(maxlen=RECENT))

    def replied(self, index: int = 0) -> None:
        """An open request has its reply, and so nothing that was sent before it may fail."""
        for stretch in islice(self._stretches, index + 1):
            stretch.clear()
        del self._stretches[index]
        del self._requests[index]

    def find(self, kind: type[wire.Method], text: str) -> Mapping[str, object]:
        """The arguments of the method of this kind that failed.

        Args:
            text: the broker's reply text.

        Returns:
            Those that were given and are known; empty where none are.
        """
        meant = self._meant(kind, text)
        if not meant:
            return {}
        first = meant[0]
        return {
            name: value
            for name in first.fields
            if (value := getattr(first, name))
            and all(getattr(method, name) == value for method in meant)
        }

    def find_request(self, kind: type[wire.Method] | None, text: str) -> int | None:
        """Which open request failed, by its index; None where it was something else or unclear.

        Args:
            kind: the method that the broker blames; None where it blames none, which then means
                the only open request.
            text: the broker's reply text.
        """
        meant = self._meant(kind, text) if kind is not None else []
        if len(self._requests) == 1:
            request = self._requests[0]
            blames_it = any(method is request for method in meant)
            unclear = not meant and (kind is None or type(request) is kind)
            return 0 if blames_it or unclear else None
        if not all(method == meant[0] for method in meant):
            return None
        for index, request in enumerate(self._requests):
            if any(method is request for method in meant):
                return index
        return None

    def _meant(self, kind: type[wire.Method], text: str) -> list[wire.Method]:
        """The methods of this kind that the broker may mean, in the order of sending."""
        candidates: list[wire.Method] = []
        for index, stretch in enumerate(self._stretches):
            candidates += [method for method in stretch if type(method) is kind]
            request = self._requests[index] if index < len(self._requests) else None
            if type(request) is kind:
                candidates.append(request)
            if not isinstance(request, LATE):
                break
        if not candidates:
            return []
        quoted = [_quoted(method, text) for method in candidates]
        most = max(quoted)
        if not most and len(self._stretches[0]) == RECENT:
            return []  # some may be forgotten
        return [m for m, count in zip(candidates, quoted, strict=True) if count == most]


def _quoted(method: wire.Method, text: str) -> int:
    """How many arguments the text quotes."""
    values = {getattr(method, name) for name in method.fields if name != "arguments"}
    return sum(1 for value in values if isinstance(value, str) and value and f"'{value}'" in text)


def settled_tag(text: str) -> Mapping[str, object]:
    """The delivery tag that an ack, nack or reject was refused for."""
    found = re.search(r"unknown delivery tag (\d+)", text)
    return {"delivery_tag": int(found[1])} if found else {}
