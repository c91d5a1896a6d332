"""The inner side of publishing: handles of publishes, and windows of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import PublishError
from ..protocol import Outcome, Publication
from ..types import Buffer

if TYPE_CHECKING:
    from .channel import BaseChannel
    from .core import Waiter

__all__ = ["BasePublication", "Window", "check_body", "encode_properties"]

_EMPTY = wire.Properties()


def encode_properties(properties: wire.Properties | None, persistent: bool) -> bytes:
    """Properties for the wire; with `persistent`, delivery mode 2 where they leave it open."""
    if properties is None:
        properties = _EMPTY
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

    __slots__ = ("channel", "waiter", "window")

    def __init__(
        self, channel: BaseChannel, exchange: str, routing_key: str, body: bytes, mandatory: bool
    ) -> None:
        # the attributes of Publication, set here: one call less for each message
        self.exchange = exchange
        self.routing_key = routing_key
        self.body = body
        self.mandatory = mandatory
        self.delivery_tag = 0
        self.position = 0
        self.outcome = Outcome.PENDING
        self.returned = None
        self.reason = None
        self.channel = channel
        self.waiter: Waiter | None = None
        self.window: Window | None = None

    def wants(self, waiter: Waiter) -> bool:
        """Register one who waits for the outcome; False where it is there."""
        if self.outcome is not Outcome.PENDING:
            return False
        self.waiter = waiter if self.waiter is None else _Both(self.waiter, waiter)
        return True

    def settled(self) -> None:
        """The outcome is there."""
        waiter = self.waiter
        if waiter is not None:
            waiter.set_result(None)
        window = self.window
        if window is not None:
            window.settled(self)
        if self.channel.confirm_waiters:
            self.channel.confirmed()


class _Both:
    """Two waiters for one publish."""

    __slots__ = ("abandoned", "first", "second")

    def __init__(self, first: Waiter, second: Waiter) -> None:
        self.first = first
        self.second = second
        self.abandoned = False

    def set_result(self, value: object) -> bool:
        self.first.set_result(value)
        return self.second.set_result(value)

    def set_error(self, error: BaseException) -> None:
        self.first.set_error(error)
        self.second.set_error(error)


class Window:
    """How many publishes of one publisher are open, and which failed.

    Attributes:
        max_in_flight: how many may be open.
        in_flight: how many are.
        errors: of those that were not confirmed.
        waiters: who waits, and for how few open publishes.
    """

    __slots__ = ("errors", "in_flight", "max_in_flight", "waiters")

    def __init__(self, max_in_flight: int) -> None:
        self.max_in_flight = max_in_flight
        self.in_flight = 0
        self.errors: list[PublishError] = []
        self.waiters: list[tuple[int, Waiter]] = []

    def settled(self, publication: Publication) -> None:
        """One of the publishes has its outcome."""
        self.in_flight -= 1
        if publication.outcome is not Outcome.CONFIRMED:
            error = publication.error
            if error is not None:
                self.errors.append(error)
        if self.waiters:
            self._wake()

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

    def room(self) -> int:
        """How few publishes must be open before a waiting publisher goes on: a quarter of the
        window is free then, so that it is not woken for each message.
        """
        return self.max_in_flight - max(1, self.max_in_flight // 4)

    def take_errors(self) -> list[PublishError]:
        """The errors so far, to be raised once."""
        errors, self.errors = self.errors, []
        return errors
