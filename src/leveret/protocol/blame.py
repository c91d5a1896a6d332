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
from collections.abc import Collection, Mapping, Sequence
from itertools import islice

from .. import wire

__all__ = ["LATE", "Request", "SentMethods", "settled_tag"]

LATE = (wire.BasicCancel, wire.BasicConsume, wire.TxCommit)
"""Requests whose replies may come after those to later requests. RabbitMQ's channel process asks
the queue, which answers by a message of its own (rabbit_channel, `send_command`), and tx.commit
waits for confirms (`maybe_complete_tx`); meanwhile the channel handles what was sent next."""

RECENT = 32  # methods sent without waiting since the last reply that are remembered


class Request:
    """A method that waits for its reply.

    Attributes:
        method: as sent.
        token, owner: the caller's.
        unheeded: consumer tags whose deliveries were before its reply, if any.
        posted: the methods sent without waiting between the request before it and this one.
    """

    __slots__ = ("method", "owner", "posted", "token", "unheeded")

    def __init__(
        self, method: wire.Method, token: object, owner: object, unheeded: Sequence[str]
    ) -> None:
        self.method = method
        self.token = token
        self.owner = owner
        self.unheeded = unheeded
        self.posted: Collection[wire.Method] = ()


make_request = wire.maker(Request, ("method", "token", "owner", "unheeded"), {"posted": ()})


class SentMethods:
    """What was sent on one channel and may yet fail, publishes and acks apart.

    Attributes:
        requests: those without a reply yet, in order.
        posted: those that get none, since the last request; None where there are none.
    """

    __slots__ = ("posted", "requests")

    def __init__(self) -> None:
        self.requests: deque[Request] = deque()
        self.posted: deque[wire.Method] | None = None  # after the last request

    def add(self, method: wire.Method) -> None:
        """A method without a reply was sent."""
        if self.posted is None:
            self.posted = deque(maxlen=RECENT)
        self.posted.append(method)

    def hand_over(self, request: Request) -> None:
        """A method with a reply is sent: what was posted was before it."""
        assert self.posted is not None
        request.posted = self.posted
        self.posted = None

    def replied(self, index: int) -> Request:
        """One behind the first open request has its reply: nothing sent before it may fail."""
        requests = self.requests
        for request in islice(requests, index + 1):
            request.posted = ()
        request = requests[index]
        del requests[index]
        return request

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
        if len(self.requests) == 1:
            request = self.requests[0].method
            blames_it = any(method is request for method in meant)
            unclear = not meant and (kind is None or type(request) is kind)
            return 0 if blames_it or unclear else None
        if not all(method == meant[0] for method in meant):
            return None
        for index, each in enumerate(self.requests):
            if any(method is each.method for method in meant):
                return index
        return None

    def _meant(self, kind: type[wire.Method], text: str) -> list[wire.Method]:
        """The methods of this kind that the broker may mean, in the order of sending."""
        candidates: list[wire.Method] = []
        for request in self.requests:
            candidates += [method for method in request.posted if type(method) is kind]
            if type(request.method) is kind:
                candidates.append(request.method)
            if not isinstance(request.method, LATE):
                break
        else:
            candidates += [method for method in self.posted or () if type(method) is kind]
        if not candidates:
            return []
        quoted = [_quoted(method, text) for method in candidates]
        most = max(quoted)
        first = self.requests[0].posted if self.requests else self.posted or ()
        if not most and len(first) == RECENT:
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
