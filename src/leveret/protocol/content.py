"""Contents that come in pieces: method, header, body frames (AMQP 0-9-1, 2.3.5.2 and 4.2.6).

`wire.decode_frames` gives a content that lies whole in the buffer as one object. One that was
cut by the end of a read comes as its frames, and is put together here, one assembly a channel.
Its body has a place of its own, into which a transport may receive. The place grows with what has
arrived: what was announced is believed up to `PLACE` bytes, and up to `TRUST` times what has come.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO

from .. import wire
from ..exceptions import RemoteProtocolError

__all__ = ["ContentAssembly", "too_large"]

BASIC = 60
PLACE = 4_194_304  # bytes
TRUST = 64


class _Body(BytesIO):
    """Bytes that can be written before they are given away, which a BytesIO does without a copy."""

    __slots__ = ()

    def __del__(self) -> None:
        """Close nothing. A BytesIO would, and fail where it and its view are one cycle's garbage;
        since 3.13, Python prints that.
        """


_NOTHING = BytesIO()
Mark = tuple[wire.ContentHeader | None, int, int, int]


def too_large(size: int, limit: int) -> str:
    """RabbitMQ's words for a body that is longer than it takes."""
    return f"content body size {size} exceeds maximum allowed size {limit}"


class ContentAssembly:
    """A content under way on one channel.

    Args:
        method: the method that announced it: publish, return, deliver or get-ok.
        delivery_class: what to make of deliver and get-ok.
        max_body: bytes a body may announce; 0 for any.

    Attributes:
        size: bytes of the body, as announced; 0 before the header.
        missing: how many of them have not come.
    """

    __slots__ = (
        "_buffer",
        "_capacity",
        "_delivery_class",
        "_filled",
        "_given",
        "_header",
        "_max_body",
        "_method",
        "_place",
        "missing",
        "size",
    )

    def __init__(
        self, method: wire.Method, delivery_class: type[wire.Delivery], max_body: int = 0
    ) -> None:
        self._place = self._given = memoryview(b"")
        self._method = method
        self._delivery_class = delivery_class
        self._max_body = max_body
        self._header: wire.ContentHeader | None = None
        self.size = self.missing = 0
        self._buffer = _NOTHING
        self._capacity = 0
        self._filled = 0

    def __del__(self) -> None:
        # The collector of Python 3.12.0 and 3.12.1 crashes on a BytesIO and a view of it
        # (python/cpython#111049); finalisers come before it takes anything apart.
        try:
            self._given.release()
            self._place.release()
        except AttributeError:  # it was interrupted when it was made
            pass
        except BufferError:  # somebody receives into it: this is not the collector
            pass

    def receive(self, item: wire.Item) -> wire.Content | None:
        """The next frame of the channel.

        Returns:
            The content once it is whole, else None.

        Raises:
            RemoteProtocolError: the frame does not belong here (505) or is too long (501).
        """
        if self._header is None:
            self._receive_header(item)
        elif not isinstance(item, wire.ContentBody):
            raise self._error(
                "expected content body, got non content body frame instead",
            )
        elif len(item.payload) > self.missing:
            raise self._error("content body frame exceeds remaining content size", 501)
        elif item.payload:  # an empty frame is legal
            self.take(item.payload)
        return None if self.missing else self.finish()

    def _receive_header(self, item: wire.Item) -> None:
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
        self.size = self.missing = item.body_size

    def mark(self) -> Mark:
        """What `reset` takes to have everything as it is now, but for what is in `space`."""
        return self._header, self.size, self.missing, self._filled

    def reset(self, mark: Mark) -> None:
        """Have it as it was: a signal handler raised in `receive`, wherever that was."""
        self._header, self.size, self.missing, self._filled = mark
        if self._buffer is not _NOTHING:  # its view may be released
            self._place = self._buffer.getbuffer()

    def take(self, payload: bytes | memoryview) -> None:
        """The next bytes of the body; not more than are missing."""
        size = len(payload)
        self._make_room(size)
        self._place[self._filled : self._filled + size] = payload
        self.filled(size)

    def space(self, size: int, beyond: int) -> memoryview:
        """Where the next `size` bytes of the body belong, not more than are missing; and `beyond`
        bytes more, or fewer, that later bytes of the body will be written over.
        """
        self._make_room(size)
        self._given = given = self._place[self._filled : self._filled + size + beyond]
        return given

    def filled(self, count: int) -> None:
        """So many bytes were written into `space`."""
        self._filled += count
        self.missing -= count

    def _make_room(self, size: int) -> None:
        """Have a place for so many more bytes: all of it, or a multiple of what has come."""
        if self._filled + size <= self._capacity:
            return
        capacity = min(
            self._filled + self.missing, max(PLACE, TRUST * self._filled, self._filled + size)
        )
        buffer = _Body(bytes(capacity))  # memory is taken where it is written to
        place = buffer.getbuffer()
        place[: self._filled] = self._place[: self._filled]
        self._buffer, self._place, self._capacity = buffer, place, capacity

    def finish(self) -> wire.Content:
        """The content, which is whole."""
        header = self._header
        assert header is not None
        self._place.release()
        return _MAKERS[type(self._method)](
            self._method, header.raw_properties, self._buffer.getvalue(), self._delivery_class
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
