"""Requests and confirmed publishes: something is sent, and the answer to it is waited for.

After each wait for the broker the caches are cold, and what a round trip costs beside its system
calls is how many functions and objects it passes. So the usual case, one thing to send and
nothing else, one answer to read, is there in one piece (`_exchange`). Whatever is out of the
ordinary it leaves to the others, who find everything as if they had come so far themselves.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from types import MethodType
from typing import Any

from .. import protocol, wire
from ..client.deadline import Deadline, make_deadline
from ..client.parameters import Parameters
from ..client.publisher import BasePublication
from . import leading
from .leading import NOBODY, Leader
from .readiness import READ
from .stream import Stream
from .waiter import Waiter, make_waiter

__all__ = ["FLUSH_AT", "NO_REPLY", "Requester"]

FLUSH_AT = 32768  # queued bytes that a publisher sends itself
COMPILED = wire.CODEC == "compiled"
NO_REPLY = protocol.Reply(0, None, wire.Method(), wire.Method())
"""Of a request that was not necessary."""

_NOT_BEGUN, _BEGUN, _DONE = range(3)


class Requester(Leader):
    """The part of a connection's inside that asks the broker."""

    __slots__ = ("_timeout",)

    def __init__(
        self, parameters: Parameters, options: protocol.ClientOptions, stream: Stream
    ) -> None:
        super().__init__(parameters, options, stream)
        self._timeout = Deadline(parameters.timeout).timeout

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
        here = threading.get_ident()
        if self._owned() or self._sending or self.reading or here == self._io_number:
            self._may_wait()
        if timeout is None:
            deadline = make_deadline(self._timeout, time.monotonic() + self._timeout)
        else:
            deadline = timeout if isinstance(timeout, Deadline) else Deadline(timeout)
        waiter = make_waiter(self)
        try:
            begun = _NOT_BEGUN
            if send.__class__ is MethodType:
                take = send.__self__.take_reply  # type: ignore[attr-defined]
                begun = self._exchange(waiter, deadline, take, waiter, send, method, waiter, owner)
                if begun == _DONE:
                    return waiter.value  # type: ignore[return-value]
            if begun == _NOT_BEGUN:
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
        here = threading.get_ident()
        if self._owned() or self._sending or self.reading or here == self._io_number:
            self._may_wait()
        message = (exchange, routing_key, raw_properties, body, mandatory, publication)
        waiter = make_waiter(self)
        try:
            send: Callable[..., int] = channel.send_publish
            arguments: tuple[object, ...] = message
            if COMPILED:
                send, arguments = wire.queue_publish, (None, channel, *message)
            take = channel.take_confirm
            begun = self._exchange(waiter, deadline, take, publication, send, *arguments)
            if begun == _DONE:
                return
            if begun == _NOT_BEGUN:
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

    def _exchange(
        self,
        waiter: Waiter,
        deadline: Deadline,
        take: Callable[[wire.Item, Any], object],
        token: Waiter | BasePublication,
        send: Callable[..., Any],
        *arguments: object,
    ) -> int:
        """Send something and read the answer to it, where nobody else uses the connection.

        What is done, in which order, and why: see `request`, `_lead`, `_before_sleep`, `_receive`.

        Args:
            take: gives the answer, if an item is that: see `Incoming.receive_only`.
            token: the publication whose outcome it is, or the waiter.
            send: gives less than 0 where it has left everything as it was.

        Returns:
            _DONE: the waiter has its answer. _BEGUN: it is to be waited for, and this thread leads
            unless it was relieved. _NOT_BEGUN: nothing was done.
        """
        connection, stream, rests = self.protocol, self._stream, False
        out = connection.out
        try:
            with self.lock:
                try:
                    now = time.monotonic()
                    if (
                        self.reading
                        or self.unanswered
                        or self._sending
                        or self._work
                        or self._full
                        or self._encrypted
                        or stream.unsent
                        or out
                        or connection.bytes_sent != self._sent
                        or now < self._doze_until
                    ):
                        return _NOT_BEGUN
                    self.unanswered = 1
                    waiter.abandoned = False
                    queued = send(*arguments)
                    if token is not waiter:
                        if queued < 0:
                            waiter.abandon()
                            return _NOT_BEGUN
                        token.waiters = [waiter]  # type: ignore[union-attr]
                    self._asking.add(waiter)
                    self._led_for = waiter
                    self.reading = self._sender = threading.get_ident()
                    self._sleeping = True  # before looking for what else is queued
                    if len(out) != 1 or connection.acks.noted or len(out[0]) > protocol.JOINED:
                        return _BEGUN
                    self._sending = True
                    data: Any = out.pop()  # as `data_to_send`, without the call
                    connection.bytes_sent = connection.bytes_queued
                    self._sent = connection.bytes_sent
                    self._gather_until = now + leading.GATHER
                    self._streak = 0
                    at = self._deadline
                    if at is None:
                        at = self._deadline = connection.next_deadline()
                    if at is None or deadline.at < at:
                        at = deadline.at
                except BaseException as error:  # of the socket there is none here
                    self._interrupted(error)
                    raise
            try:
                sent = self._send_some(data)
            except (BlockingIOError, InterruptedError):
                sent = 0
            if sent != len(data):
                stream.unsent = [memoryview(data)[sent:]]
                self._sending = False
                return _BEGUN
            self._sending = False
            self._resting = rests = True
            readiness = self._readiness
            ready = readiness.wait(READ, at - now if at > now else 0.0)
            rests = False
            if self._led_for is waiter:  # else it is another one's, if this one was slow
                self._resting = False
            if self._relieves or self._led_for is not waiter:
                self._was_relieved(waiter, waiter, readiness)
                return _BEGUN
            self._sleeping = False
            if ready != READ:
                return _BEGUN
            try:
                data = self._recv(self._room)
            except (BlockingIOError, InterruptedError):  # it was read meanwhile
                return _BEGUN
            with self.lock:
                answer = None
                if self.unanswered == 1:
                    answer = connection.incoming.receive_only(take, token, data, time.monotonic())
                if answer is None:
                    self._received(data)
                    self.dispatch()
                    return _BEGUN
                waiter.value = answer
                waiter.done = True
                self.unanswered -= 1
        except BaseException as error:
            if not rests:
                self._sending_failed(error)
            if self._led_for is not waiter or self._is_to_raise(error, rests):
                raise
            return _BEGUN
        self._led_for, self.reading = None, NOBODY  # as `led`
        self._leads += 1
        if self._called_back or self.unanswered or self._work or stream.unsent:
            self._call_thread()
        return _DONE
