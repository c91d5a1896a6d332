"""Between frames and methods: what the two hooks `frame_handler` and `frame_writer` make.

The connection feeds a `FrameHandler` with what `wire` has decoded, and writes whole frames that
`wire` has encoded. Called as functions they take and give the single frames of py-amqp's own
hooks, for programs that put something in between, and for tests that play the broker.
"""

from __future__ import annotations

from struct import error as StructError
from struct import pack, unpack_from
from typing import Any

from leveret import wire
from leveret.exceptions import RemoteProtocolError
from leveret.protocol.content import ContentAssembly
from leveret.sync.locks import reentrant_lock

from . import spec
from .basic_message import DELIVER, Message, from_content
from .exceptions import ERROR_MAP, UnexpectedFrame
from .transport import _AbstractTransport
from .utils import str_to_bytes

__all__ = ["BEGINNINGS", "frame_handler", "frame_writer"]

FRAME_OVERHEAD = 40
_CONTENT_METHODS = frozenset({spec.Basic.Return, spec.Basic.Deliver, spec.Basic.GetOk})
_METHOD, _HEADER, _BODY, _HEARTBEAT = map(int, wire.FrameType)

_GET_OK: tuple[int, int] = spec.Basic.GetOk
_RETURN: tuple[int, int] = spec.Basic.Return
# the methods that come alone; those that a look-up by class finds are most of what is not content
_SIGS: dict[type, tuple[int, int]] = {
    kind: (kind.key >> 16, kind.key & 0xFFFF)
    for kind in wire.METHODS.values()
    if not kind.has_content
}
#: With these a message begins that comes in parts.
BEGINNINGS = frozenset(kind for kind in wire.METHODS.values() if kind.has_content)


class FrameHandler:
    """Takes what comes, and calls back with whole methods.

    Args:
        connection: counts in its `bytes_recv`.
        callback: called with the channel's number, the method's numbers, its arguments (encoded,
            or as `wire` has decoded them) and its message.

    Attributes:
        assemblies: messages that have come in part, by channel.
    """

    __slots__ = ("_callback", "_connection", "_partial", "assemblies")

    def __init__(self, connection: Any, callback: Any) -> None:
        self._connection = connection
        self._callback = callback
        self.assemblies: dict[int, ContentAssembly] = {}
        self._partial: dict[int, Message] = {}

    def receive(self, item: wire.Item) -> bool:
        """The next item of `wire`; whether a method is complete with it."""
        self._connection.bytes_recv += 1
        whole = self.assembled(item)
        return whole is not None and self.dispatch(whole)

    def assembled(self, item: wire.Item) -> wire.Item | None:
        """What is whole with this item: itself, where it is no part of anything; None while more is
        to come. Where an exception leaves it, the item has not been here.
        """
        number = item.channel
        assembly = self.assemblies.get(number)
        if isinstance(item, wire.Heartbeat):
            return item
        if assembly is None:
            if isinstance(item, wire.Method) and item.has_content:
                self.assemblies[number] = ContentAssembly(item, wire.Delivery)
                return None
            return item
        mark = assembly.mark()
        try:
            content = assembly.receive(item)
            if content is not None:
                del self.assemblies[number]
            return content
        except RemoteProtocolError as error:
            raise ERROR_MAP.get(error.reply_code, UnexpectedFrame)(
                str(error), reply_code=error.reply_code
            ) from error
        except BaseException:  # a signal handler's
            assembly.reset(mark)
            raise

    def dispatch(self, item: wire.Item) -> bool:
        """Call back with what is whole; whether it is a method."""
        number = item.channel
        if type(item) is wire.Delivery:
            sig = _GET_OK if item.consumer_tag is None else DELIVER
            self._callback(number, sig, item, from_content(item, sig))
        elif sig_alone := _SIGS.get(type(item)):
            self._callback(number, sig_alone, item, None)
        elif type(item) is wire.Returned:
            self._callback(number, _RETURN, item, from_content(item, _RETURN))
        elif type(item) is wire.Heartbeat:
            return False
        else:
            raise UnexpectedFrame(f"Received {item!r} while expecting a method")
        return True

    def __call__(self, frame: tuple[int, int, Any]) -> bool:
        """The next frame: type, channel, payload; whether a method is complete with it."""
        kind, number, payload = frame
        self._connection.bytes_recv += 1
        message = self._partial.get(number)
        expected = _METHOD if message is None else _BODY if message.body_size else _HEADER
        if kind == _HEARTBEAT:
            return False
        if kind != expected:
            raise UnexpectedFrame(f"Received frame {kind} while expecting type: {expected}")
        if message is None:
            sig = unpack_from(">HH", payload, 0)
            if sig in _CONTENT_METHODS:
                self._partial[number] = Message()
                self._partial[number].frame_method = sig
                self._partial[number].frame_args = payload
                return False
            self._callback(number, sig, payload, None)
            return True
        (message.inbound_header if kind == _HEADER else message.inbound_body)(payload)
        if not message.ready:
            return False
        del self._partial[number]
        self._callback(number, message.frame_method, message.frame_args, message)
        return True


def _refuse(data: Any) -> None:
    """What follows half a frame would be taken for the other half."""
    raise OSError("Socket closed")  # oslo.messaging looks for these words


class FrameWriter:
    """Writes, at once: what is called has reached the socket when it returns.

    Args:
        connection: its `frame_max` holds, and it counts in its `bytes_sent`.
        transport: takes the bytes, whole messages at a time.
    """

    __slots__ = ("_connection", "_lock", "_transport", "_write")

    def __init__(self, connection: Any, transport: Any) -> None:
        self._connection = connection
        self._write = transport.write
        self._transport: _AbstractTransport | None = None  # one of another kind knows for itself
        if getattr(type(transport), "write", None) is _AbstractTransport.write:
            self._write = transport._write  # the socket's own, where it can be
            self._transport = transport
        self._lock = reentrant_lock()  # several threads may publish; made late, for gevent

    def send(self, data: wire.Encoded) -> None:
        """Write encoded frames.

        Raises:
            OSError: they were not sent, or not all of them.
            RuntimeError: this thread is in the middle of another `send`.
        """
        lock = self._lock
        if lock._is_owned():  # type: ignore[attr-defined]
            raise RuntimeError(
                "called from a signal handler, or by the garbage collector, while the same thread "
                "was in the middle of sending"
            )
        with lock:
            try:
                if data.__class__ is bytes:
                    self._write(data)
                else:
                    for piece in data:
                        self._write(piece)
            except BaseException as error:
                self._failed(error)
                raise
        self._connection.bytes_sent += 1

    def _failed(self, error: BaseException) -> None:
        transport = self._transport
        if transport is not None:
            transport.failed_to_write(error)
            if not transport.connected:
                self._write = _refuse

    def __call__(
        self, type_: int, channel: int, method_sig: Any, args: Any, content: Any
    ) -> None:
        """Write a frame: a method with its encoded arguments and its message, or a heartbeat."""
        if type_ == _HEARTBEAT:
            self.send(wire.HEARTBEAT_FRAME)
            return
        method = pack(">HH", *method_sig) + str_to_bytes(args) if type_ == _METHOD else b""
        frames = [_frame(type_, channel, method)]
        if not content:
            self.send(frames[0])
            return
        body, properties = encoded(content)
        limit = self._connection.frame_max - wire.FRAME_OVERHEAD
        header = pack(">HHQ", method_sig[0], 0, len(body)) + properties
        if len(header) > limit:
            raise StructError(f"properties of {len(properties)} bytes do not fit a frame")
        frames.append(_frame(_HEADER, channel, header))
        for start in range(0, len(body), limit):
            frames.append(_frame(_BODY, channel, body[start : start + limit]))
        whole = b"".join(frames)
        if len(whole) <= limit:
            self.send([memoryview(whole)])
        else:
            self.send([*frames])


def encoded(message: Any) -> tuple[Any, bytes]:
    """Body and properties as they are sent; a string in its content encoding, UTF-8 by default."""
    body = message.body
    if isinstance(body, str):
        body = body.encode(message.properties.setdefault("content_encoding", "utf-8"))
    return body, message._serialize_properties()


def _frame(kind: int, channel: int, payload: bytes) -> bytes:
    return b"".join((pack(">BHI", kind, channel, len(payload)), payload, b"\xce"))


#: The hooks that a connection is made with by default.
frame_handler = FrameHandler
frame_writer = FrameWriter
