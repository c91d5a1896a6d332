"""Values to bytes and back by py-amqp's letters; the tables themselves are `wire`'s.

    b bit    o octet    B short    l long    L long long    f float
    s short string    S long string    x byte array    F table    A array    T timestamp

What differs between py-amqp's tables and `wire`'s is a matter of Python values, and is put right
here before and after: bytes are sent as strings, datetimes are naive and mean UTC, a key that is
not UTF-8 is bytes, and a value without a type is a `FrameSyntaxError`. What does not fit its
field is a `struct.error`; nothing has been sent then, and the connection stays usable.
"""

from __future__ import annotations

import calendar
import struct
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from decimal import Decimal
from itertools import compress
from typing import Any

from leveret import wire
from leveret.exceptions import DecodeError, EncodeError

from .exceptions import FrameSyntaxError
from .spec import Basic

__all__ = ["GenericContent", "decode_properties_basic", "dumps", "loads"]

_FIXED = {
    "o": struct.Struct(">B"),
    "B": struct.Struct(">H"),
    "l": struct.Struct(">I"),
    "L": struct.Struct(">Q"),
    "f": struct.Struct(">f"),
    "T": struct.Struct(">Q"),
}
_LENGTHS = {"s": struct.Struct(">B"), "S": struct.Struct(">I"), "x": struct.Struct(">I")}

# -- values of tables ---------------------------------------------------------------------------


_SENT_AS_THEY_ARE: frozenset[type] = frozenset({int, bool, float, type(None), Decimal})
_AS_THEY_ARE: frozenset[type] = _SENT_AS_THEY_ARE | {str, bytes}


def _text(value: str | bytes) -> str:
    """As `wire` wants text: its UTF-8 form is then exactly these bytes."""
    if isinstance(value, str):
        if value.isascii():
            return value
        value = value.encode("utf-8", "surrogatepass")
    return value.decode("utf-8", "surrogateescape")


def _to_wire(value: Any) -> Any:
    """A table's value for `wire.encode_table`; ValueError for one that has no type."""
    if isinstance(value, str | bytes):
        return _text(value)
    if value is None or isinstance(value, bool | float | int | Decimal):
        return value
    if isinstance(value, datetime):
        return datetime.fromtimestamp(calendar.timegm(value.utctimetuple()), UTC)
    if isinstance(value, dict):
        return _table_to_wire(value)
    if isinstance(value, list | tuple):
        return [_item_to_wire(None, item) for item in value]
    raise ValueError


def _item_to_wire(key: Any, value: Any) -> Any:
    try:
        return _to_wire(value)
    except ValueError:
        place = "" if key is None else f" of {key!r}"
        raise FrameSyntaxError(
            f"no AMQP field type for {type(value).__name__}{place}: {value!r}"
        ) from None


def _table_to_wire(table: Mapping[Any, Any]) -> dict[str, Any]:
    if type(table) is dict and wire.is_plain_table(table, _SENT_AS_THEY_ARE):
        return table
    return {_text(key): _item_to_wire(key, value) for key, value in table.items()}


def _encode_table(table: Mapping[Any, Any]) -> bytes:
    try:
        return wire.encode_table(_table_to_wire(table))
    except EncodeError as error:
        raise struct.error(str(error)) from None


def _encode_array(values: Iterable[Any]) -> bytes:
    # an array is what stands behind key and tag in a table of one: 4 + 1 + 1 bytes
    return _encode_table({"": list(values)})[6:]


def _write_table(table: Mapping[Any, Any], write: Callable[[bytes], Any], bits: list[int]) -> None:
    """A table for `write`."""
    write(_encode_table(table))


def _from_wire(value: Any) -> Any:
    if isinstance(value, datetime):
        return value.replace(tzinfo=None)
    if isinstance(value, dict):
        return table_from_wire(value)
    if isinstance(value, list):
        return [_from_wire(item) for item in value]
    return value


def table_from_wire(table: Mapping[str, Any]) -> dict[Any, Any]:
    """A decoded table with py-amqp's values: the same one, where it has no others."""
    if type(table) is dict and wire.is_plain_table(table, _AS_THEY_ARE):
        return table
    out: dict[Any, Any] = {}
    for key, value in table.items():
        name = key if key.isascii() else _key(key)
        out[name] = value if type(value) in _AS_THEY_ARE else _from_wire(value)
    return out


def _key(key: str) -> str | bytes:
    try:
        key.encode()
    except UnicodeEncodeError:
        return key.encode("utf-8", "surrogateescape")
    return key


def _read_item(buf: bytes, offset: int) -> tuple[Any, int]:
    """The table value whose tag stands at `offset`, and the offset after it."""
    try:
        value, offset = wire.decode_value(buf, offset)
    except DecodeError as error:
        raise FrameSyntaxError(str(error)) from None
    return _from_wire(value), offset


# -- by letters ---------------------------------------------------------------------------------


def _letters(format: str | bytes) -> str:
    return format.decode() if isinstance(format, bytes) else format


def loads(format: str | bytes, buf: bytes, offset: int) -> tuple[list[Any], int]:
    """Values from `buf`, one a letter.

    Returns:
        The values, and the offset after them.

    Raises:
        FrameSyntaxError: an unknown letter, a malformed table.
    """
    values: list[Any] = []
    bits = left = 0
    for letter in _letters(format):
        if letter == "b":
            if not left:
                bits, left = buf[offset], 8
                offset += 1
            values.append(bits & 1 == 1)
            bits >>= 1
            left -= 1
            continue
        left = 0
        value: Any
        if letter in _FIXED:
            packer = _FIXED[letter]
            (value,) = packer.unpack_from(buf, offset)
            offset += packer.size
            if letter == "T":
                value = datetime.fromtimestamp(value, UTC).replace(tzinfo=None)
        elif letter in _LENGTHS:
            packer = _LENGTHS[letter]
            start = offset + packer.size
            offset = start + packer.unpack_from(buf, offset)[0]
            value = buf[start:offset]
            if letter != "x":
                value = value.decode("utf-8", "surrogatepass")
        elif letter == "F":
            value, offset = _read_table(buf, offset)
        elif letter == "A":
            value, end = _read_item(b"A" + buf[offset:], 0)
            offset += end - 1
        else:
            raise FrameSyntaxError(f"no AMQP type has the letter {letter!r}")
        values.append(value)
    return values, offset


def _read_table(buf: bytes, offset: int) -> tuple[dict[Any, Any], int]:
    try:
        table, offset = wire.decode_table(buf, offset)
    except DecodeError as error:
        raise FrameSyntaxError(str(error)) from None
    return table_from_wire(table), offset


def dumps(format: str | bytes, values: Iterable[Any]) -> bytes:
    """Values as bytes, one a letter.

    Raises:
        struct.error: a value that its field cannot hold.
        FrameSyntaxError: a table value without a type.
    """
    parts: list[bytes] = []
    bits = count = 0
    for letter, value in zip(_letters(format), values, strict=False):
        if letter == "b":
            if count == 8:
                parts.append(bytes((bits,)))
                bits = count = 0
            bits |= (1 if value else 0) << count
            count += 1
            continue
        if count:
            parts.append(bytes((bits,)))
            bits = count = 0
        if letter in _LENGTHS:
            raw = value or b""
            if isinstance(raw, str):
                raw = raw.encode("utf-8", "surrogatepass")
            parts.append(_LENGTHS[letter].pack(len(raw)))
            parts.append(raw)
        elif letter == "F":
            parts.append(_encode_table(value or {}))
        elif letter == "A":
            parts.append(_encode_array(value or []))
        elif letter == "T":
            parts.append(_FIXED["T"].pack(calendar.timegm(value.utctimetuple())))
        elif letter in _FIXED:
            parts.append(_FIXED[letter].pack(int(value) if letter == "B" else value))
    if count:
        parts.append(bytes((bits,)))
    return b"".join(parts)


# -- properties ---------------------------------------------------------------------------------

NO_PROPERTIES = b"\0\0"
_TIMESTAMP_TAIL = ("type", "user_id", "app_id", "cluster_id")
_LAST_SECOND = 253402300799  # of the year 9999, where `wire` stops
_pack_timestamp = struct.Struct(">Q").pack
_unpack_timestamp = struct.Struct(">Q").unpack_from

_NAMES = tuple(
    "application_headers" if name == "headers" else name for name in wire.PROPERTY_NAMES
)
_KNOWN = dict(zip(_NAMES, wire.PROPERTY_NAMES, strict=True))

_Plan = tuple[tuple[str, ...], tuple[bool, ...]]
# By the flags of encoded properties: the names that they mean, and which of all these are.
_plans: dict[bytes, _Plan] = {}
# By the names that are to be encoded; few combinations occur. Each is cleared when full.
_makers: dict[tuple[str, ...], Callable[..., wire.Properties]] = {}

# Properties without headers repeat from message to message: decoded once. Cleared when full.
_seen: dict[bytes, dict[str, Any]] = {}
_SEEN_MAX = 256
_SEEN_SIZE_MAX = 64


def _timestamp_place(raw: bytes, properties: wire.Properties) -> int:
    """Where the timestamp stands in encoded properties: before the short strings at the end."""
    place = len(raw) - 8
    for name in _TIMESTAMP_TAIL:
        text = getattr(properties, name)
        if text is not None:
            place -= 1 + len(text.encode("utf-8", "surrogateescape"))
    return place


def decode_properties(raw: bytes) -> dict[str, Any]:
    """Properties as py-amqp's dict: headers are `application_headers`, the timestamp is an int."""
    found = _seen.get(raw)
    if found is not None:
        return found.copy()
    properties = wire.Properties.decode(raw)
    names, given = _plans.get(raw[:2]) or _learn_plan(raw, properties)
    values = dict(zip(names, compress(properties.values(), given), strict=True))
    if "timestamp" in values:
        seconds = calendar.timegm(values["timestamp"].utctimetuple())
        if seconds >= _LAST_SECOND:  # some publishers send milliseconds
            (seconds,) = _unpack_timestamp(raw, _timestamp_place(raw, properties))
        values["timestamp"] = seconds
    if "application_headers" in values:
        values["application_headers"] = table_from_wire(values["application_headers"])
    elif len(raw) <= _SEEN_SIZE_MAX:
        if len(_seen) >= _SEEN_MAX:
            _seen.clear()
        _seen[raw] = values.copy()
    return values


def _learn_plan(raw: bytes, properties: wire.Properties) -> _Plan:
    given = tuple(value is not None for value in properties.values())
    if len(_plans) >= _SEEN_MAX:
        _plans.clear()
    plan = _plans[raw[:2]] = tuple(compress(_NAMES, given)), given
    return plan


def encode_properties(values: Mapping[str, Any]) -> bytes:
    """The opposite of `decode_properties`; None and unknown names are not sent.

    Raises:
        struct.error, FrameSyntaxError: a value that its property cannot hold.
    """
    if not values:
        return NO_PROPERTIES
    headers = values.get("application_headers")
    if headers is None or wire.is_plain_table(headers, _SENT_AS_THEY_ARE):
        names = tuple(values)
        make = _makers.get(names) or _learn_maker(names)
        if make is not None:
            try:
                raw: bytes = make(*values.values()).encode()
            except (EncodeError, UnicodeError):
                pass
            else:
                return raw
    return _encode_slowly(values)


def _learn_maker(names: tuple[str, ...]) -> Callable[..., wire.Properties] | None:
    """What makes properties of values with these names in this order; None for a longer way."""
    if "timestamp" in names or not _KNOWN.keys() >= set(names):
        return None
    if len(_makers) >= _SEEN_MAX:
        _makers.clear()
    slots = [_KNOWN[name] for name in names]
    make = _makers[names] = wire.properties_maker(slots)
    return make


def _encode_slowly(values: Mapping[str, Any]) -> bytes:
    """As `encode_properties`, whatever the values are."""
    given = {_KNOWN[name]: value for name, value in values.items() if name in _KNOWN}
    stamp = given.get("timestamp")
    if stamp is not None:
        stamp = _seconds(stamp)
        given["timestamp"] = datetime.fromtimestamp(min(stamp, _LAST_SECOND), UTC)
    headers = given.get("headers")
    if headers is not None:
        given["headers"] = _table_to_wire(headers)
    try:
        properties = wire.Properties(**given)
        raw = properties.encode()
    except (EncodeError, UnicodeError):
        for name, value in given.items():
            if name not in ("headers", "timestamp", "delivery_mode", "priority", None):
                given[name] = value if value is None else _text(value or "")
        try:
            properties = wire.Properties(**given)
            raw = properties.encode()
        except EncodeError as error:
            raise struct.error(str(error)) from None
    if stamp is not None and stamp > _LAST_SECOND:
        place = _timestamp_place(raw, properties)
        raw = raw[:place] + _pack_timestamp(stamp) + raw[place + 8 :]
    return raw


def _seconds(stamp: Any) -> int:
    if isinstance(stamp, datetime):
        return calendar.timegm(stamp.utctimetuple())
    if not isinstance(stamp, int) or not 0 <= stamp < 1 << 64:
        raise struct.error(f"timestamp: expected 64 unsigned bits, not {stamp!r}")
    return stamp


def decode_properties_basic(buf: bytes, offset: int) -> tuple[dict[str, Any], int]:
    """The properties from `offset` to the end of `buf`, and where they end."""
    return decode_properties(bytes(buf[offset:])), len(buf)


#: How the properties of a class are decoded; there is one class with properties.
PROPERTY_CLASSES = {Basic.CLASS_ID: decode_properties_basic}


class GenericContent:
    """A message that is put together frame by frame.

    Attributes:
        frame_method, frame_args: the method that brought it, and its encoded arguments.
        properties: readable as attributes too.
        body_size, body_received, ready: how far it is.
    """

    CLASS_ID: int | None = None
    PROPERTIES: list[tuple[str, str]] = [("dummy", "s")]  # noqa: RUF012  py-amqp's type

    __slots__ = (
        "__dict__",
        "__weakref__",
        "body_received",
        "body_size",
        "frame_args",
        "frame_method",
        "properties",
        "ready",
    )

    def __init__(self, frame_method: Any = None, frame_args: Any = None, **props: Any) -> None:
        self.frame_method = frame_method
        self.frame_args = frame_args
        self.properties: dict[str, Any] = props
        self.body_received = 0
        self.body_size = 0
        self.ready = False

    def __getattr__(self, name: str) -> Any:
        if name != "properties" and not name.startswith("__"):
            try:
                return self.properties[name]
            except KeyError:
                pass
        raise AttributeError(name)

    def _load_properties(self, class_id: int, buf: bytes, offset: int) -> int:
        """Take the properties that stand at `offset`; where they end."""
        self.properties, offset = PROPERTY_CLASSES[class_id](buf, offset)
        return offset

    def _serialize_properties(self) -> bytes:
        """The properties as they stand in a content header."""
        return encode_properties(self.properties)

    def inbound_header(self, buf: bytes, offset: int = 0) -> int:
        """The payload of a header frame has come; where its properties begin."""
        class_id, self.body_size = struct.unpack_from(">HxxQ", buf, offset)
        offset += 12
        self._load_properties(class_id, buf, offset)
        self.ready = not self.body_size
        return offset

    def inbound_body(self, buf: Any) -> None:
        """The payload of a body frame has come."""
        chunks = self.__dict__.setdefault("_pending_chunks", [])
        chunks.append(buf)
        self.body_received += len(buf)
        if self.body_received >= self.body_size:
            del self._pending_chunks
            self.body = chunks[0] if len(chunks) == 1 else b"".join(chunks)
            self.ready = True
