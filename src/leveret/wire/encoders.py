"""Messages and acknowledgements into bytes.

A message is three parts on the wire: its method, its content header, its body frames. What the
method and the beginning of the header look like depends on names that repeat from message to
message; that prefix is kept in a bounded dictionary, so that an ordinary publish is two `struct`
calls and one join.
"""

from __future__ import annotations

import struct
from typing import Final, TypeAlias

from ..exceptions import EncodeError
from .constants import FRAME_OVERHEAD
from .methods import (
    BasicAck,
    BasicDeliver,
    BasicGetOk,
    BasicNack,
    BasicPublish,
    BasicReject,
    BasicReturn,
)

__all__ = [
    "HEARTBEAT_FRAME",
    "JOIN_MAX",
    "Body",
    "Encoded",
    "encode_ack",
    "encode_deliver",
    "encode_get_ok",
    "encode_nack",
    "encode_publish",
    "encode_reject",
    "encode_return",
]

Body: TypeAlias = bytes | bytearray | memoryview
#: One piece, or pieces to be written in order.
Encoded: TypeAlias = bytes | list[bytes | memoryview]

HEARTBEAT_FRAME: Final = b"\x08\0\0\0\0\0\0\xce"

#: Up to this size a body is copied next to its frame headers: one write instead of several.
JOIN_MAX: Final = 65536

_CACHE_MAX: Final = 4096  # some for each of the 2,047 channels that RabbitMQ allows
_NO_LIMIT: Final = 0xFFFFFFFF

# size, [class, weight], body size: type and channel come with the prefix
_pack_header = struct.Struct(">IIQ").pack
# [end of the header frame, type, channel], size
_pack_body = struct.Struct(">II").pack
_pack_tag = struct.Struct(">BHIIQ?B").pack
_pack_tag_and_two_bits = struct.Struct(">BHIIQBB").pack
_pack_tag_and_bits = struct.Struct(">Q?").pack

_BASIC_CLASS: Final = 60 << 16  # with a weight of 0
_END_THEN_BODY: Final = 0xCE030000
_END: Final = b"\xce"

_ACK: Final = BasicAck.key
_NACK: Final = BasicNack.key
_REJECT: Final = BasicReject.key

_around_tags: Final[dict[tuple[int, str, str, str], tuple[bytes, bytes]]] = {}
_prefixes: Final[dict[tuple[int, str, str, bool, bool], bytes]] = {}


def encode_publish(
    channel: int,
    exchange: str,
    routing_key: str,
    mandatory: bool,
    immediate: bool,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded:
    """basic.publish with its content.

    Args:
        raw_properties: as `Properties.encode` gives them.
        body: bytes are used without a copy where they are not joined; others are copied once.
        frame_max: the largest whole frame, in bytes; 0 for no limit.

    Returns:
        One piece for a body of one frame and at most `JOIN_MAX` bytes, else a list of pieces.

    Raises:
        EncodeError: a name is too long, the properties do not fit a frame, the body is not bytes.
    """
    names = (channel, exchange, routing_key, mandatory, immediate)
    prefix = _prefixes.get(names) or _learn_prefix(names)
    if (
        type(body) is bytes
        and (size := len(body)) <= JOIN_MAX
        and size <= (limit := frame_max - FRAME_OVERHEAD)
        and (header_size := len(raw_properties) + 12) <= limit
    ):
        if size:
            return b"".join(
                (
                    prefix,
                    _pack_header(header_size, _BASIC_CLASS, size),
                    raw_properties,
                    _pack_body(_END_THEN_BODY | channel, size),
                    body,
                    _END,
                )
            )
        return b"".join((prefix, _pack_header(header_size, _BASIC_CLASS, 0), raw_properties, _END))
    return _encode_content("basic.publish", channel, prefix, raw_properties, body, frame_max)


def _learn_prefix(names: tuple[int, str, str, bool, bool]) -> bytes:
    """The method frame of a publish, with the type and the channel of the header frame."""
    channel, exchange, routing_key, mandatory, immediate = names
    method = BasicPublish(exchange, routing_key, mandatory, immediate).encode(channel)
    if len(_prefixes) >= _CACHE_MAX:
        _prefixes.clear()
    prefix = _prefixes[names] = b"%b\x02%b" % (method, method[1:3])
    return prefix


def encode_deliver(
    channel: int,
    consumer_tag: str,
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded:
    """basic.deliver with its content; the rest as `encode_publish`."""
    names = (channel, consumer_tag, exchange, routing_key)
    around = _around_tags.get(names) or _learn_around_tag(names)
    try:
        tag_and_bits = _pack_tag_and_bits(delivery_tag, redelivered)
    except struct.error:
        raise EncodeError(f"basic.deliver: delivery_tag: {delivery_tag!r}") from None
    if (
        type(body) is bytes
        and 0 < (size := len(body)) <= JOIN_MAX
        and size <= (limit := frame_max - FRAME_OVERHEAD)
        and (header_size := len(raw_properties) + 12) <= limit
    ):
        return b"".join(
            (
                around[0],
                tag_and_bits,
                around[1],
                _pack_header(header_size, _BASIC_CLASS, size),
                raw_properties,
                _pack_body(_END_THEN_BODY | channel, size),
                body,
                _END,
            )
        )
    prefix = b"%b%b%b" % (around[0], tag_and_bits, around[1])
    return _encode_content("basic.deliver", channel, prefix, raw_properties, body, frame_max)


def _learn_around_tag(names: tuple[int, str, str, str]) -> tuple[bytes, bytes]:
    """The method frame of a delivery before its tag, and all from its names to the next frame."""
    channel, consumer_tag, exchange, routing_key = names
    method = BasicDeliver(consumer_tag, 0, False, exchange, routing_key).encode(channel)
    if len(_around_tags) >= _CACHE_MAX:
        _around_tags.clear()
    middle = 12 + method[11]
    around = _around_tags[names] = (
        method[:middle],
        b"%b\x02%b" % (method[middle + 9 :], method[1:3]),
    )
    return around


def encode_get_ok(
    channel: int,
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    message_count: int,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded:
    """basic.get-ok with its content; the rest as `encode_publish`."""
    method = BasicGetOk(delivery_tag, redelivered, exchange, routing_key, message_count).encode(
        channel
    )
    prefix = b"%b\x02%b" % (method, method[1:3])
    return _encode_content("basic.get-ok", channel, prefix, raw_properties, body, frame_max)


def encode_return(
    channel: int,
    reply_code: int,
    reply_text: str,
    exchange: str,
    routing_key: str,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded:
    """basic.return with its content; the rest as `encode_publish`."""
    method = BasicReturn(reply_code, reply_text, exchange, routing_key).encode(channel)
    prefix = b"%b\x02%b" % (method, method[1:3])
    return _encode_content("basic.return", channel, prefix, raw_properties, body, frame_max)


def _encode_content(
    name: str, channel: int, prefix: bytes, raw_properties: bytes, body: Body, frame_max: int
) -> Encoded:
    """Everything after the method, for any size of body."""
    if not isinstance(body, bytes | bytearray | memoryview):
        raise EncodeError(f"{name}: body: expected bytes, not {type(body).__name__}")
    if type(body) is not bytes:
        body = bytes(body)  # what the caller changes later is not what was published
    limit = frame_max - FRAME_OVERHEAD if frame_max else _NO_LIMIT
    header_size = len(raw_properties) + 12
    if header_size > limit:
        raise EncodeError(
            f"{name}: properties of {header_size - 12} bytes do not fit a frame of {frame_max}"
        )
    size = len(body)
    head = b"%b%b%b" % (prefix, _pack_header(header_size, _BASIC_CLASS, size), raw_properties)
    mark = _END_THEN_BODY | channel
    if size <= limit and size <= JOIN_MAX:
        if not size:
            return head + _END
        return b"".join((head, _pack_body(mark, size), body, _END))
    view = memoryview(body)
    pieces: list[bytes | memoryview] = []
    for start in range(0, size, limit):
        piece = view[start : start + limit]
        pieces.append(head + _pack_body(mark, len(piece)))
        pieces.append(piece)
        head = b""
    pieces.append(_END)
    return pieces


def encode_ack(channel: int, delivery_tag: int, multiple: bool) -> bytes:
    """basic.ack, one frame."""
    try:
        return _pack_tag(1, channel, 13, _ACK, delivery_tag, multiple, 0xCE)
    except struct.error:
        return BasicAck(delivery_tag, multiple).encode(channel)


def encode_nack(channel: int, delivery_tag: int, multiple: bool, requeue: bool) -> bytes:
    """basic.nack, one frame."""
    bits = (1 if multiple else 0) | (2 if requeue else 0)
    try:
        return _pack_tag_and_two_bits(1, channel, 13, _NACK, delivery_tag, bits, 0xCE)
    except struct.error:
        return BasicNack(delivery_tag, multiple, requeue).encode(channel)


def encode_reject(channel: int, delivery_tag: int, requeue: bool) -> bytes:
    """basic.reject, one frame."""
    try:
        return _pack_tag(1, channel, 13, _REJECT, delivery_tag, requeue, 0xCE)
    except struct.error:
        return BasicReject(delivery_tag, requeue).encode(channel)
