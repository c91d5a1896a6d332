"""Requests on a channel and their replies, as the client sees them.

Replies come in the order of the requests, so the open requests are a queue; a request whose
caller has gone away stays in it, and its reply is still taken by it alone. With RabbitMQ a few
replies may be late (`blame.LATE`), and those to later requests come first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import LocalProtocolError, RemoteProtocolError
from .blame import LATE, Request, SentMethods, make_request
from .channel import Channel
from .events import Reply, make_reply
from .replies import CONNECTION_CLASS
from .states import ChannelState

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["PLAIN_REQUESTS", "REPLIES", "RequestingChannel"]

_OWN_FUNCTIONS = frozenset({wire.ChannelOpen, wire.ChannelClose}) | frozenset(
    kind for key, kind in wire.METHODS.items() if key >> 16 == CONNECTION_CLASS
)
_REQUESTS = frozenset(kind for kind in wire.METHODS.values() if kind.replies) - _OWN_FUNCTIONS
_WITH_NOWAIT = frozenset(kind for kind in _REQUESTS if kind.has_nowait)
REPLIES = frozenset(  # that are a frame each
    reply for request in _REQUESTS for reply in request.replies if not reply.has_content
)
_TAGGED = (wire.BasicConsume, wire.BasicCancel)  # their replies name the consumer
_NOTED = frozenset(  # see `_note`
    {wire.ConfirmSelect, wire.TxSelect, wire.BasicRecover, wire.BasicQos}
)
_HEEDED = frozenset(  # see `_heed`
    {
        wire.ChannelOpenOk,
        wire.BasicConsumeOk,
        wire.BasicCancelOk,
        wire.BasicRecoverOk,
        wire.ConfirmSelectOk,
    }
)
_PLAIN = REPLIES - _HEEDED
PLAIN_REQUESTS = frozenset(  # with which nothing changes, and neither with their replies
    kind for kind in _REQUESTS - _NOTED if _PLAIN.issuperset(kind.replies)
)


class RequestingChannel(Channel):
    """The part of a client's channel that asks."""

    __slots__ = ("_newly_unheeded", "_sent", "_unheeded")

    def __init__(self, connection: Connection, number: int, token: object) -> None:
        super().__init__(connection, number, ChannelState.OPENING)
        self._sent = SentMethods()
        # Consumers without acks that were cancelled without waiting: what still comes is dropped.
        self._unheeded: set[str | None] = set()
        self._newly_unheeded: list[str] = []
        self._sent.requests.append(make_request(wire.ChannelOpen(), token, None, ()))

    # -- what the client's channel fills in ------------------------------------------------

    def write_acks(self) -> None:
        """Queue the acknowledgements that were kept back."""
        raise NotImplementedError

    def _note(self, method: wire.Method) -> None:
        """What changes with the sending of a method."""
        raise NotImplementedError

    def _heed(self, request: Request, reply: wire.Method | wire.Content) -> None:
        """What changes with a reply of `_HEEDED`."""
        raise NotImplementedError

    # -- requests --------------------------------------------------------------------------

    def send_request(self, method: wire.Method, token: object, owner: object = None) -> None:
        """Send a method that has a reply; the reply becomes an `events.Reply` with `token`.

        Args:
            method: any but channel.open and channel.close.
            token: the caller's, opaque.
            owner: for basic.consume, what `Delivery.owner` will be.

        Raises:
            ChannelClosedError: the channel has ended.
            EncodeError: an argument that its field cannot hold, or more than a frame holds;
                nothing is sent.
            LocalProtocolError: a method that gets no reply, for itself or for `nowait`.
        """
        if self.state is not ChannelState.OPEN:
            self.check_open()
        kind = method.__class__
        if kind not in _REQUESTS or (kind in _WITH_NOWAIT and method.nowait):  # type: ignore[attr-defined]
            if kind in _OWN_FUNCTIONS:
                raise LocalProtocolError(f"{method.name} has a function of its own")
            raise LocalProtocolError(f"{method!r} gets no reply: it is for send_method()")
        connection, sent = self._connection, self._sent
        piece = wire.encode_method(method, self.number, connection.limits.frame_max)
        unheeded: Sequence[str] = ()
        if self._newly_unheeded:
            unheeded, self._newly_unheeded = self._newly_unheeded, []
        request = make_request(method, token, owner, unheeded)
        if sent.posted is not None:
            sent.hand_over(request)
        sent.requests.append(request)
        if connection.acks.noted:
            self.write_acks()
        connection.out.append(piece)  # as `write`, without the call
        connection.bytes_queued += len(piece)
        if kind in _NOTED:
            self._note(method)

    def receive_reply(self, reply: wire.Method | wire.Content) -> None:
        """The reply to one of the open requests. For the parts of this layer."""
        kind = wire.BasicGetOk if isinstance(reply, wire.Content) else reply.__class__
        requests = self._sent.requests
        index: int | None = 0
        if (
            not requests
            or kind not in (first := requests[0].method).replies
            or first.__class__ in _TAGGED
        ):
            index = self._answered(kind, reply)
        if index is None:
            waited = requests[0].method.name if requests else "nothing"
            raise RemoteProtocolError(
                f"{kind.name} does not answer what was asked: {waited}",
                reply_code=wire.ReplyCode.COMMAND_INVALID,
                channel=self.number,
                class_id=kind.class_id,
                method_id=kind.method_id,
            )
        request = self._sent.replied(index) if index else requests.popleft()
        if request.unheeded:
            self._unheeded.difference_update(request.unheeded)
        if kind in _HEEDED:
            self._heed(request, reply)
        self._connection.emit(make_reply(self.number, request.token, request.method, reply))

    def take_reply(self, item: wire.Method, token: object) -> Reply | None:
        """The item as the reply to the only open request, if that has this token, and nothing
        changes with it; None otherwise, and nothing was done.
        """
        requests = self._sent.requests
        if (
            len(requests) != 1
            or item.__class__ not in _PLAIN
            or item.channel != self.number
            or self.state is not ChannelState.OPEN
            or self.assembly is not None
        ):
            return None
        request = requests[0]
        if (
            request.token is not token
            or request.unheeded
            or item.__class__ not in request.method.replies
        ):
            return None
        requests.clear()
        return make_reply(self.number, token, request.method, item)

    def _answered(self, kind: type[wire.Method], reply: object) -> int | None:
        """Which of the open requests a reply is for; None for none of them."""
        for index, request in enumerate(self._sent.requests):
            method = request.method
            if kind in method.replies:
                if not isinstance(method, _TAGGED):
                    return index
                tag = method.consumer_tag
                if not tag or tag == getattr(reply, "consumer_tag", tag):
                    return index
            if not isinstance(method, LATE):
                break
        return None
