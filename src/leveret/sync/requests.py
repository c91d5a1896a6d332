"""Requests and confirmed publishes: something is sent, and the answer to it is waited for.

Mostly the thread that asks has the connection for itself: then all of it is done by `exchange`.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from types import MethodType
from typing import Any

from .. import protocol, wire
from ..client.deadline import Deadline
from ..client.publisher import BasePublication
from . import exchange
from .leading import NOBODY, Leader
from .waiter import Waiter, make_waiter

__all__ = ["FLUSH_AT", "NO_REPLY", "Requester"]

FLUSH_AT = 32768  # queued bytes that a publisher sends itself
NO_REPLY = protocol.Reply(0, None, wire.Method(), wire.Method())
"""Of a request that was not necessary."""


def _choose() -> Any:
    """`exchange`, or where the codec is the compiled one its twin, which is for POSIX only."""
    if os.name == "posix" and wire.CODEC == "compiled":
        return wire.import_compiled(f"{__package__}._exchange") or exchange
    return exchange


_twin = _choose()
ask: Callable[..., protocol.Reply | Deadline | None] = _twin.ask
publish: Callable[..., BasePublication | Deadline | None] = _twin.publish


class Requester(Leader):
    """The part of a connection's inside that asks the broker."""

    __slots__ = ()

    def request(
        self,
        send: Callable[[Any, Waiter, Any], object],
        method: wire.Method | type[wire.Method],
        timeout: float | Deadline | None,
        owner: object = None,
    ) -> protocol.Reply:
        """Send a method and wait for its reply.

        All in one block, so that an interrupt anywhere in it leaves nobody to be answered.

        Args:
            send: a channel's `send_request`; or a function, called under the lock with the method,
                the waiter and the owner, that sends it, or gives False where there is no need.
            method: names the operation in errors.
            timeout: in seconds; None for the connection's default.

        Returns:
            The reply; `NO_REPLY` where there was no need.
        """
        waiter = make_waiter(self)
        try:
            begun = None
            if send.__class__ is MethodType:
                channel: Any = send.__self__
                begun = ask(self, waiter, timeout, channel, method, owner)
                if begun.__class__ is protocol.Reply:
                    return begun
            if begun is None:
                self._may_wait()
                deadline = self.deadline_of(timeout)
                with self.lock:
                    try:
                        self.unanswered += 1
                        waiter.abandoned = False
                        if send(method, waiter, owner) is False:
                            waiter.abandon()
                            return NO_REPLY
                    except BaseException as error:
                        self._interrupted(error)
                        raise
                    self._asking.add(waiter)
                    self.begin_waiting(waiter)
                if self._full:
                    self.wake()
            else:
                deadline = begun  # type: ignore[assignment]
            return self.wait_for(waiter, deadline, method.name)  # type: ignore[return-value]
        except BaseException:
            with self.lock:
                waiter.abandon()
                late = waiter.value
                if isinstance(late, protocol.Reply):  # the reply and the interruption met
                    self.undo(late)
            self.wake_if_asleep()
            raise
        finally:
            if self._led_for is waiter:  # no call before this is undone
                self._resting = self._sleeping = False  # before somebody else leads
                self._led_for, self.reading = None, NOBODY
                self.led()
            self._asking.discard(waiter)

    def publish_confirmed(
        self,
        channel: protocol.ClientChannel,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
        mandatory: bool,
        publication: BasePublication,
        deadline: Deadline,
    ) -> None:
        """Publish, and wait for the outcome.

        Raises:
            LeveretError: before the publication has its number: nothing was sent; after that:
                there is no outcome.
        """
        message = (exchange, routing_key, raw_properties, body, mandatory, publication)
        waiter = make_waiter(self)
        try:
            begun = publish(self, waiter, deadline, channel, message)
            if begun is publication:
                return
            if begun is None:
                self._may_wait()
                with self.lock:
                    try:
                        self.unanswered += 1
                        waiter.abandoned = False
                        channel.send_publish(*message)
                        publication.waiters = [waiter]
                    except BaseException as error:
                        self._interrupted(error)
                        raise
                    self._asking.add(waiter)
                    self.begin_waiting(waiter)
                if self._full:
                    self.wake()
            if len(body) >= FLUSH_AT:
                with self.lock:
                    self.look_whether_held()
            self.wait_for(waiter, deadline, "the broker's confirm")
        except BaseException:
            with self.lock:
                waiter.abandon()
                publication.gives_up(waiter)
            raise
        finally:
            if self._led_for is waiter:  # no call before this is undone
                self._resting = self._sleeping = False  # before somebody else leads
                self._led_for, self.reading = None, NOBODY
                self.led()
            self._asking.discard(waiter)
