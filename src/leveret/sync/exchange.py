"""Something is sent, and the answer to it is read, by a thread that has the connection for itself.

After each wait for the broker the caches are cold, and what a round trip costs beside its system
calls is how many functions and objects it passes. So the usual case, one thing to send and
nothing else, one answer to read, is there in one piece. Whatever is out of the ordinary it leaves
to the others, who find everything as if they had come so far themselves.

What is done, in which order, and why: see `requests`, `leading` and `receiving`. The compiled twin
is `_exchange.pyx`.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

from .. import protocol, wire
from ..client.deadline import Deadline
from ..client.publisher import BasePublication
from .handlers import is_of_handler
from .leading import GATHER, NOBODY
from .readiness import READ
from .waiter import Waiter

if TYPE_CHECKING:
    from .requests import Requester

__all__ = ["Message", "ask", "publish"]

T = TypeVar("T")

Message = tuple[str, str, bytes, bytes, bool, BasePublication]
"""What `ClientChannel.send_publish` takes, with a publication."""


def ask(
    leader: Requester,
    waiter: Waiter,
    timeout: float | Deadline | None,
    channel: protocol.ClientChannel,
    method: wire.Method,
    owner: object,
) -> protocol.Reply | Deadline | None:
    """Send a request and read the reply to it, where nobody else uses the connection.

    Args:
        waiter: takes the reply, too.
        timeout: in seconds; None for the connection's default.
        method, owner: as `ClientChannel.send_request` takes them.

    Returns:
        The reply. Or the deadline: the request was sent, the reply is to be waited for, and this
        thread leads unless it was relieved. Or None: nothing was done.

    Raises:
        ChannelClosedError, EncodeError, LocalProtocolError: as `send_request`; nothing was sent.
    """
    deadline = None if timeout is None else leader.deadline_of(timeout)
    take, send = channel.take_reply, channel.send_request
    return _exchange(leader, waiter, deadline, take, waiter, send, method, waiter, owner)


def publish(
    leader: Requester,
    waiter: Waiter,
    deadline: Deadline,
    channel: protocol.ClientChannel,
    message: Message,
) -> BasePublication | Deadline | None:
    """Publish and read the confirm, where nobody else uses the connection.

    Returns:
        The publication, confirmed. Or the deadline: the outcome is to be waited for, as `ask` has
        it. Or None: nothing was done.

    Raises:
        ChannelClosedError, EncodeError: as `ClientChannel.send_publish`; nothing was sent.
    """
    publication = message[-1]
    take, send = channel.take_confirm, channel.send_publish
    return _exchange(leader, waiter, deadline, take, publication, send, *message)


def _exchange(
    leader: Requester,
    waiter: Waiter,
    deadline: Deadline | None,
    take: Callable[[wire.Method, Any], T | None],
    token: Waiter | BasePublication,
    send: Callable[..., object],
    *arguments: object,
) -> T | Deadline | None:
    """Send something and read the answer to it.

    What may be done while the broker is at it, is: between the send and the wait.

    Args:
        deadline: None for the connection's default.
        take: gives the answer, if an item is that: see `Incoming.receive_only`.
        token: the publication whose outcome it is, or the waiter.

    Returns:
        The answer. Or the deadline, or None, as `ask` has it.
    """
    here = threading.get_ident()
    if leader._owned() or here == leader._io_number:
        return None
    connection, stream, rests = leader.protocol, leader._stream, False
    out = connection.out
    data: Any = None
    try:
        with leader.lock:
            try:
                now = time.monotonic()
                if (
                    leader.reading
                    or leader.unanswered
                    or leader._sending
                    or leader._work
                    or leader._full
                    or leader._encrypted
                    or stream.unsent
                    or out
                    or connection.bytes_sent != leader._sent
                    or now < leader._doze_until
                ):
                    return None
                leader.unanswered = 1
                waiter.abandoned = False
                send(*arguments)
                if len(out) == 1:
                    data = out.pop()  # as `data_to_send`, without the call
                    leader._sent = connection.bytes_sent = connection.bytes_queued
                    try:
                        sent = leader._send_some(data)
                    except OSError as error:
                        if is_of_handler(error):
                            raise
                        sent = 0
                        if not isinstance(error, (BlockingIOError, InterruptedError)):
                            leader._fail(error)
                            data = None  # it counts as sent
                if deadline is None:
                    deadline = leader.deadline_of(None)
                if token is not waiter:
                    token.waiters = [waiter]  # type: ignore[union-attr]
                leader._asking.add(waiter)
                leader._led_for = waiter
                leader.reading = here
                leader._sleeping = True  # before looking for what else is queued
                if data is not None and sent != len(data):
                    stream.unsent = [memoryview(data)[sent:]]
                    return deadline
                if data is None or connection.acks.noted:
                    return deadline
                leader._gather_until = now + GATHER
                leader._streak = 0
                at = leader._deadline
                if at is None:
                    at = leader._deadline = connection.next_deadline()
                if at is None or deadline.at < at:
                    at = deadline.at
            except BaseException as error:  # of the socket there is none here
                leader._interrupted(error)
                raise
        readiness = leader._readiness  # before another thread may take the lead, and exchange it
        leader._resting = rests = True
        ready = readiness.wait(READ, at - now if at > now else 0.0)
        rests = False
        if leader._led_for is waiter:  # else it is another one's, if this one was slow
            leader._resting = False
        if leader._relieves or leader._led_for is not waiter:
            leader._was_relieved(waiter, waiter, readiness)
            return deadline
        leader._sleeping = False
        if ready != READ:
            return deadline
        try:
            data = leader._recv(leader._room)
        except (BlockingIOError, InterruptedError) as error:
            if is_of_handler(error):
                raise
            return deadline  # it was read meanwhile
        with leader.lock:
            answer = None
            if leader.unanswered == 1:
                answer = connection.incoming.receive_only(take, token, data, time.monotonic())
            if answer is None:
                leader._received(data)
                leader.dispatch()
                return deadline
            waiter.done = True
            leader.unanswered = 0
    except BaseException as error:
        if not rests:
            leader._sending_failed(error)
        begun = rests or leader._led_for is waiter  # one that rests may have been relieved
        if not begun or leader._is_to_raise(error, rests):
            raise
        return deadline
    leader._led_for, leader.reading = None, NOBODY  # as `led`
    leader._leads += 1
    if leader._called_back or leader.unanswered or leader._work or stream.unsent:
        leader._call_thread()
    return answer
