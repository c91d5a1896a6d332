"""The fourteen properties of a message (class basic), and their bytes in a content header.

A `Properties` object cannot be changed; `replace` makes another one. That lets the encoded form
be kept on the object, and lets equal deliveries share one decoded object. Headers are an
ordinary dict, which a caller may well change in place: with headers nothing is kept or shared.

Wire form (specification 4.2.6.1): sixteen flags, the first property in the highest bit, then the
values of those that are set. The lowest bit would announce more flags; class basic has none.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from ..exceptions import DecodeError, EncodeError
from .table import decode_timestamp, encode_shortstr, encode_table, encode_timestamp, read_table

__all__ = ["PROPERTY_NAMES", "Properties"]

#: The properties in the order of the wire.
PROPERTY_NAMES: Final = (
    "content_type",
    "content_encoding",
    "headers",
    "delivery_mode",
    "priority",
    "correlation_id",
    "reply_to",
    "expiration",
    "message_id",
    "timestamp",
    "type",
    "user_id",
    "app_id",
    "cluster_id",
)

_FLAGS: Final = {name: 1 << (15 - index) for index, name in enumerate(PROPERTY_NAMES)}
_DELIVERY_MODE_FLAG: Final = _FLAGS["delivery_mode"]

_pack_flags = struct.Struct(">H").pack
_pack_long_long = struct.Struct(">Q").pack
_unpack_flags = struct.Struct(">H").unpack_from
_unpack_long_long = struct.Struct(">Q").unpack_from


class Properties:
    """What a message says about itself. None means that the property is not sent.

    Args:
        content_type: MIME type of the body.
        content_encoding: MIME encoding of the body.
        headers: a field table of the application's own; see `leveret.wire.table` for the types.
        delivery_mode: 1 transient, 2 persistent.
        priority: 0 to 255; what a queue does with it is `x-max-priority`.
        correlation_id: which request this is the answer to.
        reply_to: the queue for the answer.
        expiration: time to live in milliseconds, as a decimal string.
        message_id: the application's name for the message.
        timestamp: when it was made; aware, sent in whole seconds.
        type: the application's name for the kind of message.
        user_id: the publishing user; RabbitMQ checks it.
        app_id: the publishing application.
        cluster_id: deprecated by the specification; carried as it is.
    """

    __slots__ = (*PROPERTY_NAMES, "_encoded", "_persistent")

    content_type: str | None
    content_encoding: str | None
    headers: Mapping[str, object] | None
    delivery_mode: int | None
    priority: int | None
    correlation_id: str | None
    reply_to: str | None
    expiration: str | None
    message_id: str | None
    timestamp: datetime | None
    type: str | None
    user_id: str | None
    app_id: str | None
    cluster_id: str | None
    _encoded: bytes | None
    _persistent: bytes | None

    def __init__(
        self,
        *,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Mapping[str, object] | None = None,
        delivery_mode: int | None = None,
        priority: int | None = None,
        correlation_id: str | None = None,
        reply_to: str | None = None,
        expiration: str | None = None,
        message_id: str | None = None,
        timestamp: datetime | None = None,
        type: str | None = None,
        user_id: str | None = None,
        app_id: str | None = None,
        cluster_id: str | None = None,
    ) -> None:
        _set_content_type(self, content_type)
        _set_content_encoding(self, content_encoding)
        _set_headers(self, headers)
        _set_delivery_mode(self, delivery_mode)
        _set_priority(self, priority)
        _set_correlation_id(self, correlation_id)
        _set_reply_to(self, reply_to)
        _set_expiration(self, expiration)
        _set_message_id(self, message_id)
        _set_timestamp(self, timestamp)
        _set_type(self, type)
        _set_user_id(self, user_id)
        _set_app_id(self, app_id)
        _set_cluster_id(self, cluster_id)
        _set_encoded(self, None)
        _set_persistent(self, None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"properties cannot be changed: use replace({name}=...)")

    def __delattr__(self, name: str) -> None:
        raise AttributeError(f"properties cannot be changed: use replace({name}=None)")

    def _set(self) -> dict[str, Any]:
        values = ((name, getattr(self, name)) for name in PROPERTY_NAMES)
        return {name: value for name, value in values if value is not None}

    def __repr__(self) -> str:
        return f"Properties({', '.join(f'{k}={v!r}' for k, v in self._set().items())})"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Properties):
            return NotImplemented
        return self._set() == other._set()

    __hash__ = None  # type: ignore[assignment]  # headers are mutable

    def __reduce__(self) -> tuple[Any, ...]:
        return _from_dict, (self._set(),)

    def replace(self, **changes: Any) -> Properties:
        """A copy with some properties set anew; None takes one away."""
        return Properties(**{**self._set(), **changes})

    def encode(self) -> bytes:
        """The flags and the values, as they stand in a content header.

        Raises:
            EncodeError: names the property.
        """
        encoded = self._encoded
        if encoded is None:
            encoded = _encode(self, self.delivery_mode)
            if self.headers is None:
                _set_encoded(self, encoded)
        return encoded

    def encode_persistent(self) -> bytes:
        """As `encode`, with delivery mode 2 where the delivery mode is not set."""
        encoded = self._persistent
        if encoded is None:
            mode = self.delivery_mode
            encoded = _encode(self, 2) if mode is None else self.encode()
            if self.headers is None:
                _set_persistent(self, encoded)
        return encoded

    @staticmethod
    def decode(data: bytes, offset: int = 0) -> Properties:
        """Properties from `offset` to the end of `data`.

        Raises:
            DecodeError: its `offset` counts from the flags.
        """
        try:
            return _decode(data, offset)
        except DecodeError as error:
            if error.offset is not None:
                error.offset -= offset
            raise


_set_content_type = Properties.__dict__["content_type"].__set__
_set_content_encoding = Properties.__dict__["content_encoding"].__set__
_set_headers = Properties.__dict__["headers"].__set__
_set_delivery_mode = Properties.__dict__["delivery_mode"].__set__
_set_priority = Properties.__dict__["priority"].__set__
_set_correlation_id = Properties.__dict__["correlation_id"].__set__
_set_reply_to = Properties.__dict__["reply_to"].__set__
_set_expiration = Properties.__dict__["expiration"].__set__
_set_message_id = Properties.__dict__["message_id"].__set__
_set_timestamp = Properties.__dict__["timestamp"].__set__
_set_type = Properties.__dict__["type"].__set__
_set_user_id = Properties.__dict__["user_id"].__set__
_set_app_id = Properties.__dict__["app_id"].__set__
_set_cluster_id = Properties.__dict__["cluster_id"].__set__
_set_encoded = Properties.__dict__["_encoded"].__set__
_set_persistent = Properties.__dict__["_persistent"].__set__


def _from_dict(values: dict[str, Any]) -> Properties:
    return Properties(**values)


def _encode_octet(value: int) -> bytes:
    if not isinstance(value, int):
        raise TypeError(f"expected int, not {type(value).__name__}")
    if not 0 <= value <= 255:
        raise ValueError(f"{value} is not in 0 to 255")
    return b"%c" % value


def _encode_seconds(value: datetime) -> bytes:
    if not isinstance(value, datetime):
        raise TypeError(f"expected an aware datetime, not {type(value).__name__}")
    return _pack_long_long(encode_timestamp(value))


_ENCODERS: Final[dict[str, Any]] = dict.fromkeys(PROPERTY_NAMES, encode_shortstr) | {
    "delivery_mode": _encode_octet,
    "priority": _encode_octet,
    "timestamp": _encode_seconds,
}


def _encode(properties: Properties, delivery_mode: int | None) -> bytes:
    flags = 0
    parts = [b""]
    for name, flag in _FLAGS.items():
        value = getattr(properties, name)
        if flag == _DELIVERY_MODE_FLAG:
            value = delivery_mode
        if value is None:
            continue
        flags |= flag
        if name == "headers":
            parts.append(encode_table(value, name="headers"))
            continue
        try:
            parts.append(_ENCODERS[name](value))
        except (ValueError, TypeError) as error:
            raise EncodeError(f"{name}: {error}") from None
    parts[0] = _pack_flags(flags)
    return b"".join(parts)


def _decode(data: bytes, start: int) -> Properties:
    end = len(data)
    if end - start < 2:
        raise DecodeError("the property flags are cut off", offset=start)
    flags: int = _unpack_flags(data, start)[0]
    if flags & 3:
        raise DecodeError(f"property flags 0x{flags:04x} of no known property", offset=start)
    pos = start + 2
    values: dict[str, Any] = {}
    for name, flag in _FLAGS.items():
        if not flags & flag:
            continue
        begin = pos
        if begin >= end:
            raise DecodeError(f"property {name} is cut off", offset=begin)
        if name == "headers":
            values[name], pos = read_table(data, begin, end)
            continue
        if name == "delivery_mode" or name == "priority":
            pos = begin + 1
            values[name] = data[begin]
        elif name == "timestamp":
            pos = begin + 8
            if pos <= end:
                values[name] = decode_timestamp(_unpack_long_long(data, begin)[0])
        else:
            pos = begin + 1 + data[begin]
            values[name] = str(data[begin + 1 : pos], "utf-8", "surrogateescape")
        if pos > end:
            raise DecodeError(f"property {name} is cut off", offset=begin)
    if pos != end:
        raise DecodeError(f"{end - pos} bytes too many after the properties", offset=pos)
    return Properties(**values)
