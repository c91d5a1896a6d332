"""Contents that come in pieces: method, header, body frames (AMQP 0-9-1, 2.3.5.2 and 4.2.6).

`wire.decode_frames` gives a content that lies whole in the buffer as one object. One that was
cut by the end of a read comes as its frames, and is put together here, one assembly a channel.
The body grows with what has arrived, never with what was announced.
"""

from __future__ import annotations

from collections.abc import Callable

from .. import wire
from ..exceptions import RemoteProtocolError

__all__ = ["ContentAssembly", "too_large"]

BASIC = 60


def too_large(size: int, limit: int) -> str:
    """RabbitMQ's words for a body that is longer than it takes."""
    return f"content body size {size} exceeds maximum allowed size {limit}"


class ContentAssembly:
    """A content under way on one channel.

    Args:
        method: the method that announced it: publish, return, deliver or get-ok.
        delivery_class: what to make of deliver and get-ok.
        max_body: bytes a body may announce; 0 for any.
    """

    __slots__ = ("_delivery_class", "_header", "_max_body", "_method", "_missing", "_parts")

    def __init__(
        self, method: wire.Method, delivery_class: type[wire.Delivery], max_body: int = 0
    ) -> None:
        self._method = method
        self._delivery_class = delivery_class
        self._max_body = max_body
        self._header: wire.ContentHeader | None = None
        self._missing = 0
        self._parts: list[bytes] = []

    def receive(self, item: wire.Item) -> wire.Content | None:
        """The next frame of the channel.

        Returns:
            The content once it is whole, else None.

        Raises:
            RemoteProtocolError: the frame does not belong here (505) or is too long (501).
        """
        if self._header is None:
            return self._receive_header(item)
        if not isinstance(item, wire.ContentBody):
            raise self._error(
                "expected content body, got non content body frame instead",
            )
        if len(item.payload) > self._missing:
            raise self._error("content body frame exceeds remaining content size", 501)
        if item.payload:  # an empty frame is legal, and must not cost memory
            self._missing -= len(item.payload)
            # a copy: a view would keep all that was read with it, half as much again
            self._parts.append(bytes(item.payload))
        return None if self._missing else self._finish(self._header)

    def _receive_header(self, item: wire.Item) -> wire.Content | None:
        if not isinstance(item, wire.ContentHeader):
            raise self._error(
                f"expected content header for class {BASIC}, got non content header frame instead"
            )
        if item.class_id != BASIC:
            raise self._error(
                f"expected content header for class {BASIC}, "
                f"got one for class {item.class_id} instead"
            )
        if self._max_body and item.body_size > self._max_body:
            raise self._error(too_large(item.body_size, self._max_body), 501)
        self._header = item
        self._missing = item.body_size
        return None if self._missing else self._finish(item)

    def _finish(self, header: wire.ContentHeader) -> wire.Content:
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        return _MAKERS[type(self._method)](
            self._method, header.raw_properties, body, self._delivery_class
        )

    def _error(self, message: str, reply_code: int = 505) -> RemoteProtocolError:
        method = self._method
        return RemoteProtocolError(
            message,
            reply_code=reply_code,
            channel=method.channel,
            class_id=method.class_id,
            method_id=method.method_id,
        )


_Maker = Callable[[wire.Method, bytes, bytes, type[wire.Delivery]], wire.Content]


def _make_delivery(
    method: wire.Method, properties: bytes, body: bytes, cls: type[wire.Delivery]
) -> wire.Content:
    assert isinstance(method, wire.BasicDeliver)
    return cls(
        method.channel,
        method.consumer_tag,
        method.delivery_tag,
        method.redelivered,
        method.exchange,
        method.routing_key,
        properties,
        body,
    )


def _make_get(
    method: wire.Method, properties: bytes, body: bytes, cls: type[wire.Delivery]
) -> wire.Content:
    assert isinstance(method, wire.BasicGetOk)
    return cls(
        method.channel,
        None,
        method.delivery_tag,
        method.redelivered,
        method.exchange,
        method.routing_key,
        properties,
        body,
        method.message_count,
    )


def _make_return(
    method: wire.Method, properties: bytes, body: bytes, cls: type[wire.Delivery]
) -> wire.Content:
    assert isinstance(method, wire.BasicReturn)
    return wire.Returned(
        method.channel,
        method.reply_code,
        method.reply_text,
        method.exchange,
        method.routing_key,
        properties,
        body,
    )


def _make_published(
    method: wire.Method, properties: bytes, body: bytes, cls: type[wire.Delivery]
) -> wire.Content:
    assert isinstance(method, wire.BasicPublish)
    return wire.Published(
        method.channel,
        method.exchange,
        method.routing_key,
        method.mandatory,
        method.immediate,
        properties,
        body,
    )


_MAKERS: dict[type[wire.Method], _Maker] = {
    wire.BasicDeliver: _make_delivery,
    wire.BasicGetOk: _make_get,
    wire.BasicReturn: _make_return,
    wire.BasicPublish: _make_published,
}
