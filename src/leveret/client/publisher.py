"""The inner side of publishing: handles of publishes, and windows of them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import islice
from typing import TYPE_CHECKING, TypeVar

from .. import wire
from ..exceptions import PublishFailures
from ..protocol import Outcome, Publication
from ..types import Buffer

if TYPE_CHECKING:
    from .channel import BaseChannel
    from .core import Waiter

__all__ = [
    "BasePublication",
    "Window",
    "check_body",
    "encode_properties",
    "publication_maker",
    "settle",
]

AMPLE = 512  # publishes that keep a broker busy for some milliseconds
MAX_FAILED = 1000  # failed publishes that are kept for the user to be told of

_NOTHING = wire.Properties().encode()
_PERSISTENT = wire.Properties().encode_persistent()


def encode_properties(properties: wire.Properties | None, persistent: bool) -> bytes:
    """Properties for the wire; with `persistent`, delivery mode 2 where they leave it open."""
    if properties is None:
        return _PERSISTENT if persistent else _NOTHING
    return properties.encode_persistent() if persistent else properties.encode()


def check_body(body: Buffer) -> bytes:
    """A body as bytes.

    Raises:
        TypeError: not bytes-like; text must be encoded by the caller, who knows the encoding.
    """
    if body.__class__ is bytes:
        return body
    if isinstance(body, bytes | bytearray | memoryview):
        return bytes(body)
    raise TypeError(f"message body is {type(body).__name__}: expected bytes, bytearray, memoryview")


class BasePublication(Publication):
    """One publish; see `protocol.Publication` for its attributes."""

    __slots__ = ("channel", "waiters", "window")

    channel: BaseChannel
    waiters: list[Waiter] | None
    window: Window | None

    def wants(self, waiter: Waiter) -> bool:
        """Register one who waits for the outcome; False where it is there."""
        if self.outcome is not Outcome.PENDING:
            return False
        if self.waiters is None:
            self.waiters = [waiter]
        else:
            self.waiters.append(waiter)
        return True

    def gives_up(self, waiter: Waiter) -> None:
        """One who waited has gone."""
        if self.waiters and waiter in self.waiters:
            self.waiters.remove(waiter)

    def told(self) -> None:
        """Somebody knows the outcome: nobody else needs to be told."""
        if self.window is not None:
            self.window.told(self)


P = TypeVar("P", bound=BasePublication)


def publication_maker(kind: type[P]) -> Callable[..., P]:
    """A function that makes publications of a front end's own kind: one is made for each message.

    Returns:
        Takes channel, exchange, routing_key, body, mandatory, window (or None), in this order.
    """
    given = ("channel", "exchange", "routing_key", "body", "mandatory", "window")
    pending = {
        "delivery_tag": 0,
        "outcome": Outcome.PENDING,
        "position": 0,
        "raw_properties": b"",
        "reason": None,
        "returned": None,
        "waiters": None,
    }
    return wire.maker(kind, given, pending)


def settle(publications: Sequence[BasePublication]) -> None:
    """Publishes of one channel have their outcome: tell their windows and who waits."""
    if not publications:
        return
    window = publications[0].window
    count = wire.count_confirmed(publications, window, Outcome.CONFIRMED)
    for publication in islice(publications, count, None):
        if publication.window is not window:
            if window is not None:
                window.settled(count)
            window, count = publication.window, 0
        count += 1
        if publication.outcome is not Outcome.CONFIRMED and window is not None:
            window.add_failed(publication)
        if publication.waiters is not None:
            for waiter in publication.waiters:
                waiter.set_result(None)
    if window is not None:
        window.settled(count)
    channel = publications[0].channel
    if channel.confirm_waiters:
        channel.confirmed()


class Window:
    """How many publishes of one publisher, or of one channel's `publish_nowait`, are open, and
    which failed.

    Attributes:
        max_in_flight: how many may be open.
        in_flight: how many are.
        failed: those that were not confirmed and that nobody was told of, the first
            `MAX_FAILED` of them.
        more_failed: how many there were after those.
        waiters: who waits, and for how few open publishes.
    """

    __slots__ = ("failed", "in_flight", "max_in_flight", "more_failed", "waiters")

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.failed: dict[int, Publication] = {}
        self.more_failed = 0
        self.waiters: list[tuple[int, Waiter]] = []

    def settled(self, count: int) -> None:
        """So many of the publishes have their outcome."""
        self.in_flight -= count
        if self.waiters:
            self._wake()

    def add_failed(self, publication: Publication) -> None:
        """One of those that `settled` counts was not confirmed."""
        if len(self.failed) < MAX_FAILED:
            self.failed[publication.delivery_tag] = publication
        else:
            self.more_failed += 1

    def _wake(self) -> None:
        for entry in self.waiters[:]:
            if self.in_flight <= entry[0]:
                self.waiters.remove(entry)
                entry[1].set_result(None)

    def wants(self, in_flight: int, waiter: Waiter) -> bool:
        """Register one who waits for at most `in_flight` open publishes."""
        if self.in_flight <= in_flight:
            return False
        self.waiters.append((in_flight, waiter))
        return True

    def gives_up(self, waiter: Waiter) -> None:
        """One who waited has gone."""
        self.waiters = [entry for entry in self.waiters if entry[1] is not waiter]

    def room(self) -> int:
        """How few publishes must be open before a waiting publisher goes on: a quarter of the
        window is free then, so that it is not woken for each message.
        """
        return self.max_in_flight - max(1, self.max_in_flight // 4)

    def is_ample(self) -> bool:
        """Whether so many publishes are open that the broker has enough to do for a while."""
        return self.in_flight >= AMPLE

    def told(self, publication: Publication) -> None:
        """The user has been told that this one failed."""
        self.failed.pop(publication.delivery_tag, None)

    def is_overdue(self) -> bool:
        """Whether so many have failed that the user must be told now."""
        return len(self.failed) >= MAX_FAILED

    def take_failures(self) -> PublishFailures | None:
        """The failures that nobody was told of, as one error to be raised; None if none."""
        failed, self.failed = self.failed, {}
        more, self.more_failed = self.more_failed, 0
        errors = [error for each in failed.values() if (error := each.error) is not None]
        return PublishFailures(errors, more) if errors else None

    def note(self) -> str | None:
        """Words on what is open or failed; None if nothing is."""
        failed = len(self.failed) + self.more_failed
        if not failed and not self.in_flight:
            return None
        return (
            f"of the publisher's messages, {failed} were not confirmed "
            f"and {self.in_flight} have no outcome yet"
        )
