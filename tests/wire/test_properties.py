"""The fourteen properties."""

from __future__ import annotations

import pickle
import struct
from datetime import UTC, datetime

import pytest
import wire_strategies as strategies
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import examples

from leveret.exceptions import DecodeError, EncodeError
from leveret.wire import PROPERTY_NAMES, Properties

WHEN = datetime(2020, 1, 1, tzinfo=UTC)
EVERY = Properties(
    content_type="ct",
    content_encoding="ce",
    headers={"h": None},
    delivery_mode=2,
    priority=9,
    correlation_id="co",
    reply_to="re",
    expiration="60",
    message_id="id",
    timestamp=WHEN,
    type="ty",
    user_id="us",
    app_id="ap",
    cluster_id="cl",
)
EVERY_BYTES = (
    b"\xff\xfc\x02ct\x02ce\x00\x00\x00\x03\x01hV\x02\x09\x02co\x02re\x0260\x02id"
    b"\x00\x00\x00\x00\x5e\x0b\xe1\x00\x02ty\x02us\x02ap\x02cl"
)


def test_all_fourteen_are_encoded_in_the_order_of_the_specification():
    assert EVERY.encode() == EVERY_BYTES
    assert Properties.decode(b"##" + EVERY_BYTES, 2) == EVERY


@pytest.mark.parametrize("name", PROPERTY_NAMES)
def test_each_one_alone_has_its_own_flag(name):
    one = Properties(**{name: getattr(EVERY, name)})
    flag = 0x8000 >> PROPERTY_NAMES.index(name)
    assert struct.unpack_from(">H", one.encode())[0] == flag
    assert Properties.decode(one.encode()) == one


@examples
@given(strategies.properties)
def test_properties_survive_the_round_trip(properties):
    assert Properties.decode(properties.encode()) == properties


def test_none_set_is_two_bytes():
    assert Properties().encode() == b"\0\0"
    assert Properties.decode(b"\0\0") == Properties()


def test_persistent_fills_only_a_delivery_mode_that_is_open():
    assert Properties.decode(Properties(type="x").encode_persistent()).delivery_mode == 2
    assert Properties.decode(Properties(delivery_mode=1).encode_persistent()).delivery_mode == 1
    assert Properties(type="x").encode() == b"\x00\x20\x01x"


def test_the_encoded_form_is_kept_unless_there_are_headers_to_change():
    plain = Properties(type="x")
    assert plain.encode() is plain.encode()
    assert plain.encode_persistent() is plain.encode_persistent()
    headers = {"retries": 1}
    counted = Properties(headers=headers)
    first = counted.encode(), counted.encode_persistent()
    headers["retries"] = 2
    second = counted.encode(), counted.encode_persistent()
    assert [Properties.decode(raw).headers for raw in first] == [{"retries": 1}] * 2
    assert [Properties.decode(raw).headers for raw in second] == [{"retries": 2}] * 2


def test_they_cannot_be_changed_but_replaced():
    properties = Properties(type="x", priority=1)
    with pytest.raises(AttributeError):
        properties.priority = 2
    with pytest.raises(AttributeError):
        properties.prioritty = 2
    assert properties.replace(priority=None, app_id="a") == Properties(type="x", app_id="a")
    assert properties == Properties(type="x", priority=1)
    assert properties != Properties(type="x")
    assert properties != "x"
    with pytest.raises(TypeError):
        hash(properties)


def test_repr_shows_what_is_set():
    assert repr(Properties(type="x", priority=1)) == "Properties(priority=1, type='x')"


def test_they_can_be_pickled():
    assert pickle.loads(pickle.dumps(EVERY)) == EVERY


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"content_type": "x" * 256}, "content_type: 256 bytes, a short string holds 255"),
        ({"content_type": b"x"}, "content_type: expected str, not bytes"),
        ({"expiration": 1000}, "expiration: expected str, not int"),
        ({"priority": 256}, "priority: 256 is not in 0 to 255"),
        ({"priority": -1}, "priority: -1 is not in 0 to 255"),
        ({"priority": "1"}, "priority: expected int, not str"),
        ({"priority": 1.0}, "priority: expected int, not float"),
        ({"delivery_mode": 1000}, "delivery_mode: 1000 is not in 0 to 255"),
        ({"timestamp": datetime(2020, 1, 1)}, "timestamp: a datetime needs a time zone"),
        ({"timestamp": 5}, "timestamp: expected datetime, not int"),
        ({"headers": {"a": [object()]}}, "headers['a'][0]: no field type for object"),
        ({"headers": [("a", 1)]}, "headers: expected a mapping, not list"),
        ({"headers": 5}, "headers: expected a mapping, not int"),
    ],
)
def test_a_value_that_cannot_be_encoded_is_named(values, words):
    with pytest.raises(EncodeError) as caught:
        Properties(**values).encode()
    assert str(caught.value) == words
    with pytest.raises(EncodeError):
        Properties(**values).encode_persistent()


@pytest.mark.parametrize(
    ("raw", "offset", "words"),
    [
        (b"", 0, "the property flags are cut off"),
        (b"\x80", 0, "the property flags are cut off"),
        (b"\x00\x01", 0, "property flags 0x0001 of no known property"),
        (b"\x00\x02", 0, "property flags 0x0002 of no known property"),
        (b"\x80\x00", 2, "property content_type is cut off"),
        (b"\x80\x00\x05abc", 2, "property content_type is cut off"),
        (b"\x90\x00\x01a", 4, "property delivery_mode is cut off"),
        (b"\x00\x40\0\0\0\0\0\0\0", 2, "property timestamp is cut off"),
        (b"\x20\x00\x00\x00\x00\x03\x01az", 8, "unknown field type b'z'"),
        (b"\x20\x00\x00\x00", 2, "the length of a table is cut off"),
        (b"\x10\x00\x02\x02", 3, "1 bytes too many after the properties"),
    ],
)
def test_malformed_properties_say_what_and_where(raw, offset, words):
    with pytest.raises(DecodeError) as caught:
        Properties.decode(b"###" + raw, 3)
    assert (caught.value.offset, caught.value.message) == (offset, words)


@examples
@given(st.binary(max_size=60))
def test_random_bytes_are_properties_or_a_decode_error(raw):
    try:
        properties = Properties.decode(raw)
    except DecodeError:
        return
    assert Properties.decode(properties.encode()) == properties or properties.timestamp
