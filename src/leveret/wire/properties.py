"""The fourteen properties of a message (class basic), and their bytes in a content header.

A `Properties` object cannot be changed; `replace` makes another one. That lets the encoded form
be kept on the object, and lets equal deliveries share one decoded object. Headers are an
ordinary dict, which a caller may well change in place: with headers nothing is kept or shared.

`encode_properties` and `decode_properties` do the work; their compiled twins take their place
where `codec` says so.

Wire form (specification 4.2.6.1): sixteen flags, the first property in the highest bit, then the
values of those that are set. The lowest bit would announce more flags; class basic has none.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from operator import attrgetter
from typing import Any, Final

from ..exceptions import DecodeError, EncodeError
from .making import maker
from .table import decode_timestamp, encode_shortstr, encode_table, encode_timestamp, read_table

__all__ = [
    "PROPERTY_NAMES",
    "Properties",
    "decode_properties",
    "encode_properties",
    "properties_maker",
    "use_for_properties",
]

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
#: What is not a short string.
_KINDS: Final[dict[str, type]] = {
    "headers": Mapping,
    "delivery_mode": int,
    "priority": int,
    "timestamp": datetime,
}
_OCTETS: Final = [bytes((value,)) for value in range(256)]
#: The properties by flags: few combinations occur. Cleared when full.
_PLANS: Final[dict[int, tuple[str, ...]]] = {}
_PLANS_MAX: Final = 256

_get_all = attrgetter(*(f"_{name}" for name in PROPERTY_NAMES))
_pack_flags = struct.Struct(">H").pack
_pack_long_long = struct.Struct(">Q").pack
_unpack_flags = struct.Struct(">H").unpack_from
_unpack_long_long = struct.Struct(">Q").unpack_from


class Properties:
    """What a message says about itself. None means that the property is not sent.

    All arguments are by name, and are the properties below.
    """

    __slots__ = (*(f"_{name}" for name in PROPERTY_NAMES), "_encoded", "_persistent")

    _content_type: str | None
    _content_encoding: str | None
    _headers: Mapping[str, object] | None
    _delivery_mode: int | None
    _priority: int | None
    _correlation_id: str | None
    _reply_to: str | None
    _expiration: str | None
    _message_id: str | None
    _timestamp: datetime | None
    _type: str | None
    _user_id: str | None
    _app_id: str | None
    _cluster_id: str | None
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
        self._content_type = content_type
        self._content_encoding = content_encoding
        self._headers = headers
        self._delivery_mode = delivery_mode
        self._priority = priority
        self._correlation_id = correlation_id
        self._reply_to = reply_to
        self._expiration = expiration
        self._message_id = message_id
        self._timestamp = timestamp
        self._type = type
        self._user_id = user_id
        self._app_id = app_id
        self._cluster_id = cluster_id
        self._encoded = None
        self._persistent = None

    @property
    def content_type(self) -> str | None:
        """MIME type of the body."""
        return self._content_type

    @property
    def content_encoding(self) -> str | None:
        """MIME encoding of the body."""
        return self._content_encoding

    @property
    def headers(self) -> Mapping[str, object] | None:
        """A field table of the application's own; `leveret.wire.table` lists the types."""
        return self._headers

    @property
    def delivery_mode(self) -> int | None:
        """1 transient, 2 persistent."""
        return self._delivery_mode

    @property
    def priority(self) -> int | None:
        """0 to 255; the queue's `x-max-priority` says what counts."""
        return self._priority

    @property
    def correlation_id(self) -> str | None:
        """Which request this is the answer to."""
        return self._correlation_id

    @property
    def reply_to(self) -> str | None:
        """The queue for the answer."""
        return self._reply_to

    @property
    def expiration(self) -> str | None:
        """Time to live in milliseconds, as a decimal string."""
        return self._expiration

    @property
    def message_id(self) -> str | None:
        """The application's name for the message."""
        return self._message_id

    @property
    def timestamp(self) -> datetime | None:
        """When it was made: aware, in whole seconds on the wire."""
        return self._timestamp

    @property
    def type(self) -> str | None:
        """The application's name for the kind of message."""
        return self._type

    @property
    def user_id(self) -> str | None:
        """The publishing user; RabbitMQ checks it."""
        return self._user_id

    @property
    def app_id(self) -> str | None:
        """The publishing application."""
        return self._app_id

    @property
    def cluster_id(self) -> str | None:
        """Deprecated by the specification; carried as it is."""
        return self._cluster_id

    def values(self) -> tuple[Any, ...]:
        """All fourteen, as `PROPERTY_NAMES` has them; None for those that are not set."""
        values: tuple[Any, ...] = _get_all(self)
        return values

    def _set(self) -> dict[str, Any]:
        values = zip(PROPERTY_NAMES, _get_all(self), strict=True)
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
            encoded = _encode(self, self._delivery_mode)
            if self._headers is None:
                self._encoded = encoded
        return encoded

    def encode_persistent(self) -> bytes:
        """As `encode`, with delivery mode 2 where the delivery mode is not set."""
        encoded = self._persistent
        if encoded is None:
            mode = self._delivery_mode
            encoded = _encode(self, 2) if mode is None else self.encode()
            if self._headers is None:
                self._persistent = encoded
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


def _from_dict(values: dict[str, Any]) -> Properties:
    return Properties(**values)


def properties_maker(names: Sequence[str]) -> Callable[..., Properties]:
    """A function that makes `Properties` of the values of these, by position.

    It takes a third of the constructor's time, for who makes many with the same names.
    """
    others = {f"_{name}": None for name in PROPERTY_NAMES if name not in names}
    given = [f"_{name}" for name in names]
    return _maker(Properties, given, {**others, "_encoded": None, "_persistent": None})


def _octet(value: int) -> bytes:
    if not 0 <= value <= 255:
        raise ValueError(f"{value} is not in 0 to 255")
    return _OCTETS[value]


def _short(value: str) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    return _OCTETS[len(raw)] + raw


def encode_properties(properties: Properties, delivery_mode: int | None) -> bytes:
    """The flags and the values of `properties`, with this delivery mode in place of theirs."""
    try:
        return _encode_quickly(properties, delivery_mode)
    except (ValueError, TypeError, AttributeError, IndexError, OverflowError) as error:
        if not isinstance(error, EncodeError):
            _explain(properties)
        raise


def _encode_quickly(self: Properties, delivery_mode: int | None) -> bytes:
    flags = 0
    parts = [b""]
    add = parts.append
    if self._content_type is not None:
        flags |= 0x8000
        add(_short(self._content_type))
    if self._content_encoding is not None:
        flags |= 0x4000
        add(_short(self._content_encoding))
    if self._headers is not None:
        flags |= 0x2000
        add(encode_table(self._headers, name="headers"))
    if delivery_mode is not None:
        flags |= 0x1000
        add(_octet(delivery_mode))
    if self._priority is not None:
        flags |= 0x0800
        add(_octet(self._priority))
    if self._correlation_id is not None:
        flags |= 0x0400
        add(_short(self._correlation_id))
    if self._reply_to is not None:
        flags |= 0x0200
        add(_short(self._reply_to))
    if self._expiration is not None:
        flags |= 0x0100
        add(_short(self._expiration))
    if self._message_id is not None:
        flags |= 0x0080
        add(_short(self._message_id))
    if self._timestamp is not None:
        flags |= 0x0040
        add(_pack_long_long(encode_timestamp(self._timestamp)))
    if self._type is not None:
        flags |= 0x0020
        add(_short(self._type))
    if self._user_id is not None:
        flags |= 0x0010
        add(_short(self._user_id))
    if self._app_id is not None:
        flags |= 0x0008
        add(_short(self._app_id))
    if self._cluster_id is not None:
        flags |= 0x0004
        add(_short(self._cluster_id))
    parts[0] = _pack_flags(flags)
    return b"".join(parts)


def _explain(properties: Properties) -> None:
    """Raise the EncodeError for the property that cannot be encoded."""
    for name, value in properties._set().items():
        kind = _KINDS.get(name, str)
        fits: bool = isinstance(value, kind)
        if not fits:
            raise EncodeError(f"{name}: expected {kind.__name__}, not {type(value).__name__}")
        try:
            if kind is str:
                encode_shortstr(value)
            elif kind is datetime:
                encode_timestamp(value)
            elif kind is int:
                _octet(value)
        except ValueError as error:
            raise EncodeError(f"{name}: {error}") from None


# -- decoding -----------------------------------------------------------------------------------


def _plan(flags: int, start: int) -> tuple[str, ...]:
    """The names of the properties that `flags` announces, in their order."""
    if flags & 3:
        raise DecodeError(f"property flags 0x{flags:04x} of no known property", offset=start)
    if len(_PLANS) >= _PLANS_MAX:
        _PLANS.clear()
    plan = _PLANS[flags] = tuple(name for name, flag in _FLAGS.items() if flags & flag)
    return plan


def decode_properties(data: bytes, start: int) -> Properties:
    """As `Properties.decode`; offsets of errors count from byte 0 of `data`."""
    end = len(data)
    if end - start < 2:
        raise DecodeError("the property flags are cut off", offset=start)
    flags: int = _unpack_flags(data, start)[0]
    plan = _PLANS.get(flags)
    if plan is None:
        plan = _plan(flags, start)
    pos = start + 2
    values: dict[str, Any] = {}
    for name in plan:
        begin = pos
        if begin >= end:
            raise DecodeError(f"property {name} is cut off", offset=begin)
        kind = _KINDS.get(name)
        if kind is None:
            pos = begin + 1 + data[begin]
            values[name] = str(data[begin + 1 : pos], "utf-8", "surrogateescape")
        elif kind is int:
            pos = begin + 1
            values[name] = data[begin]
        elif kind is datetime:
            pos = begin + 8
            if pos <= end:
                values[name] = decode_timestamp(_unpack_long_long(data, begin)[0])
        else:
            values[name], pos = read_table(data, begin, end)
        if pos > end:
            raise DecodeError(f"property {name} is cut off", offset=begin)
    if pos != end:
        raise DecodeError(f"{end - pos} bytes too many after the properties", offset=pos)
    return Properties(**values)


# -- which of the twins -------------------------------------------------------------------------

_encode: Callable[[Properties, int | None], bytes] = encode_properties
_decode: Callable[[bytes, int], Properties] = decode_properties
_maker: Callable[..., Callable[..., Properties]] = maker


def use_for_properties(
    encode: Callable[[Properties, int | None], bytes],
    decode: Callable[[bytes, int], Properties],
    make_maker: Callable[..., Callable[..., Properties]],
) -> None:
    """Let `Properties` be made, encoded and decoded so. `codec` says how, once, at import."""
    global _encode, _decode, _maker
    _maker = make_maker
    _encode = encode
    _decode = decode
