"""Field tables: every tag both ways, the limits, and what malformed ones are told."""

from __future__ import annotations

import contextlib
import struct
from collections import OrderedDict
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType

import pytest
import wire_strategies as strategies
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import examples

from leveret import wire
from leveret.exceptions import DecodeError, EncodeError


def table_of(*parts: bytes) -> bytes:
    body = b"".join(parts)
    return struct.pack(">I", len(body)) + body


TAGS = [
    ("true", True, b"t\x01", True),
    ("false", False, b"t\x00", False),
    ("int", 1, b"I\x00\x00\x00\x01", 1),
    ("int least", -(2**31), b"I\x80\x00\x00\x00", -(2**31)),
    ("int beyond 32 bits", 2**31, b"l\x00\x00\x00\x00\x80\x00\x00\x00", 2**31),
    ("int least of 64", -(2**63), b"l\x80" + bytes(7), -(2**63)),
    ("Int8", wire.Int8(-1), b"b\xff", -1),
    ("UInt8", wire.UInt8(255), b"B\xff", 255),
    ("Int16", wire.Int16(-2), b"s\xff\xfe", -2),
    ("UInt16", wire.UInt16(65535), b"u\xff\xff", 65535),
    ("UInt32", wire.UInt32(2**32 - 1), b"i\xff\xff\xff\xff", 2**32 - 1),
    ("Int64", wire.Int64(1), b"l" + bytes(7) + b"\x01", 1),
    ("Float32", wire.Float32(0.5), b"f\x3f\x00\x00\x00", 0.5),
    ("float", 0.5, b"d\x3f\xe0" + bytes(6), 0.5),
    ("Decimal", Decimal("-1.25"), b"D\x02\xff\xff\xff\x83", Decimal("-1.25")),
    ("Decimal with a positive exponent", Decimal("2E3"), b"D\x00\x00\x00\x07\xd0", Decimal(2000)),
    ("Decimal least", Decimal(-(2**31)), b"D\x00\x80\x00\x00\x00", Decimal(-(2**31))),
    ("str", "é", b"S\x00\x00\x00\x02\xc3\xa9", "é"),
    ("str that was not UTF-8", "\udcff", b"S\x00\x00\x00\x01\xff", b"\xff"),
    ("bytes", b"\x00\xff", b"x\x00\x00\x00\x02\x00\xff", b"\x00\xff"),
    ("bytearray", bytearray(b"a"), b"x\x00\x00\x00\x01a", b"a"),
    ("memoryview", memoryview(b"a"), b"x\x00\x00\x00\x01a", b"a"),
    (
        "datetime",
        datetime(2020, 1, 1, tzinfo=UTC),
        b"T\x00\x00\x00\x00\x5e\x0b\xe1\x00",
        datetime(2020, 1, 1, tzinfo=UTC),
    ),
    ("list", [1, None], b"A\x00\x00\x00\x06I\x00\x00\x00\x01V", [1, None]),
    ("tuple", (None,), b"A\x00\x00\x00\x01V", [None]),
    ("dict", {"a": None}, b"F\x00\x00\x00\x03\x01aV", {"a": None}),
    ("other mapping", MappingProxyType({"a": None}), b"F\x00\x00\x00\x03\x01aV", {"a": None}),
    ("subclass", OrderedDict(), b"F\x00\x00\x00\x00", {}),
    ("enum", IntEnum("E", {"A": 7}).A, b"I\x00\x00\x00\x07", 7),
    ("None", None, b"V", None),
]


@pytest.mark.parametrize(("value", "raw", "back"), [c[1:] for c in TAGS], ids=[c[0] for c in TAGS])
def test_each_tag_is_encoded_as_rabbitmq_reads_it_and_decoded_back(value, raw, back):
    encoded = wire.encode_table({"k": value})
    assert encoded == table_of(b"\x01k", raw)
    table, offset = wire.decode_table(b"##" + encoded + b"##", 2)
    assert (table, offset) == ({"k": back}, 2 + len(encoded))
    assert type(table["k"]) is type(back)


@pytest.mark.parametrize(
    ("raw", "value"),
    [(b"L" + b"\xff" * 8, -1), (b"U\xff\xfd", -3), (b"L" + bytes(7) + b"\x07", 7)],
)
def test_tags_that_only_others_send_are_decoded(raw, value):
    """py-amqp sends large ints as `L`, and RabbitMQ 3.10 passes message headers on as they are."""
    assert wire.decode_table(table_of(b"\x01k", raw))[0] == {"k": value}


def test_one_value_is_decoded_from_its_tag():
    assert wire.decode_value(b"##A\x00\x00\x00\x01V##", 2) == ([None], 8)
    for raw in (b"", b"I\x00", b"S\x00\x00", b"A\x00\x00\x00\x02t"):
        with pytest.raises(DecodeError):
            wire.decode_value(b"##" + raw, 2)


@examples
@given(strategies.tables)
def test_tables_survive_the_round_trip(table):
    encoded = wire.encode_table(table)
    decoded, offset = wire.decode_table(encoded)
    assert offset == len(encoded)
    # A str that cannot be UTF-8 comes back as bytes; text() makes none.
    assert decoded == table
    assert wire.encode_table(decoded) == encoded


@pytest.mark.parametrize("seconds", [253402300800, 1_700_000_000_000, 2**64 - 1])
def test_a_timestamp_beyond_the_year_9999_does_not_make_a_table_unreadable(seconds):
    table, _ = wire.decode_table(table_of(b"\x01k", b"T", struct.pack(">Q", seconds)))
    assert table["k"] == datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_a_boolean_is_true_for_any_octet_but_zero():
    assert wire.decode_table(table_of(b"\x01kt\x02"))[0] == {"k": True}


def nested(depth: int) -> dict[str, object]:
    table: dict[str, object] = {}
    for level in range(depth - 1):
        table = {"k": [table]} if level % 2 else {"k": table}
    return table


def endless() -> dict[str, object]:
    table: dict[str, object] = {}
    table["k"] = table
    return table


UNENCODABLE = [
    ({"a": [1, 2, 3, object()]}, "t['a'][3]: no field type for object"),
    ({"a": {"b": 2**63}}, "t['a']['b']: 9223372036854775808 does not fit 64 signed bits"),
    ({"a": wire.Int8(200)}, "t['a']: 200 does not fit Int8"),
    ({"a": [wire.UInt16(-1)]}, "t['a'][0]: -1 does not fit UInt16"),
    ({"a": wire.Float32(1e300)}, "t['a']: 1e+300 does not fit Float32"),
    ({"a": Decimal("NaN")}, "t['a']: NaN is not a finite number"),
    ({"a": Decimal(2**31)}, "t['a']: 2147483648 has more digits than 32 signed bits hold"),
    ({"a": Decimal("1E-256")}, "t['a']: 1E-256 has 256 places, a decimal holds 255"),
    ({"a": Decimal("1E999999")}, "t['a']: 1E+999999 has more digits than 32 signed bits hold"),
    ({"a": datetime(2020, 1, 1)}, "t['a']: a datetime needs a time zone"),
    ({"a": datetime(1969, 1, 1, tzinfo=UTC)}, "t['a']: 1969-01-01T00:00:00+00:00 is before 1970"),
    ({"k" * 256: 1}, f"t: key '{'k' * 256}': 256 bytes, a short string holds 255"),
    ({1: 1}, "t: key 1: expected str, not int"),
    ({"a": {1: 1}}, "t['a']: key 1: expected str, not int"),
    ([1], "t: expected a mapping, not list"),
    ([], "t: expected a mapping, not list"),
]


@pytest.mark.parametrize(("table", "words"), UNENCODABLE)
def test_what_has_no_encoding_is_named_by_its_path(table, words):
    with pytest.raises(EncodeError) as caught:
        wire.encode_table(table, name="t")
    assert str(caught.value) == words


def test_a_lone_surrogate_has_no_encoding():
    with pytest.raises(EncodeError, match=r"t\['a'\]: .*surrogates"):
        wire.encode_table({"a": "\ud800"}, name="t")


def test_depth_is_limited_in_both_directions():
    deepest = nested(wire.MAX_DEPTH // 2)
    assert wire.decode_table(wire.encode_table(deepest))[0] == deepest
    with pytest.raises(EncodeError, match="nested too deeply"):
        wire.encode_table(endless())
    flat = b""
    for _ in range(wire.MAX_DEPTH - 1):
        flat = b"\x01kF" + table_of(flat)
    wire.decode_table(table_of(flat))
    with pytest.raises(DecodeError, match="nested too deeply"):
        wire.decode_table(table_of(b"\x01kF", table_of(flat)))


def test_a_bomb_of_a_million_levels_is_an_error_and_not_a_crash():
    bomb = b"A\x00\x0f\xff\xff" * 200_000
    with pytest.raises(DecodeError):
        wire.decode_table(table_of(b"\x01k", bomb))


MALFORMED = [
    ("no length", b"\0\0\0", 0, "the length of a table is cut off"),
    ("length past the end", b"\0\0\0\x09\x01kV", 0, "a table of 9 bytes, where 3 are left"),
    ("huge length", b"\xff\xff\xff\xff", 0, "a table of 4294967295 bytes, where 0 are left"),
    ("key past the end", table_of(b"\x05kV"), 4, "a key reaches past the end of its table"),
    ("key without value", table_of(b"\x01k"), 4, "a key reaches past the end of its table"),
    ("unknown tag", table_of(b"\x01kz"), 6, "unknown field type b'z'"),
    ("int cut off", table_of(b"\x01kI\0\0\0"), 6, "a value of type 'I' is cut off"),
    ("bool cut off", table_of(b"\x01kt"), 6, "a value of type 't' is cut off"),
    ("timestamp cut off", table_of(b"\x01kT\0\0\0"), 6, "a value of type 'T' is cut off"),
    ("decimal cut off", table_of(b"\x01kD\0\0\0"), 6, "a value of type 'D' is cut off"),
    ("string length cut off", table_of(b"\x01kS\0\0"), 6, "the length of a string is cut off"),
    ("string cut off", table_of(b"\x01kS\0\0\0\5ab"), 6, "a string of 5 bytes, where 2 are left"),
    ("bytes cut off", table_of(b"\x01kx\0\0\0\5ab"), 6, "a string of 5 bytes, where 2 are left"),
    ("array past its table", table_of(b"\x01kA\0\0\0\5V"), 7, "an array of 5 bytes, where 1 are"),
    ("table past its table", table_of(b"\x01kF\0\0\0\5V"), 7, "a table of 5 bytes, where 1 are"),
    ("int past its array", table_of(b"\x01kA\0\0\0\3I\0\0\0\0"), 11, "a value of type 'I' is cut"),
]


@pytest.mark.parametrize("tail", [b"", bytes(16)], ids=["at the end", "before other bytes"])
@pytest.mark.parametrize(
    ("raw", "offset", "words"), [c[1:] for c in MALFORMED], ids=[c[0] for c in MALFORMED]
)
def test_malformed_tables_say_what_and_where(raw, offset, words, tail):
    if raw in (MALFORMED[0][1], MALFORMED[1][1]):
        tail = b""  # more bytes would make these right
    with pytest.raises(DecodeError) as caught:
        wire.decode_table(b"##" + raw + tail, 2)
    assert caught.value.offset == offset
    if tail == b"":
        assert caught.value.message.startswith(words)


@examples
@given(st.binary(max_size=60))
def test_random_bytes_are_a_table_or_a_decode_error(raw):
    for data in (raw, table_of(raw), table_of(b"\x01k", raw)):
        error = None
        try:
            table, offset = wire.decode_table(data)
        except DecodeError as caught:
            error = caught
        if error is None:
            assert offset <= len(data)
            assert isinstance(table, dict)
        else:
            assert 0 <= error.offset <= len(data)


ORDINARY = frozenset({int, bool, type(None)})


@pytest.mark.parametrize(
    "table",
    [
        {},
        {"a": 1, "b": True, "c": None, "d": "text", "": ""},
        {"list": [1, "text", None, [], {"in": [True]}], "table": {"in": {"in": 1}}},
    ],
    ids=str,
)
def test_plain_tables(table):
    assert wire.is_plain_table(table, ORDINARY)


@pytest.mark.parametrize(
    "table",
    [
        None,
        [],
        OrderedDict(a=1),
        {"\u00e4": 1},
        {b"a": 1},
        {1: 1},
        {"a": "\u00e4"},
        {"a": b""},
        {"a": 1.0},
        {"a": (1,)},
        {"a": IntEnum("Kind", "ONE").ONE},
        {"a": [1, ["\ud800"]]},
        {"a": {"b": {"c": 1.0}}},
    ],
    ids=ascii,
)
def test_tables_that_are_not_plain(table):
    assert not wire.is_plain_table(table, ORDINARY)


def test_a_table_that_is_too_deep_is_not_plain():
    assert wire.is_plain_table({"a": {"b": 1}}, ORDINARY, 2)
    assert not wire.is_plain_table({"a": {"b": 1}}, ORDINARY, 1)
    assert not wire.is_plain_table({"a": [1]}, ORDINARY, 1)
    itself = {}
    itself["self"] = itself
    assert not wire.is_plain_table(itself, ORDINARY)


def test_a_class_with_a_hash_of_its_own_is_asked_for_it():
    class Odd(type):
        def __hash__(cls):
            table.clear()
            return 1

    class Value(metaclass=Odd):
        pass

    table = {"a": Value(), "b": 1}
    with contextlib.suppress(RuntimeError):  # the dict changes while it is looked at
        assert not wire.is_plain_table(table, ORDINARY)
