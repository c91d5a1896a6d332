"""Methods: the declarations against the specification, and the code compiled from them."""

from __future__ import annotations

import pytest
import wire_strategies as strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from wire_strategies import examples

from leveret import wire
from leveret.exceptions import DecodeError, EncodeError

ALL = [pytest.param(cls, id=cls.name) for cls in wire.METHODS.values()]

# Written from the specification by hand: class, method, then the fields.
GOLDEN = [
    (
        wire.ConnectionStart(0, 9, {"a": True}, b"PLAIN", b"en_US"),
        "01 0000 00000020 000a000a 00 09 00000004 01 61 74 01"
        "00000005 504c41494e 00000005 656e5f5553",
    ),
    (
        wire.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US"),
        "01 0000 00000024 000a000b 00000000 05504c41494e 0000000c 006775657374006775657374"
        "05656e5f5553",
    ),
    (wire.ConnectionTune(2047, 131072, 60), "01 0000 0000000c 000a001e 07ff 00020000 003c"),
    (wire.ConnectionOpen("/"), "01 0000 00000008 000a0028 012f 00 00"),
    (wire.ConnectionOpenOk(), "01 0000 00000005 000a0029 00"),
    (
        wire.ConnectionClose(320, "bye", 60, 40),
        "01 0000 0000000e 000a0032 0140 03627965 003c 0028",
    ),
    (wire.ChannelOpen(), "01 0000 00000005 0014000a 00"),
    (wire.ChannelOpenOk(), "01 0000 00000008 0014000b 00000000"),
    (wire.AccessRequest("/", read=True), "01 0000 00000007 001e000a 012f 10"),
    (
        wire.ExchangeDeclare("e", "topic", durable=True, internal=True),
        "01 0000 00000013 0028000a 0000 0165 05746f706963 0a 00000000",
    ),
    (wire.ExchangeUnbindOk(), "01 0000 00000004 00280033"),
    (
        wire.QueueDeclare("q", durable=True, auto_delete=True, arguments={"x": 1}),
        "01 0000 00000014 0032000a 0000 0171 0a 00000007 0178 4900000001",
    ),
    (wire.QueueDeclareOk("q", 1, 2), "01 0000 0000000e 0032000b 0171 00000001 00000002"),
    (
        wire.QueueUnbind("q", "e", "k"),
        "01 0000 00000010 00320032 0000 0171 0165 016b 00000000",
    ),
    (wire.BasicQos(0, 100, True), "01 0000 0000000b 003c000a 00000000 0064 01"),
    (
        wire.BasicConsume("q", "t", no_ack=True, nowait=True),
        "01 0000 0000000f 003c0014 0000 0171 0174 0a 00000000",
    ),
    (wire.BasicPublish("e", "k", mandatory=True), "01 0000 0000000b 003c0028 0000 0165 016b 01"),
    (
        wire.BasicReturn(312, "NO_ROUTE", "e", "k"),
        "01 0000 00000013 003c0032 0138 084e4f5f524f555445 0165 016b",
    ),
    (
        wire.BasicDeliver("t", 5, True, "e", "k"),
        "01 0000 00000013 003c003c 0174 0000000000000005 01 0165 016b",
    ),
    (
        wire.BasicGetOk(5, False, "e", "k", 7),
        "01 0000 00000015 003c0047 0000000000000005 00 0165 016b 00000007",
    ),
    (wire.BasicGetEmpty(), "01 0000 00000005 003c0048 00"),
    (wire.BasicAck(5, True), "01 0000 0000000d 003c0050 0000000000000005 01"),
    (wire.BasicNack(5, False, True), "01 0000 0000000d 003c0078 0000000000000005 02"),
    (wire.BasicReject(5, True), "01 0000 0000000d 003c005a 0000000000000005 01"),
    (wire.ConfirmSelect(nowait=True), "01 0000 00000005 0055000a 01"),
    (wire.TxRollback(), "01 0000 00000004 005a001e"),
]


@pytest.mark.parametrize(("method", "frame"), GOLDEN, ids=[m.name for m, _ in GOLDEN])
def test_known_bytes(method, frame):
    raw = bytes.fromhex(frame) + b"\xce"
    assert method.encode(0) == raw
    assert wire.decode_method(raw[7:-1], 0) == method


@pytest.mark.parametrize("cls", ALL)
@given(data=st.data())
@settings(examples, max_examples=15)
def test_methods_survive_the_round_trip(cls, data):
    method = data.draw(strategies.method_of(cls))
    channel = data.draw(strategies.channels)
    frame = method.encode(channel)
    assert frame[0] == 1
    assert int.from_bytes(frame[1:3], "big") == channel
    assert int.from_bytes(frame[3:7], "big") == len(frame) - 8
    assert frame[-1] == 0xCE
    decoded = wire.decode_method(frame[7:-1], channel)
    assert type(decoded) is cls
    assert decoded == method
    assert decoded.channel == channel


def test_every_method_of_the_specification_and_of_rabbitmq_is_there():
    numbers = {
        10: [10, 11, 20, 21, 30, 31, 40, 41, 50, 51, 60, 61, 70, 71],
        20: [10, 11, 20, 21, 40, 41],
        30: [10, 11],
        40: [10, 11, 20, 21, 30, 31, 40, 51],
        50: [10, 11, 20, 21, 30, 31, 40, 41, 50, 51],
        60: [10, 11, 20, 21, 30, 31, 40, 50, 60, 70, 71, 72, 80, 90, 100, 110, 111, 120],
        85: [10, 11],
        90: [10, 11, 20, 21, 30, 31],
    }
    assert sorted(wire.METHODS) == sorted(c << 16 | m for c, ms in numbers.items() for m in ms)
    for key, cls in wire.METHODS.items():
        assert cls.key == key
        assert getattr(wire, cls.__name__) is cls


def test_what_a_class_says_of_itself():
    assert wire.QueueDeclare.name == "queue.declare"
    assert wire.ConnectionUpdateSecretOk.name == "connection.update-secret-ok"
    assert (wire.QueueDeclare.class_id, wire.QueueDeclare.method_id) == (50, 10)
    assert wire.QueueDeclare.replies == (wire.QueueDeclareOk,)
    assert wire.BasicGet.replies == (wire.BasicGetOk, wire.BasicGetEmpty)
    assert wire.BasicAck.replies == ()
    assert wire.BasicGet.fields == ("queue", "no_ack")
    with_content = {cls for cls in wire.METHODS.values() if cls.has_content}
    assert with_content == {
        wire.BasicPublish,
        wire.BasicReturn,
        wire.BasicDeliver,
        wire.BasicGetOk,
    }


@pytest.mark.parametrize("cls", ALL)
def test_requests_are_answered_by_methods_of_their_own_class(cls):
    for reply in cls.replies:
        assert reply.key >> 16 == cls.key >> 16
        assert reply.name.startswith(cls.name)


def test_the_close_methods_carry_the_numbers_of_the_method_at_fault():
    method = wire.ChannelClose(404, "NOT_FOUND", 50, 10)
    assert (method.class_id, method.method_id) == (50, 10)
    assert method.key == 20 << 16 | 40


def test_constructors_take_fields_by_place_and_name_and_nothing_else():
    assert wire.QueueDeclare("q", durable=True).durable is True
    assert wire.QueueDeclare() == wire.QueueDeclare("", False, False, False, False, False, {})
    assert wire.QueueDeclare().arguments is not wire.QueueDeclare().arguments
    assert wire.QueueDeclare().channel == 0
    with pytest.raises(TypeError):
        wire.QueueDeclare(reserved_1=1)
    with pytest.raises(AttributeError):
        wire.QueueDeclare().durrable = True


def test_equality_is_of_fields_only():
    one, other = wire.BasicAck(1), wire.BasicAck(1)
    other.channel = 9
    assert one == other
    assert one != wire.BasicAck(2)
    assert wire.BasicReject(1) != wire.BasicAck(1)


@pytest.mark.parametrize(
    "method",
    [
        wire.ConnectionStartOk({}, "PLAIN", b"sesame"),
        wire.ConnectionSecureOk(b"sesame"),
        wire.ConnectionUpdateSecret(b"sesame", "why"),
    ],
)
def test_no_repr_shows_a_secret(method):
    assert "sesame" not in repr(method)
    assert "<hidden>" in repr(method)


def test_repr_shows_the_fields():
    assert repr(wire.BasicAck(5, True)) == "BasicAck(delivery_tag=5, multiple=True)"


@pytest.mark.parametrize(
    ("method", "words"),
    [
        (wire.QueueDeclare("x" * 256), "queue.declare: queue: 256 bytes, a short string holds 255"),
        (wire.QueueDeclare(b"x"), "queue.declare: queue: expected str, not bytes"),
        (wire.QueueDeclare(None), "queue.declare: queue: expected str, not NoneType"),
        (wire.QueueDeclare(arguments=5), "queue.declare: arguments: expected a mapping, not int"),
        (
            wire.QueueDeclare(arguments={"x": [{1}]}),
            "queue.declare: arguments['x'][0]: no field type for set",
        ),
        (wire.BasicQos(0, 65536), "basic.qos: prefetch_count: 65536 is not in 0 to 65535"),
        (wire.BasicQos(0, -1), "basic.qos: prefetch_count: -1 is not in 0 to 65535"),
        (wire.BasicQos("1"), "basic.qos: prefetch_size: expected int, not str"),
        (wire.ConnectionSecureOk("x"), "connection.secure-ok: response: expected bytes, not str"),
    ],
)
def test_a_field_that_cannot_be_encoded_is_named(method, words):
    with pytest.raises(EncodeError) as caught:
        method.encode(1)
    assert str(caught.value) == words


@pytest.mark.parametrize("channel", [-1, 65536, None])
def test_a_channel_that_is_none_is_an_encode_error(channel):
    with pytest.raises(EncodeError, match=r"basic.ack: channel .* is not in 0 to 65535"):
        wire.BasicAck(1).encode(channel)


@pytest.mark.parametrize(
    ("payload", "code", "numbers", "offset", "words"),
    [
        ("0032", 501, (0, 0), 7, "a method of 2 bytes has no number"),
        ("00000000", 540, (0, 0), 7, "unknown method 0.0"),
        ("00630001", 540, (99, 1), 7, "unknown method 99.1"),
        ("0032000a 0000 c8616263", 501, (50, 10), 13, "queue.declare: queue is cut off"),
        ("0032000a 0000 0161", 501, (50, 10), 15, "queue.declare: passive is cut off"),
        ("0032000a 0000 0161 00", 501, (50, 10), 16, "queue.declare: arguments: the length of a"),
        ("0032000a 0000 0161 00 00000003 01617a", 501, (50, 10), 22, "queue.declare: arguments: u"),
        ("0032000a 00", 501, (50, 10), 11, "queue.declare: reserved_1 is cut off"),
        ("003c0050 0000000000000001", 501, (60, 80), 19, "basic.ack: multiple is cut off"),
        ("003c0050 0000000000000001 0000", 501, (60, 80), 20, "basic.ack: 1 bytes too many"),
        ("000a0014 00000005 61", 501, (10, 20), 11, "connection.secure: challenge is cut off"),
        ("000a0014 ffffffff 61", 501, (10, 20), 11, "connection.secure: challenge is cut off"),
        ("005a001e 00", 501, (90, 30), 11, "tx.rollback: 1 bytes too many"),
    ],
)
def test_malformed_methods_say_what_and_where(payload, code, numbers, offset, words):
    with pytest.raises(DecodeError) as caught:
        wire.decode_method(bytes.fromhex(payload), 3)
    error = caught.value
    assert (error.reply_code, error.class_id, error.method_id) == (code, *numbers)
    assert (error.channel, error.offset) == (3, offset)
    assert error.message.startswith(words)


@examples
@given(st.sampled_from(sorted(wire.METHODS)), st.binary(max_size=40))
def test_random_arguments_are_a_method_or_a_decode_error(key, arguments):
    payload = key.to_bytes(4, "big") + arguments
    error = None
    try:
        method = wire.decode_method(payload, 1)
    except DecodeError as caught:
        error = caught
    if error is None:
        encoded = method.encode(1)
        assert wire.decode_method(encoded[7:-1], 1).encode(1) == encoded
    else:
        assert 7 <= error.offset <= 7 + len(payload)
        assert error.method_id == key & 0xFFFF
