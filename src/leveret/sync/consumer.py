# Made by tools/async_to_sync.py from leveret/asyncio/consumer.py: change it there.
"""Consumers: deliveries to iterate over, or handed to a callback."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Self

from ..client.consumer import Subscription, hastened
from ..client.deadline import Deadline, check_timeout
from ..client.delivery import Delivery
from ..exceptions import LeveretError

if TYPE_CHECKING:
    from .channel import Channel

__all__ = ["Consumer"]

logger = logging.getLogger("leveret.client")


@hastened
class Consumer(Iterator[Delivery]):
    """The deliveries of one consumer. Made by `Channel.consume` and `Channel.basic_consume`.

    Iterating waits for the next delivery and ends when the consumer or its channel is closed by
    this program. It raises `ConsumerCancelled` when the broker cancels the consumer (what came
    before is given first), `ChannelClosedError` when the channel or the connection is lost.

    A consumer that is dropped without `cancel` is cancelled when Python collects it. What was
    delivered and never looked at goes back into the queue.
    """

    __slots__ = ("__weakref__", "_channel", "_deliveries", "_subscription")

    def __init__(self, channel: Channel, subscription: Subscription) -> None:
        self._channel = channel
        self._subscription = subscription
        self._deliveries = subscription.deliveries

    def __repr__(self) -> str:
        state = "ended" if self._subscription.ended else "active"
        return f"<Consumer {self.consumer_tag!r} of {self.queue!r} {state}>"

    @property
    def consumer_tag(self) -> str:
        """The consumer's name on its channel."""
        return self._subscription.consumer_tag

    @property
    def queue(self) -> str:
        """The queue, as it was asked for."""
        return self._subscription.queue

    @property
    def is_active(self) -> bool:
        """Whether deliveries may still come."""
        return not self._subscription.ended

    @property
    def on_cancel(self) -> Callable[[LeveretError | None], object] | None:
        """Called once with the reason when the broker has cancelled the consumer, or its channel
        or connection has ended (None: it was closed by this program). Not called for `cancel`.
        """
        return self._subscription.on_cancel

    @on_cancel.setter
    def on_cancel(self, callback: Callable[[LeveretError | None], object] | None) -> None:
        self._channel.core.set_on_cancel(self._subscription, callback)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> Delivery:
        subscription = self._subscription
        if subscription.full and subscription.has_room():
            self._channel.core.resume_receiving(subscription)
        while True:
            try:
                return self._deliveries.popleft()
            except IndexError:
                pass
            if not self._wait(None):
                raise StopIteration

    def get(self, timeout: float | None = None) -> Delivery:
        """Wait for the next delivery.

        Args:
            timeout: seconds; None takes the connection's default.

        Raises:
            DeadlineExceeded: none came in time. The consumer stays as it is.
            ConsumerCancelled, ChannelClosedError: as when iterating.
            ChannelClosedError: this program has closed the channel or the connection, too; there
                is no `reason` then.
            LocalProtocolError: this program has cancelled the consumer.
        """
        deadline = self._channel.deadline(timeout)
        subscription = self._subscription
        if subscription.full and subscription.has_room():
            self._channel.core.resume_receiving(subscription)
        while True:
            try:
                return self._deliveries.popleft()
            except IndexError:
                pass
            if not self._wait(deadline):
                raise subscription.ended_by_user()

    def _wait(self, deadline: Deadline | None) -> bool:
        """Wait for a delivery; False where none comes because this program ended it."""
        subscription = self._subscription
        if subscription.ended and not self._deliveries:
            error = subscription.ending()
            if error is None:
                return False
            raise error
        self._channel.core.wait(
            subscription.wants, deadline, "the next delivery", subscription.gives_up, reads=False
        )
        return True

    def cancel(self, timeout: float | None = None) -> None:
        """Stop: no more deliveries come, and those not looked at go back into the queue.

        Without acks (`no_ack`) there is no way back: iterating gives what is here, then ends.

        Args:
            timeout: seconds; None takes the connection's default.

        Raises:
            DeadlineExceeded: the broker did not answer in time.
        """
        if timeout is not None:
            check_timeout(timeout)
        if not self._subscription.ended:
            self._channel.basic_cancel(self.consumer_tag, timeout=timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        if self._channel.is_open:
            self._channel.core.leave(self.cancel, error)

    def __del__(self) -> None:
        subscription = self._subscription
        if not subscription.ended and subscription.consumer_tag:
            self._channel.core.drop(subscription)


def run_callback(
    consumer: Consumer, callback: Callable[[Delivery], object]
) -> None:
    """Hand each delivery to `callback`, one after the other, until the consumer ends.

    What the callback raises is logged; the delivery stays unsettled if the callback did not
    settle it, so that the broker gives it to somebody else once the channel ends. What is no
    `Exception`, such as SystemExit, ends the consumer, too.
    """
    tag = consumer.consumer_tag
    core = consumer._channel.core
    try:
        for delivery in consumer:
            try:
                core.run(callback, delivery)
            except BaseException as error:
                if not core.goes_on_after(error, tag):
                    core.drop(consumer._subscription)
                    raise
    except Exception as error:
        logger.warning("consumer %r ended: %s", tag, error)
