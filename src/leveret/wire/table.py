"""Field tables and arrays, with RabbitMQ's tags.

The specification's table of tags (4.2.5.5) and what brokers and clients send are not the same
thing; RabbitMQ's errata are what is spoken here:

    tag  wire                       Python, decoded    encoded from
    t    boolean                    bool               bool
    b B  8 bits, signed/unsigned    int                Int8, UInt8
    s u  16 bits, signed/unsigned   int                Int16, UInt16
    I i  32 bits, signed/unsigned   int                int that fits; UInt32
    l    64 bits, signed            int                int that does not fit `I`; Int64
    U L  16/64 bits, signed         int                (never sent: py-amqp and older clients do)
    f d  IEEE 754, 32/64 bits       float              Float32; float
    D    scale and signed 32 bits   Decimal            Decimal
    S    long string                str, or bytes where it is not UTF-8    str
    x    byte array                 bytes              bytes, bytearray, memoryview
    T    64 bits, seconds           datetime (UTC)     aware datetime
    A    array                      list               list, tuple
    F    table                      dict               Mapping
    V    nothing                    None               None

Short strings (keys here, names everywhere) are UTF-8, with bytes that are not UTF-8 carried as
surrogate escapes, so that any name of any client survives the round trip unchanged.

Nothing is allocated by a length that was not first compared with the bytes that are there.
Depth is limited in both directions, which also ends tables that contain themselves.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from datetime import datetime, timezone
from decimal import Decimal
from typing import Any, Final

from ..exceptions import DecodeError, EncodeError
from .faults import is_own

__all__ = [
    "MAX_DEPTH",
    "Float32",
    "Int8",
    "Int16",
    "Int64",
    "UInt8",
    "UInt16",
    "UInt32",
    "decode_decimal",
    "decode_table",
    "decode_timestamp",
    "decode_value",
    "encode_shortstr",
    "encode_table",
    "encode_timestamp",
    "encode_value",
    "is_plain_table",
    "read_table",
]

#: Levels of tables and arrays, the outermost included.
MAX_DEPTH: Final = 32


class Int8(int):
    """An int sent with the tag `b`."""

    __slots__ = ()


class UInt8(int):
    """An int sent with the tag `B`."""

    __slots__ = ()


class Int16(int):
    """An int sent with the tag `s`."""

    __slots__ = ()


class UInt16(int):
    """An int sent with the tag `u`."""

    __slots__ = ()


class UInt32(int):
    """An int sent with the tag `i`."""

    __slots__ = ()


class Int64(int):
    """An int sent with the tag `l`, whatever its value."""

    __slots__ = ()


class Float32(float):
    """A float sent with the tag `f`."""

    __slots__ = ()


_UTC: Final = timezone.utc  # noqa: UP017  (datetime.UTC is the same object)
_LAST_SECOND: Final = 253402300799
_END_OF_TIME: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=_UTC)

_pack_long = struct.Struct(">I").pack
_pack_long_long = struct.Struct(">Q").pack
_unpack_long = struct.Struct(">I").unpack_from
_unpack_long_long = struct.Struct(">Q").unpack_from
_unpack_decimal = struct.Struct(">Bi").unpack_from


def decode_timestamp(seconds: int) -> datetime:
    """Seconds since 1970 as an aware datetime.

    What lies behind the year 9999 (some publishers send milliseconds) becomes its last second:
    one odd timestamp must not make a message unreadable.
    """
    return datetime.fromtimestamp(seconds, _UTC) if seconds <= _LAST_SECOND else _END_OF_TIME


def encode_timestamp(value: datetime) -> int:
    """Whole seconds since 1970; ValueError for a naive datetime or one before 1970."""
    if value.tzinfo is None or value.utcoffset() is None:
        raise ValueError("a datetime needs a time zone")
    seconds = value.timestamp()
    if seconds < 0:
        raise ValueError(f"{value.isoformat()} is before 1970")
    return int(seconds)


def encode_shortstr(value: str) -> bytes:
    """A short string with its length octet; ValueError or TypeError where none can hold it."""
    if not isinstance(value, str):
        raise TypeError(f"expected str, not {type(value).__name__}")
    raw = value.encode("utf-8", "surrogateescape")
    if len(raw) > 255:
        raise ValueError(f"{len(raw)} bytes, a short string holds 255")
    return b"%c%b" % (len(raw), raw)


# -- encoding -----------------------------------------------------------------------------------


# The keys of tables repeat from message to message. Both are cleared when full.
_CACHE_MAX: Final = 1024
_CACHED_MAX: Final = 64
_keys_sent: Final[dict[str, bytes]] = {}
_keys_received: Final[dict[bytes, str]] = {}


class _Unencodable(Exception):
    """A value without a tag; every level adds its step to `path` on the way out."""

    def __init__(self, words: str) -> None:
        super().__init__(words)
        self.path = ""


def is_plain_table(table: object, kinds: frozenset[type], max_depth: int = MAX_DEPTH) -> bool:
    """Whether a table holds nothing but ordinary values, for who has other rules for the rest.

    True where it is a dict, its keys and strings are ASCII, and its other values of these very
    types, or such dicts and lists of all these, no deeper than `max_depth`.

    Args:
        kinds: types whose values are ordinary; str among them makes every string one.
    """
    if type(table) is not dict or max_depth <= 0:
        return False
    for key, value in table.items():
        if type(key) is not str or not key.isascii():
            return False
        if type(value) not in kinds and not _is_plain(value, kinds, max_depth - 1):
            return False
    return True


def _is_plain(value: Any, kinds: frozenset[type], max_depth: int) -> bool:
    kind = type(value)
    if kind is str:
        return bool(value.isascii())
    if kind is dict:
        return is_plain_table(value, kinds, max_depth)
    if kind is not list or max_depth <= 0:
        return False
    return all(type(item) in kinds or _is_plain(item, kinds, max_depth - 1) for item in value)


def encode_table(
    table: Mapping[str, object], *, name: str = "table", max_depth: int = MAX_DEPTH
) -> bytes:
    """Encode a field table, with the four bytes of its length.

    Args:
        table: keys of at most 255 bytes; values as in the table on top of this module.
        name: what the table is called in an error.
        max_depth: levels of tables and arrays, this one included.

    Raises:
        EncodeError: names the value by its path, as in `headers['a'][3]`.
    """
    if not table:
        if table is None or isinstance(table, Mapping):
            return b"\0\0\0\0"
        raise EncodeError(f"{name}: expected a mapping, not {type(table).__name__}")
    try:
        return _encode_mapping(table, max_depth)
    except _Unencodable as error:
        raise EncodeError(f"{name}{error.path}: {error}") from None


def _encode_mapping(table: Mapping[str, object], depth: int) -> bytes:
    if not isinstance(table, Mapping):
        raise _Unencodable(f"expected a mapping, not {type(table).__name__}")
    if depth <= 0:
        raise _Unencodable("nested too deeply")
    parts = [b""]
    add = parts.append
    for key, value in table.items():
        try:
            raw = _keys_sent.get(key) if type(key) is str else None
            add(raw or _learn_key_to_send(key))
        except (ValueError, TypeError) as error:
            raise _Unencodable(f"key {key!r}: {error}") from None
        if value is None:
            add(b"V")
            continue
        try:
            add(_ENCODERS.get(type(value), _encode_other)(value, depth))
        except _Unencodable as error:
            error.path = f"[{key!r}]{error.path}"
            raise
        except (struct.error, ValueError, OverflowError) as error:
            wrong = _Unencodable(_words(value, error))
            wrong.path = f"[{key!r}]"
            raise wrong from None
    return _with_length(parts)


def _learn_key_to_send(key: str) -> bytes:
    raw = encode_shortstr(key)
    if len(_keys_sent) >= _CACHE_MAX:
        _keys_sent.clear()
    if type(key) is str and len(raw) <= _CACHED_MAX:
        _keys_sent[key] = raw
    return raw


def _encode_array(values: list[object], depth: int) -> bytes:
    if depth <= 0:
        raise _Unencodable("nested too deeply")
    parts = [b""]
    for index, value in enumerate(values):
        try:
            parts.append(_ENCODERS.get(type(value), _encode_other)(value, depth))
        except _Unencodable as error:
            error.path = f"[{index}]{error.path}"
            raise
        except (struct.error, ValueError, OverflowError) as error:
            wrong = _Unencodable(_words(value, error))
            wrong.path = f"[{index}]"
            raise wrong from None
    return _with_length(parts)


def _with_length(parts: list[bytes]) -> bytes:
    size = sum(map(len, parts))
    if size > 0xFFFFFFFF:
        raise _Unencodable(f"{size} bytes, a table or array holds 4 GiB")
    parts[0] = _pack_long(size)
    return b"".join(parts)


def _words(value: object, error: Exception) -> str:
    if isinstance(value, int | float):
        return f"{value!r} does not fit {type(value).__name__}"
    return str(error)


def _fixed(tag: bytes, code: str) -> Callable[[object, int], bytes]:
    pack = struct.Struct(">c" + code).pack

    def encode(value: object, _depth: int) -> bytes:
        return pack(tag, value)

    return encode


_pack_tagged_int = struct.Struct(">ci").pack
_pack_tagged_long = struct.Struct(">cq").pack
_pack_tagged_size = struct.Struct(">cI").pack
_pack_tagged_time = struct.Struct(">cQ").pack
_pack_tagged_decimal = struct.Struct(">cBi").pack


def _encode_bool(value: object, _depth: int) -> bytes:
    return b"t\1" if value else b"t\0"


def _encode_int(value: int, _depth: int) -> bytes:
    if -0x80000000 <= value <= 0x7FFFFFFF:
        return _pack_tagged_int(b"I", value)
    if -0x8000000000000000 <= value <= 0x7FFFFFFFFFFFFFFF:
        return _pack_tagged_long(b"l", value)
    raise _Unencodable(f"{value} does not fit 64 signed bits")


def _encode_str(value: str, _depth: int) -> bytes:
    raw = value.encode("utf-8", "surrogateescape")
    return _pack_tagged_size(b"S", len(raw)) + raw


def _encode_bytes(value: bytes | bytearray | memoryview, _depth: int) -> bytes:
    raw = bytes(value)
    return _pack_tagged_size(b"x", len(raw)) + raw


def _encode_datetime(value: datetime, _depth: int) -> bytes:
    return _pack_tagged_time(b"T", encode_timestamp(value))


def _encode_decimal(value: Decimal, _depth: int) -> bytes:
    sign, digits, exponent = value.as_tuple()
    if not isinstance(exponent, int):
        raise _Unencodable(f"{value} is not a finite number")
    if len(digits) > 10 or exponent > 9:
        raise _Unencodable(f"{value} has more digits than 32 signed bits hold")
    unscaled = int("".join(map(str, digits))) * 10 ** max(exponent, 0)
    scale = max(-exponent, 0)
    if scale > 255:
        raise _Unencodable(f"{value} has {scale} places, a decimal holds 255")
    if unscaled > 0x7FFFFFFF + sign:
        raise _Unencodable(f"{value} has more digits than 32 signed bits hold")
    return _pack_tagged_decimal(b"D", scale, -unscaled if sign else unscaled)


def _encode_none(_value: object, _depth: int) -> bytes:
    return b"V"


def _encode_nested_table(value: Mapping[str, object], depth: int) -> bytes:
    return b"F" + _encode_mapping(value, depth - 1)


def _encode_nested_array(value: list[object], depth: int) -> bytes:
    return b"A" + _encode_array(value, depth - 1)


_ENCODERS: Final[dict[type, Callable[..., bytes]]] = {
    str: _encode_str,
    int: _encode_int,
    bool: _encode_bool,
    bytes: _encode_bytes,
    bytearray: _encode_bytes,
    memoryview: _encode_bytes,
    float: _fixed(b"d", "d"),
    datetime: _encode_datetime,
    Decimal: _encode_decimal,
    dict: _encode_nested_table,
    list: _encode_nested_array,
    tuple: _encode_nested_array,
    type(None): _encode_none,
    Int8: _fixed(b"b", "b"),
    UInt8: _fixed(b"B", "B"),
    Int16: _fixed(b"s", "h"),
    UInt16: _fixed(b"u", "H"),
    UInt32: _fixed(b"i", "I"),
    Int64: _fixed(b"l", "q"),
    Float32: _fixed(b"f", "f"),
}


def _encode_other(value: object, depth: int) -> bytes:
    """Subclasses (enums, named tuples, other mappings), by the first base that has a tag."""
    for base in type(value).__mro__:
        encoder = _ENCODERS.get(base)
        if encoder is not None:
            return encoder(value, depth)
    if isinstance(value, Mapping):
        return _encode_nested_table(value, depth)
    raise _Unencodable(f"no field type for {type(value).__name__}")


def encode_value(value: object, depth: int) -> bytes:
    """A value with its tag, in a table or array of this depth; any error says that it has none."""
    return _ENCODERS.get(type(value), _encode_other)(value, depth)


# -- decoding -----------------------------------------------------------------------------------


def decode_table(
    data: bytes, offset: int = 0, *, max_depth: int = MAX_DEPTH
) -> tuple[dict[str, object], int]:
    """Decode the field table whose length stands at `offset`.

    Returns:
        The table, and the offset after it.

    Raises:
        DecodeError: its `offset` counts from the start of the table.
    """
    try:
        return read_table(data, offset, len(data), max_depth)
    except DecodeError as error:
        if error.offset is not None:
            error.offset -= offset
        raise


def decode_value(
    data: bytes, offset: int = 0, *, max_depth: int = MAX_DEPTH
) -> tuple[object, int]:
    """Decode one value of a table or an array, from the tag that stands at `offset`.

    Returns:
        The value, and the offset after it.

    Raises:
        DecodeError: its `offset` counts from the tag.
    """
    try:
        return _decode_value(data, offset, len(data), max_depth)
    except DecodeError as error:
        if error.offset is not None:
            error.offset -= offset
        raise
    except (struct.error, IndexError) as error:
        if not is_own(error):
            raise
        raise DecodeError("a value is cut off", offset=len(data) - offset) from None


def read_table(
    data: bytes, offset: int, end: int, max_depth: int = MAX_DEPTH
) -> tuple[dict[str, object], int]:
    """As `decode_table`, in data that ends at `end`; offsets of errors count from byte 0."""
    try:
        return _decode_mapping(data, offset, end, max_depth)
    except (struct.error, IndexError) as error:
        if not is_own(error):
            raise
        raise DecodeError("a field table ends in the middle of a value", offset=end) from None


def _enter(data: bytes, pos: int, end: int, depth: int, what: str) -> int:
    """Where the table or array ends whose length stands at `pos`."""
    if depth <= 0:
        raise DecodeError(f"{what} is nested too deeply", offset=pos)
    if end - pos < 4:
        raise DecodeError(f"the length of {what} is cut off", offset=pos)
    stop: int = pos + 4 + _unpack_long(data, pos)[0]
    if stop > end:
        raise DecodeError(
            f"{what} of {stop - pos - 4} bytes, where {end - pos - 4} are left", offset=pos
        )
    return stop


def _decode_mapping(data: bytes, pos: int, end: int, depth: int) -> tuple[dict[str, object], int]:
    stop = _enter(data, pos, end, depth, "a table")
    pos += 4
    table: dict[str, object] = {}
    while pos < stop:
        start = pos
        pos += 1 + data[pos]
        if pos >= stop:
            raise DecodeError("a key reaches past the end of its table", offset=start)
        raw = data[start + 1 : pos]
        key = _keys_received.get(raw)
        if key is None:
            key = _learn_received_key(raw)
        if data[pos] == 0x56:  # V, which most keys of a task queue's messages have
            table[key] = None
            pos += 1
        else:
            table[key], pos = _decode_value(data, pos, stop, depth)
    return table, stop


def _learn_received_key(raw: bytes) -> str:
    key = str(raw, "utf-8", "surrogateescape")
    if len(_keys_received) >= _CACHE_MAX:
        _keys_received.clear()
    if len(raw) <= _CACHED_MAX:
        _keys_received[raw] = key
    return key


def _decode_array(data: bytes, pos: int, end: int, depth: int) -> tuple[list[object], int]:
    stop = _enter(data, pos, end, depth, "an array")
    pos += 4
    array: list[object] = []
    while pos < stop:
        value, pos = _decode_value(data, pos, stop, depth)
        array.append(value)
    return array, stop


_FIXED: Final = {
    ord(tag): (struct.Struct(">" + code).unpack_from, struct.calcsize(">" + code))
    for tag, code in {
        "I": "i",
        "l": "q",
        "L": "q",
        "U": "h",
        "d": "d",
        "i": "I",
        "b": "b",
        "B": "B",
        "s": "h",
        "u": "H",
        "f": "f",
    }.items()
}


def _decode_value(data: bytes, pos: int, end: int, depth: int) -> tuple[object, int]:
    """The value whose tag stands at `pos`, in a table or array that ends at `end`."""
    tag = data[pos]
    start = pos + 1
    value: object
    if tag == 0x53 or tag == 0x78:  # S, x
        if end - start < 4:
            raise DecodeError("the length of a string is cut off", offset=pos)
        begin = start + 4
        stop = begin + _unpack_long(data, start)[0]
        if stop > end:
            raise DecodeError(
                f"a string of {stop - begin} bytes, where {end - begin} are left", offset=pos
            )
        raw = data[begin:stop]
        if tag == 0x78:
            return raw, stop
        try:
            return str(raw, "utf-8"), stop
        except UnicodeDecodeError:
            return raw, stop
    fixed = _FIXED.get(tag)
    if fixed is not None:
        unpack, size = fixed
        stop = start + size
        if stop > end:
            raise DecodeError(f"a value of type {chr(tag)!r} is cut off", offset=pos)
        return unpack(data, start)[0], stop
    if tag == 0x46:  # F
        return _decode_mapping(data, start, end, depth - 1)
    if tag == 0x41:  # A
        return _decode_array(data, start, end, depth - 1)
    if tag == 0x56:  # V
        return None, start
    if tag == 0x74:  # t
        stop = start + 1
        value = start < end and data[start] != 0
    elif tag == 0x54:  # T
        stop = start + 8
        value = decode_timestamp(_unpack_long_long(data, start)[0]) if stop <= end else None
    elif tag == 0x44:  # D
        stop = start + 5
        value = decode_decimal(data, start) if stop <= end else None
    else:
        raise DecodeError(f"unknown field type {bytes((tag,))!r}", offset=pos)
    if stop > end:
        raise DecodeError(f"a value of type {chr(tag)!r} is cut off", offset=pos)
    return value, stop


def decode_decimal(data: bytes, pos: int) -> Decimal:
    """The decimal whose five bytes stand at `pos`."""
    scale, unscaled = _unpack_decimal(data, pos)
    # Made from its digits: arithmetic would round by the caller's decimal context.
    digits = tuple(map(int, str(abs(unscaled))))
    return Decimal((int(unscaled < 0), digits, -scale))
