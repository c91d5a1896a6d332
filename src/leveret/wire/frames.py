"""Frames, and whole messages, out of a buffer.

`decode_frames` has two ways. The fast one knows the methods that make the traffic (those with
content, and basic.ack), reads each with a handful of `struct` calls, and returns one object for a
message whose frames lie together. It checks no bounds on the way: reading past the end raises
inside, and whatever is not exactly as expected is left to the other way, which takes one frame,
checks everything in order and words the errors.

Names repeat from message to message, so the bytes of consumer tags, exchanges and routing keys
are looked up in bounded dictionaries and decoded once.
"""

from __future__ import annotations

import struct
from typing import Final

from ..exceptions import DecodeError
from .constants import FRAME_END, FRAME_HEADER_SIZE, FRAME_OVERHEAD, FrameType, ReplyCode
from .content import (
    Content,
    ContentBody,
    ContentHeader,
    Delivery,
    Heartbeat,
    Item,
    Published,
    Returned,
)
from .declare import DECODE_FAILURES, METHODS, Method, decode_method_at
from .encoders import (
    HEARTBEAT_FRAME,
    encode_ack,
    encode_deliver,
    encode_get_ok,
    encode_nack,
    encode_publish,
    encode_reject,
    encode_return,
)
from .faults import is_own
from .methods import BasicAck, BasicDeliver, BasicGetOk, BasicPublish, BasicReturn

__all__ = [
    "HEARTBEAT_FRAME",
    "VIEW_SIZE",
    "Content",
    "ContentBody",
    "ContentHeader",
    "Delivery",
    "Heartbeat",
    "Item",
    "Published",
    "Returned",
    "decode_frame",
    "decode_frames",
    "decode_only",
    "encode_ack",
    "encode_deliver",
    "encode_get_ok",
    "encode_nack",
    "encode_publish",
    "encode_reject",
    "encode_return",
]

_NO_LIMIT: Final = 1 << 62
#: Payloads of body frames from this size on are views, not copies, in bytes.
VIEW_SIZE: Final = 4096
_CACHE_MAX: Final = 1024
_TAGS_MAX: Final = 4096  # some for each of the 2,047 channels that RabbitMQ allows

_METHOD: Final = 1
_DELIVER: Final = BasicDeliver.key
_GET_OK: Final = BasicGetOk.key
_RETURN: Final = BasicReturn.key
_PUBLISH: Final = BasicPublish.key
_ACK: Final = BasicAck.key
_WITH_CONTENT: Final = frozenset({_DELIVER, _GET_OK, _RETURN, _PUBLISH})
# The end of a frame, the type of the next one and its channel, read as one number.
_END_THEN_HEADER: Final = 0xCE020000
_END_THEN_BODY: Final = 0xCE030000
_BASIC_CLASS: Final = 60 << 16  # with a weight of 0

# type, channel, size, class and method, first octet of the arguments
_read_start = struct.Struct(">BHIIB").unpack_from
# [end, type, channel], size, [class, weight], body size
_read_header = struct.Struct(">IIIQ").unpack_from
# [end, type, channel], size
_read_body = struct.Struct(">II").unpack_from
_read_tag_and_bits = struct.Struct(">QB").unpack_from
_read_frame = struct.Struct(">BHI").unpack_from
_read_long = struct.Struct(">I").unpack_from
_read_short = struct.Struct(">H").unpack_from
_read_content_header = struct.Struct(">HHQ").unpack_from

_new = object.__new__

_tags: Final[dict[bytes, str]] = {}
_names: Final[dict[bytes, tuple[str, str]]] = {}


def _learn_tag(raw: bytes) -> str:
    if len(_tags) >= _TAGS_MAX:
        _tags.clear()
    tag = _tags[raw] = str(raw, "utf-8", "surrogateescape")
    return tag


def _learn_names(raw: bytes) -> tuple[str, str]:
    """Two short strings that fill `raw` exactly; IndexError where they do not."""
    middle = 1 + raw[0]
    if middle + 1 + raw[middle] != len(raw):
        raise IndexError
    if len(_names) >= _CACHE_MAX:
        _names.clear()
    names = _names[raw] = (
        str(raw[1:middle], "utf-8", "surrogateescape"),
        str(raw[middle + 1 :], "utf-8", "surrogateescape"),
    )
    return names


def decode_frames(
    data: bytes, offset: int, frame_max: int, delivery_class: type[Delivery] = Delivery
) -> tuple[list[Item], int, int]:
    """Decode everything complete in `data` from `offset` on.

    A message whose frames lie in `data` completely and next to each other is one `Content`;
    the frames of any other message come singly, in order.

    Args:
        frame_max: the largest whole frame, in bytes, at least `FRAME_MIN_SIZE`, which any method
            with content fits; 0 for no limit.
        delivery_class: made for basic.deliver and basic.get-ok, with the arguments of `Delivery`.

    Returns:
        The items; the offset of the first byte that was not used; and how many bytes from there
        the next frame needs, as far as that is known (8 before its size is). 0 says that the next
        frame is malformed: the next call, from the new offset, raises the error. Good items that
        stand before a bad frame are thus never lost.

    Raises:
        DecodeError: the frame at `offset` is malformed. Its `offset` counts from the start of
            the frame. Type and size are judged as soon as the seven bytes of the frame's header
            are there.
    """
    items: list[Item] = []
    append = items.append
    pos = offset
    limit = frame_max - FRAME_OVERHEAD if frame_max else _NO_LIMIT
    while True:
        try:
            while True:
                kind, channel, size, key, first = _read_start(data, pos)
                if kind != _METHOD:
                    break
                end = pos + 7 + size
                if key in _WITH_CONTENT:
                    mark, header_size, class_weight, body_size = _read_header(data, end)
                    if mark != _END_THEN_HEADER | channel or class_weight != _BASIC_CLASS:
                        break
                    header_end = end + 8 + header_size
                    raw_properties = data[end + 20 : header_end]
                    if body_size:
                        mark, piece = _read_body(data, header_end)
                        if mark != _END_THEN_BODY | channel:
                            break
                        start = header_end + 8
                        if piece == body_size:
                            stop = start + piece
                            body = data[start:stop]
                        else:
                            whole = _join_body(data, header_end, channel, body_size, limit)
                            if whole is None:
                                break
                            body, stop, piece = whole
                    else:
                        stop = header_end
                        body = b""
                        piece = 0
                    if (
                        data[stop] != FRAME_END
                        or header_size > limit
                        or piece > limit
                        or header_size < 14
                    ):
                        break
                    if key == _DELIVER:
                        middle = pos + 12 + first
                        tag, bits = _read_tag_and_bits(data, middle)
                        raw = data[middle + 9 : end]
                        names = _names.get(raw) or _learn_names(raw)
                        raw = data[pos + 12 : middle]
                        append(
                            delivery_class(
                                channel,
                                _tags.get(raw) or _learn_tag(raw),
                                tag,
                                bits & 1 == 1,
                                names[0],
                                names[1],
                                raw_properties,
                                body,
                            )
                        )
                    elif key == _PUBLISH:
                        raw = data[pos + 13 : end - 1]
                        names = _names.get(raw) or _learn_names(raw)
                        bits = data[end - 1]
                        append(
                            Published(
                                channel,
                                names[0],
                                names[1],
                                bits & 1 == 1,
                                bits & 2 == 2,
                                raw_properties,
                                body,
                            )
                        )
                    elif key == _GET_OK:
                        tag, bits = _read_tag_and_bits(data, pos + 11)
                        raw = data[pos + 20 : end - 4]
                        names = _names.get(raw) or _learn_names(raw)
                        append(
                            delivery_class(
                                channel,
                                None,
                                tag,
                                bits & 1 == 1,
                                names[0],
                                names[1],
                                raw_properties,
                                body,
                                _read_long(data, end - 4)[0],
                            )
                        )
                    else:
                        middle = pos + 14 + data[pos + 13]
                        raw = data[middle:end]
                        names = _names.get(raw) or _learn_names(raw)
                        append(
                            Returned(
                                channel,
                                _read_short(data, pos + 11)[0],
                                str(data[pos + 14 : middle], "utf-8", "surrogateescape"),
                                names[0],
                                names[1],
                                raw_properties,
                                body,
                            )
                        )
                    pos = stop + 1
                elif key == _ACK and size == 13:
                    if data[end] != FRAME_END:
                        break
                    tag, bits = _read_tag_and_bits(data, pos + 11)
                    ack = _new(BasicAck)
                    ack.channel = channel
                    ack.delivery_tag = tag
                    ack.multiple = bits & 1 == 1
                    append(ack)
                    pos = end + 1
                else:
                    break
        except (struct.error, IndexError) as error:
            if not is_own(error):
                raise
        # Not a case for the fast way, or not complete, or malformed.
        if pos == len(data):
            return items, pos, FRAME_OVERHEAD
        try:
            item, used = decode_frame(data, pos, limit)
        except DecodeError as error:
            if items and is_own(error):
                return items, pos, 0
            raise
        if item is None:
            return items, pos, used
        append(item)
        pos += used
        if pos == len(data):  # else an exception says so
            return items, pos, FRAME_OVERHEAD


def _join_body(
    data: bytes, pos: int, channel: int, body_size: int, limit: int
) -> tuple[bytes, int, int] | None:
    """A body of several frames; `pos` is at the end octet of the frame before it.

    Returns:
        The body, the position of its last end octet, its largest payload; None if the frames are
        not all there or not as announced.
    """
    if pos + body_size > len(data):
        return None
    pieces: list[memoryview] = []
    view = memoryview(data)
    left = body_size
    largest = 0
    while left:
        mark, size = _read_body(data, pos)
        if mark != _END_THEN_BODY | channel or size > left or size > limit:
            return None
        pos += 8
        pieces.append(view[pos : pos + size])
        pos += size
        left -= size
        largest = max(largest, size)
    if pos >= len(data):
        return None
    return b"".join(pieces), pos, largest


def decode_only(data: bytes, frame_max: int) -> Method | None:
    """The method that these bytes are, in a frame; None if they are anything else, malformed ones
    included: `decode_frames` says what.

    Args:
        frame_max: the largest whole frame allowed, in bytes; 0 for no limit.
    """
    try:
        kind, channel, size, key, _ = _read_start(data, 0)
        end = size + FRAME_HEADER_SIZE
        if kind != _METHOD or end + 1 != len(data) or data[end] != FRAME_END:
            return None
        if end >= frame_max > 0:
            return None
        return METHODS[key]._decode(data, FRAME_HEADER_SIZE + 4, end, channel)
    except (*DECODE_FAILURES, KeyError) as error:
        if not is_own(error):
            raise
        return None


def decode_frame(data: bytes, pos: int, limit: int) -> tuple[Item | None, int]:
    """The frame at `pos` and its size, or None and how many bytes it needs."""
    there = len(data) - pos
    if there < FRAME_HEADER_SIZE:
        return None, FRAME_OVERHEAD
    kind, channel, size = _read_frame(data, pos)
    if kind not in _KINDS:
        raise DecodeError(f"unknown frame type {kind}", offset=0, channel=channel)
    if size > limit:
        raise DecodeError(
            f"a frame of {size} bytes, where {limit} are allowed", offset=3, channel=channel
        )
    if kind == FrameType.HEARTBEAT and size:
        raise DecodeError("a heartbeat with a payload", offset=3, channel=channel)
    used = size + FRAME_OVERHEAD
    if there < used:
        return None, used
    start = pos + FRAME_HEADER_SIZE
    end = start + size
    if data[end] != FRAME_END:
        raise DecodeError(
            f"0x{data[end]:02x} in place of the end of the frame",
            offset=used - 1,
            channel=channel,
        )
    if kind == FrameType.METHOD:
        return decode_method_at(data, start, end, channel), used
    if kind == FrameType.BODY:
        if size < VIEW_SIZE:
            return ContentBody(channel, data[start:end]), used
        return ContentBody(channel, memoryview(data)[start:end]), used
    if kind == FrameType.HEARTBEAT:
        return Heartbeat(channel), used
    if size < 14:
        raise DecodeError(
            f"a content header of {size} bytes is cut off",
            offset=FRAME_HEADER_SIZE,
            reply_code=ReplyCode.FRAME_ERROR,
            channel=channel,
        )
    class_id, _weight, body_size = _read_content_header(data, start)
    return ContentHeader(channel, class_id, body_size, data[start + 12 : end]), used


_KINDS: Final = frozenset(map(int, FrameType))
