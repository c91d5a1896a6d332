"""Turns the declarations of methods.py into code.

A method is declared as a class whose annotations are its fields, in the order of the wire. From
these the metaclass writes, once, at import, the source of a constructor, an encoder and a
decoder, and compiles it. The generated code has no loop over fields: neighbouring fields of a
fixed size (the length octet of a short string among them) are one `struct` call, and consecutive
bits share one octet (specification 4.2.5.2).

The generated code does not look for the culprit when it fails: a second, slow walk over the
fields (`_explain_...`) does, and finds its name and its offset.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from itertools import groupby
from typing import Any, ClassVar, Final, TypeAlias, dataclass_transform

from ..exceptions import DecodeError, EncodeError
from .constants import FRAME_HEADER_SIZE, ReplyCode
from .faults import is_own
from .table import encode_shortstr, encode_table, read_table

__all__ = [
    "DECODE_FAILURES",
    "METHODS",
    "Bit",
    "Long",
    "LongLong",
    "LongStr",
    "Method",
    "Octet",
    "Secret",
    "Short",
    "ShortStr",
    "Table",
    "decode_method",
    "decode_method_at",
    "encode_method",
    "malformed_text",
]

Bit: TypeAlias = bool
Octet: TypeAlias = int
Short: TypeAlias = int
Long: TypeAlias = int
LongLong: TypeAlias = int
ShortStr: TypeAlias = str
LongStr: TypeAlias = bytes
#: A long string that no repr shows.
Secret: TypeAlias = bytes
Table: TypeAlias = Mapping[str, object]

#: Every method, by `class_id << 16 | method_id`: the first four bytes of its payload.
METHODS: Final[dict[int, type[Method]]] = {}

_INTEGERS: Final = {"Octet": "B", "Short": "H", "Long": "I", "LongLong": "Q"}
_LENGTHS: Final = {"ShortStr": "B", "LongStr": "I", "Secret": "I"}
_ZERO: Final[dict[str, Any]] = {
    "Bit": False,
    "ShortStr": "",
    "LongStr": b"",
    "Secret": b"",
    "Table": None,
} | dict.fromkeys(_INTEGERS, 0)


class _MethodType(type):
    """Collects the fields of a declaration and compiles them."""

    _layout: tuple[tuple[str, str, bool], ...]

    def __new__(
        mcls,
        class_name: str,
        bases: tuple[type, ...],
        namespace: dict[str, Any],
        index: tuple[int, int] = (0, 0),
        replies: tuple[type[Method], ...] = (),
        has_content: bool = False,
    ) -> _MethodType:
        if not bases:
            return super().__new__(mcls, class_name, bases, namespace)
        # (name, wire type, whether it is an attribute), reserved fields included
        layout = []
        defaults = {}
        for field, annotation in namespace.get("__annotations__", {}).items():
            kind = annotation.removeprefix("ClassVar[").removesuffix("]")
            layout.append((field, kind, kind == annotation))
            default = namespace.pop(field, _ZERO[kind])
            defaults[field] = None if kind == "Table" else default  # None: a new dict each time
        fields = tuple(field for field, _, visible in layout if visible)
        key = index[0] << 16 | index[1]
        namespace |= {
            "__slots__": fields,
            "_layout": tuple(layout),
            "fields": fields,
            "key": key,
            "replies": replies,
            "has_content": has_content,
            "has_nowait": "nowait" in fields,
            "texts": tuple(
                field for field, kind, visible in layout if visible and kind == "ShortStr"
            ),
            "name": _wire_name(class_name),
        }
        for attribute, value in zip(("class_id", "method_id"), index, strict=True):
            if attribute not in fields:
                namespace[attribute] = value
        namespace |= _compile(class_name, key, layout, defaults)
        cls = super().__new__(mcls, class_name, bases, namespace)
        METHODS[key] = cls  # type: ignore[assignment]
        return cls


def _wire_name(class_name: str) -> str:
    """`queue.declare-ok` for `QueueDeclareOk`."""
    words = "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in class_name)
    first, *rest = words.split()
    return f"{first}.{'-'.join(rest)}"


@dataclass_transform()
class Method(metaclass=_MethodType):
    """What every AMQP method has.

    Attributes:
        channel: where it was received; 0 for one that was made here.
        name: as in the specification, `"queue.declare"`.
        key: `class_id << 16 | method_id`, the key in `METHODS`.
        class_id, method_id: its numbers. The two close methods have fields of these names, so
            on their instances these are the numbers of the method that the peer blames.
        fields: the names of its fields, without the reserved ones.
        replies: the methods that answer it; empty where nothing does.
        has_content: whether a content header and a body follow.
        has_nowait: whether one of the fields is `nowait`.
        texts: the names of the fields that are short strings.
    """

    __slots__ = ("channel",)

    channel: int
    name: ClassVar[str] = ""
    key: ClassVar[int] = 0
    class_id: int
    method_id: int
    fields: ClassVar[tuple[str, ...]] = ()
    replies: ClassVar[tuple[type[Method], ...]] = ()
    has_content: ClassVar[bool] = False
    has_nowait: ClassVar[bool] = False
    texts: ClassVar[tuple[str, ...]] = ()
    _layout: ClassVar[tuple[tuple[str, str, bool], ...]] = ()

    def encode(self, channel: int, errors: str = "surrogateescape") -> bytes:
        """One whole frame, with its end.

        Args:
            errors: of `str.encode`, for the short strings.

        Raises:
            EncodeError: names the method and the field.
            UnicodeEncodeError: where `errors` is `strict`.
        """
        raise NotImplementedError

    @staticmethod
    def _decode(data: bytes, pos: int, end: int, channel: int) -> Method:
        raise NotImplementedError

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        return all(getattr(self, name) == getattr(other, name) for name in self.fields)

    __hash__ = None  # type: ignore[assignment]  # tables are mutable

    def __repr__(self) -> str:
        secret = {field for field, kind, _ in self._layout if kind == "Secret"}
        values = (
            f"{name}={'<hidden>' if name in secret else repr(getattr(self, name))}"
            for name in self.fields
        )
        return f"{type(self).__name__}({', '.join(values)})"


# -- the compiler -------------------------------------------------------------------------------

# A step of the generated code: ("run", [(struct code, what)...]), ("bytes", field), where `what`
# is a field of a fixed size, ("length", field) or ("bits", [fields]).
_Layout: TypeAlias = list[tuple[str, str, bool]]


def _steps(layout: _Layout) -> Iterator[tuple[str, Any]]:
    """The layout as runs of fixed size, each followed by what has a length of its own."""
    run: list[tuple[str, str, Any]] = []
    for is_bit, group in groupby(layout, lambda entry: entry[1] == "Bit"):
        entries = list(group)
        if is_bit:
            for start in range(0, len(entries), 8):
                run.append(("B", "bits", entries[start : start + 8]))
            continue
        for entry in entries:
            kind = entry[1]
            if kind in _INTEGERS:
                run.append((_INTEGERS[kind], "integer", entry))
                continue
            if kind in _LENGTHS:
                run.append((_LENGTHS[kind], "length", entry))
            yield "run", run
            run = []
            yield ("table" if kind == "Table" else "string"), entry
    yield "run", run


_EMPTY_TABLE: Final = r'b"\0\0\0\0"'
_OCTETS: Final = tuple(bytes([value]) for value in range(256))


def _compile(
    class_name: str, key: int, layout: _Layout, defaults: dict[str, Any]
) -> dict[str, Any]:
    """`__init__`, `encode` and `_decode` of a method."""
    scope: dict[str, Any] = {
        "__name__": __name__,
        "new": object.__new__,
        "methods": METHODS,
        "read_table": read_table,
        "encode_table": encode_table,
        "explain": _explain_encode,
        "failures": _ENCODE_FAILURES,
        "overrun": _Overrun,
        "octets": _OCTETS,
    }
    visible = [field for field, _, is_visible in layout if is_visible]
    scope |= {f"default_{field}": defaults[field] for field in visible}
    source = [
        *_write_init(layout, visible),
        *_write_encode(key, layout, scope),
        *_write_decode(key, layout, scope),
    ]
    exec(compile("\n".join(source), f"<generated for {class_name}>", "exec"), scope)
    return {
        "__init__": scope["__init__"],
        "encode": scope["encode"],
        "_decode": staticmethod(scope["_decode"]),
    }


def _write_init(layout: _Layout, visible: list[str]) -> Iterator[str]:
    kinds = {field: kind for field, kind, _ in layout}
    arguments = "".join(f", {field}=default_{field}" for field in visible)
    yield f"def __init__(self{arguments}):"
    yield "    self.channel = 0"
    for field in visible:
        empty = f"{{}} if {field} is None else " if kinds[field] == "Table" else ""
        yield f"    self.{field} = {empty}{field}"


def _write_encode(key: int, layout: _Layout, scope: dict[str, Any]) -> Iterator[str]:
    yield 'def encode(self, channel, errors="surrogateescape"):'
    yield "    try:"
    size = 4
    sizes = []
    parts = []
    codes = "BHII"
    values = ["1", "channel", "SIZE", str(key)]
    count = 0
    in_range = False  # whether the value of a single octet needs no check

    def pack() -> str:
        nonlocal count
        if codes == "B" and in_range:  # half the time of a struct
            return f"octets[{values[0]}]"
        count += 1
        scope[f"pack{count}"] = struct.Struct(">" + codes).pack
        return f"pack{count}({', '.join(values)})"

    for step, content in _steps(layout):
        if step == "run":
            for code, what, entry in content:
                codes += code
                size += struct.calcsize(">" + code)
                in_range = False
                if what == "bits":
                    bits = (
                        f"({1 << shift} if self.{field} else 0)"
                        for shift, (field, _, is_visible) in enumerate(entry)
                        if is_visible
                    )
                    values.append(" | ".join(bits) or "0")
                    in_range = True
                    continue
                elif not entry[2]:
                    values.append("0")
                elif what == "length":
                    values.append(f"len(v_{entry[0]})")
                else:
                    values.append(f"self.{entry[0]}")
            continue
        if values:
            parts.append(pack())
            codes, values, in_range = "", [], True
        field, kind, is_visible = content
        if not is_visible:
            if kind == "Table":
                size += 4
                parts.append(_EMPTY_TABLE)
            continue
        if kind == "ShortStr":
            yield f'        v_{field} = self.{field}.encode("utf-8", errors)'
        elif kind == "Table":
            yield f"        v_{field} = self.{field}"
            empty = f"v_{field}.__class__ is dict and not v_{field}"
            table = f"encode_table(v_{field}, name={field!r})"
            yield f"        v_{field} = {_EMPTY_TABLE} if {empty} else {table}"
        else:
            yield f"        v_{field} = self.{field}"
        parts.append(f"v_{field}")
        sizes.append(f"len(v_{field})")
    codes += "B"
    values.append("206")
    parts.append(pack())
    total = " + ".join([str(size), *sizes])
    frame = parts[0] if len(parts) == 1 else f'b"".join(({", ".join(parts)}))'
    yield f"        return {frame.replace('SIZE', total)}"
    yield "    except failures as error:"
    yield "        explain(self, channel, error)"
    yield "        raise"


def _write_decode(key: int, layout: _Layout, scope: dict[str, Any]) -> Iterator[str]:
    yield "def _decode(data, pos, end, channel):"
    yield f"    self = new(methods[{key}])"
    yield "    self.channel = channel"
    count = 0
    # `ahead` is how far the reader stands past `pos`: kept apart to save additions.
    ahead = 0
    for step, content in _steps(layout):
        if step == "run":
            if not content:
                continue
            codes = "".join(code for code, _, _ in content)
            targets = []
            after = []
            for _, what, entry in content:
                if what == "bits":
                    targets.append("bits")
                    after += [
                        f"self.{field} = bits & {1 << shift} != 0"
                        for shift, (field, _, is_visible) in enumerate(entry)
                        if is_visible
                    ]
                elif what == "length":
                    targets.append("size")
                else:
                    targets.append(f"self.{entry[0]}" if entry[2] else "_")
            count += 1
            scope[f"unpack{count}"] = struct.Struct(">" + codes).unpack_from
            place = f"pos + {ahead}" if ahead else "pos"
            yield f"    {', '.join(targets)}, = unpack{count}(data, {place})"
            for line in after:
                yield f"    {line}"
            ahead += struct.calcsize(">" + codes)
            continue
        field, kind, is_visible = content
        if kind == "Table":
            target = f"self.{field}" if is_visible else "_"
            if ahead:
                yield f"    pos += {ahead}"
            yield f"    {target}, pos = read_table(data, pos, end)"
            ahead = 0
            continue
        yield f"    pos += {ahead}"
        yield "    stop = pos + size"
        if is_visible:
            piece = "data[pos:stop]"
            if kind == "ShortStr":
                piece = f'str({piece}, "utf-8", "surrogateescape")'
            yield f"    self.{field} = {piece}"
        yield "    pos = stop"
        ahead = 0
    yield f"    if pos + {ahead} != end:"
    yield "        raise overrun"
    yield "    return self"


class _Overrun(Exception):
    """The fields and the payload do not end at the same place."""


DECODE_FAILURES: Final = (struct.error, IndexError, _Overrun, DecodeError)  # of `_decode`
_ENCODE_FAILURES: Final = (struct.error, AttributeError, TypeError, ValueError, OverflowError)
_RANGES: Final = {"Octet": 0xFF, "Short": 0xFFFF, "Long": 0xFFFFFFFF, "LongLong": (1 << 64) - 1}


def _explain_encode(method: Method, channel: int, error: Exception) -> None:
    """Raise the EncodeError for the field that cannot be encoded."""
    if isinstance(error, EncodeError):
        raise EncodeError(f"{method.name}: {error}") from None
    if not isinstance(channel, int) or not 0 <= channel <= 0xFFFF:
        raise EncodeError(f"{method.name}: channel {channel!r} is not in 0 to 65535") from None
    for field, kind, visible in method._layout:
        if not visible:
            continue
        value = getattr(method, field)
        words = None
        if kind in _RANGES:
            if not isinstance(value, int):
                words = f"expected int, not {type(value).__name__}"
            elif not 0 <= value <= _RANGES[kind]:
                words = f"{value} is not in 0 to {_RANGES[kind]}"
        elif kind == "ShortStr":
            try:
                encode_shortstr(value)
            except (TypeError, ValueError) as wrong:
                words = str(wrong)
        elif kind in _LENGTHS and not isinstance(value, bytes):
            words = f"expected bytes, not {type(value).__name__}"
        if words is not None:
            raise EncodeError(f"{method.name}: {field}: {words}") from None


def malformed_text(method: Method) -> str | None:
    """The first field of a method whose text UTF-8 does not hold (surrogate escapes)."""
    for name in method.texts:
        value = getattr(method, name)
        if isinstance(value, str) and not value.isascii():
            try:
                value.encode()
            except UnicodeEncodeError:
                return name
    return None


def encode_method(method: Method, channel: int, frame_max: int) -> bytes:
    """As `Method.encode`, for a broker, which takes no text but UTF-8 and no longer frame.

    Args:
        frame_max: the largest whole frame, in bytes; 0 for no limit.

    Raises:
        EncodeError: also for a text with surrogate escapes, for which RabbitMQ would close the
            connection (501), and for more than a frame holds.
    """
    try:
        frame = method.encode(channel, "strict")
    except (EncodeError, UnicodeEncodeError):
        name = malformed_text(method)
        if name is None:
            raise
        raise EncodeError(f"{method.name}: {name} is not a text that UTF-8 can hold") from None
    if len(frame) > frame_max > 0:
        raise EncodeError(
            f"{method.name}: its frame has {len(frame)} bytes, of which {frame_max} are allowed"
        )
    return frame


# -- decoding -----------------------------------------------------------------------------------

_unpack_key = struct.Struct(">I").unpack_from


def decode_method(payload: bytes, channel: int) -> Method:
    """Decode the payload of a method frame.

    Raises:
        DecodeError: 540 for a method that is not of AMQP 0-9-1, 501 for one that is malformed;
            its `offset` counts from the start of the frame.
    """
    return decode_method_at(payload, 0, len(payload), channel)


def decode_method_at(data: bytes, pos: int, end: int, channel: int) -> Method:
    """As `decode_method`, for a payload at `data[pos:end]`."""
    if end - pos < 4:
        raise DecodeError(
            f"a method of {end - pos} bytes has no number",
            offset=FRAME_HEADER_SIZE,
            reply_code=ReplyCode.FRAME_ERROR,
            channel=channel,
        )
    key: int = _unpack_key(data, pos)[0]
    cls = METHODS.get(key)
    if cls is None:
        class_id, method_id = key >> 16, key & 0xFFFF
        raise DecodeError(
            f"unknown method {class_id}.{method_id}",
            offset=FRAME_HEADER_SIZE,
            reply_code=ReplyCode.NOT_IMPLEMENTED,
            channel=channel,
            class_id=class_id,
            method_id=method_id,
        )
    try:
        return cls._decode(data, pos + 4, end, channel)
    except DECODE_FAILURES as error:
        if not is_own(error):
            raise
        words, offset = _explain_decode(cls, data, pos + 4, end)
        raise DecodeError(
            f"{cls.name}: {words}",
            offset=offset - pos + FRAME_HEADER_SIZE,
            reply_code=ReplyCode.FRAME_ERROR,
            channel=channel,
            class_id=key >> 16,
            method_id=key & 0xFFFF,
        ) from None


_WIDTHS: Final[dict[str, int]] = {"Octet": 1, "Short": 2, "Long": 4, "LongLong": 8, "Bit": 1}


def _explain_decode(cls: type[Method], data: bytes, pos: int, end: int) -> tuple[str, int]:
    """What is wrong with a malformed method, and the offset in `data` where it is wrong."""
    bits = 0
    for field, kind, _ in cls._layout:
        bits = bits + 1 if kind == "Bit" else 0
        if bits % 8 > 1 or (bits and bits % 8 == 0):
            continue  # in the octet of the bit before it
        start = pos
        if kind == "Table":
            try:
                _, pos = read_table(data, pos, end)
            except DecodeError as error:
                return f"{field}: {error.message}", error.offset or start
        elif kind in _LENGTHS:
            width = 1 if kind == "ShortStr" else 4
            pos += width
            if pos <= end:
                pos += int.from_bytes(data[start:pos], "big")
        else:
            pos += _WIDTHS[kind]
        if pos > end:
            return f"{field} is cut off", start
    return f"{end - pos} bytes too many", pos
