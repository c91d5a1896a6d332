# Made by tools/async_to_sync.py from leveret/asyncio/publisher.py: change it there.
"""Publishing many messages with confirms, pipelined."""

from __future__ import annotations

from types import TracebackType
from typing import TYPE_CHECKING, Self

from .. import wire
from ..client.deadline import Deadline, check_timeout
from ..client.publisher import (
    BasePublication,
    Window,
    check_body,
    encode_properties,
    publication_maker,
)
from ..exceptions import ConfigurationError, LeveretError
from ..types import Buffer

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Publication", "Publisher", "make_publication"]


class Publication(BasePublication):
    """One publish under way, and its outcome.

    Attributes:
        outcome: `Outcome.PENDING` until the broker has answered.
        error: the outcome as a `PublishError`; None while pending and when confirmed.
        exchange, routing_key, body, mandatory: as published.
        delivery_tag: its number on the channel.
    """

    __slots__ = ()

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the outcome.

        Args:
            timeout: seconds; None takes the connection's default.

        Raises:
            PublishReturned, PublishNacked, PublishNotSent, PublishUnknown: the outcome.
            DeadlineExceeded: none yet; it may be waited for again.
        """
        channel = self.channel
        channel.core.wait(
            self.wants, channel.deadline(timeout), "basic.publish", self.gives_up
        )
        error = self.error
        if error is not None:
            self.told()
            raise error


make_publication = publication_maker(Publication)


class Publisher:
    """A window of confirmed publishes. Made by `Channel.publisher`.

    `publish` goes on while fewer than `max_in_flight` publishes are without an outcome. Leaving
    the block, or `flush`, waits for all of them and raises `PublishFailures` for those that were
    not confirmed, except those whose own `wait()` has said so.
    """

    def __init__(self, channel: Channel, max_in_flight: int) -> None:
        if max_in_flight < 1:
            raise ConfigurationError(f"max_in_flight is {max_in_flight}: expected at least 1")
        self._channel = channel
        self._core = channel.core
        self._window = Window(max_in_flight)

    def __repr__(self) -> str:
        return f"<Publisher {self.in_flight} of at most {self._window.max_in_flight} in flight>"

    @property
    def in_flight(self) -> int:
        """How many publishes have no outcome yet."""
        return self._window.in_flight

    def publish(
        self,
        body: Buffer,
        exchange: str = "",
        routing_key: str = "",
        properties: wire.Properties | None = None,
        *,
        mandatory: bool = True,
        persistent: bool = True,
        timeout: float | None = None,
    ) -> Publication:
        """Publish; wait only while the window is full or the broker takes no publishes.

        Args:
            body, exchange, routing_key, properties, mandatory, persistent: as `Channel.publish`.
            timeout: seconds to wait for a place; None takes the connection's default.

        Returns:
            The publication; its outcome is counted by `flush` and need not be waited for.

        Raises:
            DeadlineExceeded, BlockedTimeout: no place in time; nothing was sent.
            ChannelClosedError, ConnectionClosedError, EncodeError: nothing was sent.
            PublishFailures: 1,000 earlier publishes have failed and `flush` was never called;
                nothing was sent.
        """
        if body.__class__ is not bytes:
            body = check_body(body)
        if timeout is not None:
            check_timeout(timeout)
        channel = self._channel
        window = self._window
        core = self._core
        if window.failed and window.is_overdue():
            self._raise_failures()
        if window.in_flight >= window.max_in_flight or (
            core.held and not core.may_publish(channel)
        ):
            self._wait_for_place(channel.deadline(timeout))
        publication = make_publication(
            channel, exchange, routing_key, body, mandatory, window
        )
        core.publish(
            channel.protocol,
            exchange,
            routing_key,
            encode_properties(properties, persistent),
            body,
            mandatory,
            publication,
        )
        return publication

    def _wait_for_place(self, deadline: Deadline) -> None:
        """Wait until one more may be published. Others who wait for that may be quicker."""
        window = self._window
        while True:
            self._core.wait_in_window(window, window.room(), deadline)
            self._channel.wait_to_publish(deadline)
            if window.in_flight < window.max_in_flight:
                return

    def _raise_failures(self) -> None:
        failures = self._window.take_failures()
        if failures is not None:
            raise failures

    def flush(self, timeout: float | None = None) -> None:
        """Wait until every publish has its outcome.

        Args:
            timeout: seconds; None takes the connection's default.

        Raises:
            PublishFailures: some were not confirmed; each is raised once.
            DeadlineExceeded: some have no outcome yet.
        """
        self._core.wait_in_window(self._window, 0, self._channel.deadline(timeout))
        self._raise_failures()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if error is None:
            self.flush()
            return
        if isinstance(error, LeveretError) and not self._channel.is_open:
            # the channel is gone, so that every publish has its outcome
            failures = self._window.take_failures()
            if failures is not None:
                raise failures from error
        note = self._window.note()
        if note is not None:
            error.add_note(note)
