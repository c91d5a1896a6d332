"""The compiled codec and the one in Python, side by side: the same values, bytes and errors."""

from __future__ import annotations

import gc
import random
import struct
import sys
import tracemalloc
from abc import ABC
from datetime import UTC, datetime
from decimal import Decimal
from enum import IntEnum
from types import MappingProxyType

import pytest
import wire_strategies as strategies
from fuzz_wire import outcome
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import channels, examples, shortstrs

from leveret import wire
from leveret.client.delivery import Delivery
from leveret.exceptions import DecodeError
from leveret.wire import pure
from leveret.wire import table as tables

compiled = pytest.importorskip(
    "leveret.wire._speedups", reason="the compiled codec was not built", exc_type=ImportError
)

FRAME_MAX = 4096
LIMIT = FRAME_MAX - 8
PROPS = wire.Properties(delivery_mode=2).encode()
HEADERS = {"a": [1, 2**40, 0.5, None, True], "b": {"c": "d", "e": b"f"}, "é": "\udcff"}
WHEN = datetime(2020, 1, 1, tzinfo=UTC)
FULL = wire.Properties(type="t", headers=HEADERS, priority=1, timestamp=WHEN)


@pytest.fixture(scope="module", autouse=True)
def codec() -> None:
    """Here both are called by name."""


def same(name: str, /, *arguments: object, **named: object) -> object:
    one = outcome(getattr(pure, name), *arguments, **named)
    other = outcome(getattr(compiled, name), *arguments, **named)
    assert one == other
    return one


def test_they_have_the_same_names_and_no_others():
    assert sorted(compiled.__all__) == sorted(pure.__all__)
    functions = {
        name
        for name, value in vars(compiled).items()
        if type(value) is type(compiled.decode_frames) and not name.startswith("_")
    }
    assert functions <= set(pure.__all__)
    for name in pure.__all__:
        assert callable(getattr(compiled, name))


# -- decoding -----------------------------------------------------------------------------------


def joined(encoded: wire.Encoded) -> bytes:
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


bodies = st.sampled_from([0, 1, 100, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT + 5]).map(
    lambda size: (bytes(range(256)) * (size // 256 + 1))[:size]
)
tags = st.integers(0, 2**64 - 1)
bits = st.booleans()
ends = [shortstrs, shortstrs, st.sampled_from([PROPS, FULL.encode()]), bodies]
longs = st.integers(0, 2**32 - 1)
limits = st.sampled_from([FRAME_MAX, FRAME_MAX, 0, 8192])
messages = st.one_of(
    st.tuples(st.just("encode_publish"), channels, *ends[:2], bits, bits, *ends[2:], limits),
    st.tuples(st.just("encode_deliver"), channels, shortstrs, tags, bits, *ends, limits),
    st.tuples(st.just("encode_get_ok"), channels, tags, bits, *ends[:2], longs, *ends[2:], limits),
    st.tuples(st.just("encode_return"), channels, st.integers(0, 65535), shortstrs, *ends, limits),
)
encoded_messages = messages.map(lambda call: joined(getattr(pure, call[0])(*call[1:])))
pieces = st.one_of(
    encoded_messages,
    encoded_messages,
    st.builds(lambda method, channel: method.encode(channel), strategies.methods, channels),
    st.builds(pure.encode_ack, channels, tags, bits),
    st.just(wire.HEARTBEAT_FRAME),
    st.just(frame(2, 1, struct.pack(">HHQ", 60, 0, 5) + b"\0\0")),
    st.just(frame(3, 1, bytes(range(200)) * 20)),
    st.just(frame(3, 1, b"")),
    st.just(frame(8, 1, b"x")),
    st.just(frame(7, 1, b"x")),
)
faults_of = st.sampled_from(["set", "flip", "cut", "del", "ins"])
damage = st.lists(st.tuples(st.floats(0, 0.999), faults_of, st.integers(0, 255)), max_size=3)


def damaged(data: bytes, faults: list[tuple[float, str, int]]) -> bytes:
    result = bytearray(data)
    for where, what, octet in faults:
        at = int(where * len(result))
        if what == "set":
            result[at : at + 1] = bytes((octet,))
        elif what == "flip" and at < len(result):
            result[at] ^= 1 << octet % 8
        elif what == "cut":
            del result[at:]
        elif what == "del":
            del result[at : at + 1 + octet % 9]
        elif what == "ins":
            result[at:at] = bytes((octet,)) * (1 + octet % 9)
    return bytes(result)


@examples
@given(st.lists(pieces, max_size=6), damage, limits, st.integers(0, 9))
def test_streams_good_and_damaged(parts, faults, frame_max, before):
    data = bytes(before) + damaged(b"".join(parts), faults)
    offset = before
    while offset < len(data):
        result = same("decode_frames", data, offset, frame_max)
        if result[0] is not tuple:
            return
        _, offset, needed = pure.decode_frames(data, offset, frame_max)
        if needed:
            return


@examples
@given(strategies.methods, channels, st.just(b"") | pieces, damage, limits)
def test_what_may_be_only_one_method(method, channel, rest, faults, frame_max):
    data = method.encode(channel)
    for each in (data, data + rest, damaged(data, faults)):
        found = same("decode_only", each, frame_max)
        try:
            items, position, _ = pure.decode_frames(each, 0, frame_max)
        except DecodeError:
            items, position = [], 0
        only = items[0] if len(items) == 1 and position == len(each) else None
        expected = only if isinstance(only, wire.Method) else None
        assert found == outcome(lambda value: value, expected)


@examples
@given(st.binary(max_size=90), st.integers(0, 100))
def test_random_bytes(raw, offset):
    same("decode_frames", raw, offset, FRAME_MAX)
    same("decode_table", raw, offset)
    same("decode_properties", raw, offset)
    for key in (40, 50, 60, 71, 80):
        same("decode_frames", frame(1, 1, struct.pack(">HH", 60, key) + raw), 0, FRAME_MAX)


@examples
@given(encoded_messages)
def test_every_place_where_a_message_can_be_cut(data):
    step = 1 + len(data) // 200
    for size in range(0, len(data), step):
        same("decode_frames", data[:size], 0, FRAME_MAX)
        same("decode_only", data[:size], FRAME_MAX)


@examples
@given(encoded_messages, st.integers(1, 12), st.integers(0, 2**64 - 1))
def test_sizes_of_every_kind_of_lie(data, width, lie):
    """Numbers of the stream replaced by any others: nothing is read that is not there."""
    for at in range(min(len(data), 120)):
        octets = lie.to_bytes(8, "big")[: min(width, 8)]
        same("decode_frames", data[:at] + octets + data[at + len(octets) :], 0, 0)
        same("decode_only", data[:at] + octets + data[at + len(octets) :], 0)


@examples
@given(strategies.tables, damage)
def test_tables(table, faults):
    same("encode_table", table)
    raw = damaged(pure.encode_table(table), faults)
    same("decode_table", raw)
    same("decode_table", b"###" + raw, 3)
    for kinds in (frozenset(), frozenset({int, bool, float, type(None), str, datetime})):
        same("is_plain_table", table, kinds)


@examples
@given(strategies.properties, damage)
def test_properties(properties, faults):
    for mode in (None, 1, properties.delivery_mode):
        same("encode_properties", properties, mode)
    raw = damaged(pure.encode_properties(properties, None), faults)
    same("decode_properties", raw, 0)
    same("decode_properties", b"###" + raw, 3)


@pytest.mark.parametrize("size", [0, 1, 2, 3, 4, 5, 7, 8, 9, 20])
def test_every_tag_with_values_of_every_size(size):
    for tag in range(256):
        for fill in (0, 1, 0x7F, 0x80, 0xFF):
            value = bytes((tag,)) + bytes((fill,)) * size
            array = b"A" + struct.pack(">I", len(value)) + value
            for entry in (b"\1k" + value, b"\1k" + array):
                same("decode_table", struct.pack(">I", len(entry)) + entry)


@pytest.mark.parametrize("inner", [b"\1k", b"\1kA\0\0\0\1", b"\1kF\0\0\0\2\1k", b"\1kx", b"\0"])
def test_what_follows_a_table_is_not_taken_for_its_value(inner):
    for octet in range(256):
        after = bytes((octet,)) + bytes(20)
        same("decode_table", struct.pack(">I", len(inner)) + inner + after)
        same("decode_properties", b"\x20\0" + struct.pack(">I", len(inner)) + inner + after, 0)


@pytest.mark.parametrize("max_depth", [0, 1, 5, 32, 33, 256, 257, 1000, -1, 2**70, None, 1.5, True])
def test_depths(max_depth):
    for leaf in ({}, [], (), 1):
        table: object = leaf
        for level in range(40):
            if level < 20:
                raw = pure.encode_table({"t": table})
                same("decode_table", raw, max_depth=max_depth)
            same("encode_table", {"t": table}, name="x", max_depth=max_depth)
            same("is_plain_table", {"t": table}, frozenset({int}), max_depth)
            table = [table] if level % 2 else {"k": table}


@pytest.mark.parametrize("frame_max", [0, 4096, 4097, 5000, 8192, 131072])
@pytest.mark.parametrize("limit", [0, 4096, 4097, 5000, 8192, 131072])
def test_frames_of_a_body_against_another_limit(frame_max, limit):
    for size in (8300, 20_000):
        data = joined(pure.encode_publish(1, "e", "k", True, False, PROPS, bytes(size), frame_max))
        same("decode_frames", data, 0, limit)
        for at in range(0, len(data), 997):
            same("decode_frames", data[:at], 0, limit)
            same("decode_frames", data[:at] + b"\xce" + data[at + 1 :], 0, limit)


@pytest.mark.parametrize(
    "arguments",
    [
        (bytearray(wire.HEARTBEAT_FRAME), 0, FRAME_MAX),
        (memoryview(wire.HEARTBEAT_FRAME), 0, FRAME_MAX),
        (None, 0, FRAME_MAX),
        ("text", 0, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, -8, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, -1, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, 2**62, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, 2**63, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, True, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, None, FRAME_MAX),
        (wire.HEARTBEAT_FRAME, 0, -1),
        (wire.HEARTBEAT_FRAME, 0, 7),
        (wire.HEARTBEAT_FRAME, 0, 8),
        (wire.HEARTBEAT_FRAME, 0, 2**80),
        (wire.HEARTBEAT_FRAME, 0, None),
        (wire.HEARTBEAT_FRAME, 0, 4096.0),
    ],
)
def test_arguments_that_are_out_of_the_ordinary(arguments):
    same("decode_frames", *arguments)
    same("decode_table", *arguments[:2])
    same("decode_properties", *arguments[:2])


class Counted(wire.Delivery):
    """A class whose constructor does more."""

    __slots__ = ("count",)

    def __init__(self, *arguments: object) -> None:
        super().__init__(*arguments)  # type: ignore[arg-type]
        self.count = len(arguments)


class Upper(wire.Delivery):
    """A class whose attribute is not the slot."""

    __slots__ = ()

    @property
    def exchange(self) -> str:
        return wire.Delivery.exchange.__get__(self).upper()

    @exchange.setter
    def exchange(self, value: str) -> None:
        wire.Delivery.exchange.__set__(self, value + "!")


class Watched(wire.Delivery):
    """A class that sees what is set."""

    def __setattr__(self, name: str, value: object) -> None:
        super().__setattr__(name, (value,) if name == "body" else value)


class More(wire.Delivery):
    """A class with room for more."""

    __slots__ = ("__dict__", "more")


class Registered(wire.Delivery, ABC):
    """A class of another metaclass."""

    __slots__ = ()


class Refusing(wire.Delivery):
    """A class that cannot be made."""

    __slots__ = ()

    def __new__(cls, *arguments: object) -> Refusing:
        raise LookupError("not today")


@pytest.mark.parametrize(
    "kind",
    [Delivery, Counted, Upper, Watched, More, Registered, Refusing, wire.Returned, dict, None, 5],
)
def test_classes_of_deliveries(kind):
    data = pure.encode_deliver(1, "t", 1, True, "e", "k", PROPS, b"x", FRAME_MAX)
    data += pure.encode_get_ok(1, 1, False, "e", "k", 3, PROPS, b"x", FRAME_MAX)
    for _ in range(3):
        same("decode_frames", data, 0, FRAME_MAX, kind)
        same("decode_frames", data, 0, FRAME_MAX)
    if isinstance(kind, type) and issubclass(kind, wire.Delivery) and kind is not Refusing:
        items = compiled.decode_frames(data, 0, FRAME_MAX, kind)[0]
        assert [type(item) for item in items] == [kind, kind]
        assert items[0].exchange == ("E!" if kind is Upper else "e")


# -- encoding -----------------------------------------------------------------------------------


class Text(str):
    """Not quite a str."""

    __slots__ = ()

    def encode(self, *_: object) -> bytes:  # type: ignore[override]
        return b"encoded otherwise"


class Number(IntEnum):
    ONE = 1


class Flag:
    """Neither True nor False."""

    def __bool__(self) -> bool:
        raise ValueError("who knows")


ODD = [
    *(None, True, False, 0, 1, -1, 255, 256, 65535, 65536, 2**31, 2**32, 2**63, 2**64, 2**70, 1.0),
    *("", "x", "é", "x" * 255, "x" * 256, "é" * 127, "é" * 128, "\ud800", "\udcff"),
    *("\udcff" * 255, "\udc80" * 256, Text("x"), b"", b"x", b"x" * 256, Number.ONE, Flag()),
    *(wire.Int64(1), bytearray(b"x"), memoryview(b"xyzzyx")[::2]),
    *(bytes(LIMIT), bytes(65536), bytes(65537), {}, [], (), {"a": 1}, object),
]
odd = st.sampled_from(ODD)


@examples
@given(messages, st.lists(st.tuples(st.integers(0, 9), odd), max_size=2))
def test_messages_with_arguments_of_every_kind(call, changes):
    arguments = list(call[1:])
    for place, value in changes:
        if place < len(arguments):
            arguments[place] = value
    same(call[0], *arguments)


@examples
@given(odd, odd, odd, odd)
def test_settling_with_arguments_of_every_kind(one, two, three, four):
    for arguments in ((one, two, three), (1, two, three), (1, 2, three), (one, 2, True)):
        same("encode_ack", *arguments)
        same("encode_reject", *arguments)
        same("encode_nack", *arguments, four)
        same("encode_nack", *arguments, False)


@examples
@given(strategies.methods, channels, limits)
def test_methods(method, channel, frame_max):
    same("encode_method", method, channel, frame_max)
    same("encode_method", method, channel, len(method.encode(channel)))
    same("encode_method", method, channel, len(method.encode(channel)) - 1)


@pytest.mark.parametrize("kind", wire.METHODS.values())
def test_methods_with_fields_of_every_kind(kind):
    for field in kind.fields:
        method = kind()
        for value in ODD:
            setattr(method, field, value)
            same("encode_method", method, 1, FRAME_MAX)


@pytest.mark.parametrize("value", ODD, ids=lambda value: type(value).__name__)
def test_methods_on_channels_of_every_kind(value):
    same("encode_method", wire.BasicQos(), value, FRAME_MAX)
    same("encode_method", wire.BasicQos(), 1, value)


@pytest.mark.parametrize("kind", wire.METHODS.values())
def test_methods_that_lack_a_field(kind):
    for field in kind.fields:
        method = kind()
        delattr(method, field)
        same("encode_method", method, 1, FRAME_MAX)
    same("encode_method", kind.__new__(kind), 1, FRAME_MAX)


@pytest.mark.parametrize("kind", wire.METHODS.values())
def test_methods_that_end_too_early_or_too_late(kind):
    method = kind()
    for field in kind.texts:
        setattr(method, field, "name")
    payload = method.encode(1)[7:-1]
    for end in range(len(payload)):
        same("decode_frames", frame(1, 1, payload[:end]), 0, FRAME_MAX)
    for more in (b"\0", b"\1", b"\xff" * 9):
        same("decode_frames", frame(1, 1, payload + more), 0, FRAME_MAX)


@pytest.mark.parametrize("value", [None, 5, "text", wire.Heartbeat(1), wire.Method(), object()])
def test_what_is_no_method(value):
    same("encode_method", value, 1, FRAME_MAX)


@pytest.mark.parametrize("size", [65535, 65536, 65537, 131064, 131065, 300_000])
@pytest.mark.parametrize("frame_max", [0, 8, 20, 4096, 65544, 131072, 2**40, 2**70, -1, None])
@pytest.mark.parametrize("raw", [PROPS, b"", bytes(4076), bytes(4077)])
def test_sizes_of_bodies_and_frames(size, frame_max, raw):
    if frame_max and 8 < frame_max < 4096 and size > 65536:
        size = 70_000
    for body in (bytes(size), b"", b"x"):
        same("encode_publish", 1, "e", "k", False, True, raw, body, frame_max)
        same("encode_deliver", 1, "t", 1, False, "e", "k", raw, body, frame_max)
        same("encode_get_ok", 1, 1, False, "e", "k", 0, raw, body, frame_max)


class Changing(dict):  # type: ignore[type-arg]
    """A value that changes the table it stands in."""

    def __init__(self, table: dict[str, object], change: str) -> None:
        self.table = table
        self.change = change

    def items(self):  # type: ignore[no-untyped-def]
        if self.change == "grow":
            self.table.update((f"n{len(self.table)}{number}", number) for number in range(99))
        elif self.change == "clear":
            self.table.clear()
        else:
            self.table["k1"] = "another"
        return {"z": 1}.items()


@pytest.mark.parametrize("change", ["grow", "clear", "replace"])
def test_tables_that_change_while_they_are_encoded(change):
    def table() -> dict[str, object]:
        result: dict[str, object] = {f"k{number}": f"v{number}" * 9 for number in range(3)}
        result["changing"] = Changing(result, change)
        result["last"] = object if change == "clear" else "z" * 99
        return result

    one, other = (outcome(codec.encode_table, table()) for codec in (pure, compiled))
    if change == "clear":  # what it comes to depends on when it is looked at again
        assert one[0] is RuntimeError
        assert other in (one, outcome(pure.encode_table, {}))
    else:
        assert one == other
        assert one[0] is (RuntimeError if change == "grow" else bytes)


class Shrinking:
    """A value without a tag that empties the list it stands in, when it is looked at."""

    def __init__(self, array: list[object]) -> None:
        self.array = array

    @property
    def __class__(self) -> type:  # type: ignore[override]
        self.array.clear()
        return dict


def test_an_array_that_changes_while_it_is_encoded():
    for codec in (pure, compiled):
        array: list[object] = ["x" * 99, 1]
        array += [Shrinking(array), "y" * 99]
        outcome(codec.encode_table, {"a": array})


VALUES = [
    *(None, True, False, 0, -1, 2**31 - 1, 2**31, -(2**31), -(2**31) - 1, 2**63 - 1, 2**63),
    *(-(2**63), -(2**63) - 1, 0.0, -0.0, float("inf"), float("nan"), 1e300),
    *("", "é", "\udcff", "\ud800", Text("x"), b"", b"\xff", bytearray(b"a")),
    memoryview(b"abc")[::2],
    *(wire.Int8(1), wire.UInt8(255), wire.Int16(-2), wire.UInt16(7), wire.UInt32(9), wire.Int64(1)),
    *(wire.Int8(1000), wire.Float32(0.5), wire.Float32(1e300), Number.ONE, Decimal("1.5")),
    *(Decimal("NaN"), Decimal(2**40), WHEN, datetime(2020, 1, 1)),
    *([], [1, "x"], (1,), {}, {"a": {"b": [object]}}, {1: 2}, {"k" * 256: 1}, {"\udcff": 1}),
    *({Text("k"): 1}, MappingProxyType({"a": None}), object, {1, 2}, range(3), "x" * 5000),
]  # fmt: skip


@pytest.mark.parametrize("value", VALUES, ids=lambda value: type(value).__name__)
def test_values_of_every_kind(value):
    same("encode_table", {"k": value}, name="t")
    same("encode_table", {"k": [1, value]})
    same("encode_table", {"a": 1, "k": {"b": value}})
    same("encode_table", value)
    same("encode_properties", wire.Properties(headers=value), None)
    same("encode_properties", wire.Properties(headers={"k": value}), 1)
    same("encode_properties", value, None)
    same("encode_properties", wire.Properties(type="x"), value)
    for name in wire.PROPERTY_NAMES:
        same("encode_properties", wire.Properties(**{name: value}), None)
        same("encode_properties", wire.Properties(**{name: value}), 2)


def test_properties_without_their_slots():
    bare = wire.Properties.__new__(wire.Properties)
    same("encode_properties", bare, None)


# -- no leaks -----------------------------------------------------------------------------------


def everything(chance: random.Random, name: str) -> None:
    """Every function once, with good input and with bad."""
    codec = compiled
    props = codec.encode_properties(FULL, 2)
    data = codec.encode_deliver(1, name, 2**40, True, name, "k", props, b"x" * 99, FRAME_MAX)
    data += codec.encode_get_ok(300, 2**40, True, "e", name, 3, props, b"x" * 99, FRAME_MAX)
    data += codec.encode_publish(1, name, "k", True, False, props, b"x" * 99, FRAME_MAX)
    data += joined(codec.encode_publish(1, "e", "k", True, False, props, bytes(9000), FRAME_MAX))
    data += joined(codec.encode_return(1, 312, "no", "e", "k", props, b"", FRAME_MAX))
    data += codec.encode_ack(1, 2**40, False) + codec.encode_nack(1, 2**40, False, True)
    data += codec.encode_reject(1, 2**40, False) + wire.HEARTBEAT_FRAME
    data += frame(2, 1, struct.pack(">HHQ", 60, 0, 5) + b"\0\0") + frame(3, 1, bytes(4080))
    items, _, _ = codec.decode_frames(data, 0, FRAME_MAX, Delivery)
    assert len(items) == 11
    codec.decode_frames(data, 0, FRAME_MAX, Counted)
    for item in items:
        repr(item)
    codec.decode_properties(props, 0)
    table = {"a": list(range(300)), "b": {"c": Decimal(1), name: b"x" * 600}, "d": 1.5}
    raw = codec.encode_table(table)
    codec.decode_table(raw)
    at = chance.randrange(len(data))
    for bad in (data[:at], data[:at] + b"\xff" + data[at + 1 :]):
        outcome(codec.decode_frames, bad, 0, FRAME_MAX, Delivery)
    at = chance.randrange(len(raw))
    for bad in (raw[:at], raw[:at] + b"\xff" + raw[at + 1 :]):
        outcome(codec.decode_table, bad)
    at = chance.randrange(len(props))
    for bad in (props[:at], props[:at] + b"\xff" + props[at + 1 :]):
        outcome(codec.decode_properties, bad, 0)
    outcome(codec.encode_table, {"a": list(range(300)), "b": object})
    outcome(codec.encode_properties, wire.Properties(headers={"a": 2**70}), None)
    outcome(codec.encode_ack, 1, -1, False)
    declare = wire.QueueDeclare(name, arguments=HEADERS)
    declared = codec.encode_method(declare, 1, FRAME_MAX)
    for bad in (declared, declared[:9] + b"\xff" + declared[10:]):
        outcome(codec.decode_frames, bad, 0, FRAME_MAX)
    declare.arguments = {"a": object}
    outcome(codec.encode_method, declare, 1, FRAME_MAX)
    outcome(codec.encode_publish, 1, "e" * 256, "k", False, False, props, b"x", FRAME_MAX)
    outcome(codec.encode_publish, 1, "\udcff", "k", False, False, props, b"x", FRAME_MAX)


ROUNDS = 500  # so many that what the caches learn on the way (a few thousand bytes) is little


def test_nothing_is_leaked():
    chance = random.Random(1)
    watched = [None, True, False, 1, 300, "e", Delivery, wire.Published, wire.BasicAck, bytes]
    watched += [wire.Properties, PROPS, FULL, HEADERS, b""]
    for _ in range(30):
        everything(chance, "steady")
    tables._keys_received.clear()  # or a new key of bad bytes may make a dict of any size grow
    gc.collect()
    before = [sys.getrefcount(each) for each in watched]
    tracemalloc.start()
    try:
        everything(chance, "steady")
        gc.collect()
        size = tracemalloc.get_traced_memory()[0]
        for _ in range(ROUNDS):
            everything(chance, "steady")
        gc.collect()
        grown = tracemalloc.get_traced_memory()[0] - size
    finally:
        tracemalloc.stop()
    after = [sys.getrefcount(each) for each in watched]
    # one leaked object a round would be as many of at least 32 bytes, or of references
    assert grown < ROUNDS * 30, grown
    assert all(abs(b - a) < ROUNDS / 2 for a, b in zip(before, after, strict=True)), (before, after)


def test_names_that_never_repeat_do_not_pile_up():
    def feed(first: int) -> None:
        for number in range(first, first + 4000):
            name = f"name-{number}"
            data = compiled.encode_deliver(1, name, 1, False, name, name, PROPS, b"x", FRAME_MAX)
            ((item,), _, _) = compiled.decode_frames(data, 0, FRAME_MAX)
            assert (item.consumer_tag, item.exchange, item.routing_key) == (name, name, name)
            assert compiled.decode_table(compiled.encode_table({name: 1}))[0] == {name: 1}

    tracemalloc.start()
    try:
        feed(0)
        size = tracemalloc.get_traced_memory()[0]
        feed(4000)
        assert tracemalloc.get_traced_memory()[0] - size < 100_000  # of 4000 names: 1.5 MB
    finally:
        tracemalloc.stop()
