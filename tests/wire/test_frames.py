"""Frames and whole messages: any split of the stream gives the same, nothing malformed passes."""

from __future__ import annotations

import struct
from itertools import pairwise
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from wire_strategies import channels, examples, methods, shortstrs

from leveret import wire
from leveret.exceptions import DecodeError, EncodeError

FRAME_MAX = 4096
LIMIT = FRAME_MAX - 8
PROPS = wire.Properties(delivery_mode=2).encode()
BODY_SIZES = [0, 1, 100, LIMIT - 1, LIMIT, LIMIT + 1, 2 * LIMIT, 3 * LIMIT + 5]


def joined(encoded: wire.Encoded) -> bytes:
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


def frame(kind: int, channel: int, payload: bytes, end: bytes = b"\xce") -> bytes:
    return struct.pack(">BHI", kind, channel, len(payload)) + payload + end


def decode_all(data: bytes, frame_max: int = FRAME_MAX) -> list[wire.Item]:
    items, offset, needed = wire.decode_frames(data, 0, frame_max)
    assert offset == len(data)
    assert needed == 8
    return items


def flat(items: list[wire.Item]) -> list[object]:
    """Items in one form, whether a message came whole or in frames."""
    result: list[object] = []
    for item in items:
        match item:
            case wire.Delivery(consumer_tag=None):
                names = item.exchange, item.routing_key
                method = wire.BasicGetOk(
                    item.delivery_tag, item.redelivered, *names, item.message_count
                )
            case wire.Delivery():
                assert item.message_count is None
                assert item.owner is None
                names = item.exchange, item.routing_key
                tag = item.consumer_tag, item.delivery_tag
                method = wire.BasicDeliver(*tag, item.redelivered, *names)
            case wire.Returned():
                names = item.exchange, item.routing_key
                method = wire.BasicReturn(item.reply_code, item.reply_text, *names)
            case wire.Published():
                names = item.exchange, item.routing_key
                method = wire.BasicPublish(*names, item.mandatory, item.immediate)
            case wire.Method():
                result.append((item.channel, type(item), item))
                continue
            case wire.ContentHeader():
                result.append((item.channel, item.class_id, item.body_size, item.raw_properties))
                continue
            case wire.ContentBody():
                body = bytes(item.payload)
                last = result[-1] if result else None
                if body and isinstance(last, tuple) and last[:2] == (item.channel, "body"):
                    result[-1] = (item.channel, "body", last[2] + body)
                else:
                    result.append((item.channel, "body", body))
                continue
            case wire.Heartbeat():
                result.append((item.channel, "heartbeat"))
                continue
        result.append((item.channel, type(method), method))
        result.append((item.channel, 60, len(item.body), item.raw_properties))
        if item.body:
            result.append((item.channel, "body", item.body))
    return result


def feed(chunks: list[bytes], frame_max: int = FRAME_MAX) -> tuple[list[wire.Item], str | None]:
    """What a layer above does with chunks: the items, and the words of the error that ended it."""
    items: list[wire.Item] = []
    buffer = b""
    needed = 0
    for chunk in chunks:
        buffer += chunk
        while len(buffer) >= needed:
            try:
                more, offset, needed = wire.decode_frames(buffer, 0, frame_max)
            except DecodeError as error:
                return items, f"{error.reply_code} {error}"
            items += more
            buffer = buffer[offset:]
            assert needed == 0 or needed > len(buffer)
    return items, None


def contents() -> st.SearchStrategy[bytes]:
    body = st.sampled_from(BODY_SIZES).map(lambda size: bytes(range(256)) * (size // 256 + 1))
    sized = st.tuples(body, st.sampled_from(BODY_SIZES)).map(lambda pair: pair[0][: pair[1]])
    tags = st.integers(0, 2**64 - 1)
    bit = st.booleans()
    end = [shortstrs, shortstrs, st.just(PROPS), sized, st.just(FRAME_MAX)]
    short = st.integers(0, 65535)
    long = st.integers(0, 2**32 - 1)
    return st.one_of(
        st.tuples(st.just("publish"), channels, *end[:2], bit, bit, *end[2:]),
        st.tuples(st.just("deliver"), channels, shortstrs, tags, bit, *end),
        st.tuples(st.just("get_ok"), channels, tags, bit, *end[:2], long, *end[2:]),
        st.tuples(st.just("return"), channels, short, shortstrs, *end),
    ).map(lambda call: joined(getattr(wire, f"encode_{call[0]}")(*call[1:])))


pieces = st.one_of(
    contents(),
    st.builds(lambda method, channel: method.encode(channel), methods, channels),
    st.tuples(channels, st.integers(0, 2**64 - 1), st.booleans()).map(
        lambda call: wire.encode_ack(*call)
    ),
    st.just(wire.HEARTBEAT_FRAME),
    st.just(frame(2, 1, struct.pack(">HHQ", 60, 0, 5) + b"\0\0")),
    st.just(frame(3, 1, b"stray")),
    st.just(frame(3, 1, b"")),
)
malformed = st.sampled_from(
    [
        frame(7, 1, b"x"),
        frame(1, 1, b"\0\x3c\0\x50\0", b"\xce"),
        frame(3, 1, b"x", b"\0"),
        frame(3, 1, bytes(LIMIT + 1)),
        frame(2, 1, b"short"),
    ]
)


@examples
@given(st.lists(pieces, max_size=6), st.none() | malformed, st.data())
def test_any_split_gives_the_same_items_and_the_same_error(parts, bad, data):
    stream = b"".join(parts) + (bad or b"")
    whole, error = feed([stream])
    assert (error is None) == (bad is None)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=8)))
    edges = [0, *cuts, len(stream)]
    chunks = [stream[a:b] for a, b in pairwise(edges)]
    split, split_error = feed(chunks)
    assert flat(split) == flat(whole)
    assert split_error == error


def test_a_stream_in_single_bytes():
    stream = (
        joined(wire.encode_deliver(1, "t", 1, False, "e", "k", PROPS, b"abc", FRAME_MAX))
        + wire.encode_ack(2, 5, True)
        + wire.HEARTBEAT_FRAME
    )
    whole, _ = feed([stream])
    single, _ = feed([stream[i : i + 1] for i in range(len(stream))])
    assert [type(item) for item in whole] == [wire.Delivery, wire.BasicAck, wire.Heartbeat]
    assert [type(item).__name__ for item in single] == [
        "BasicDeliver",
        "ContentHeader",
        "ContentBody",
        "BasicAck",
        "Heartbeat",
    ]
    assert flat(single) == flat(whole)


# Written from the specification by hand.
DELIVERY = bytes.fromhex(
    "01 0007 00000013 003c003c 0174 0000000000000005 01 0165 016b ce"
    "02 0007 0000000f 003c 0000 0000000000000003 1000 02 ce"
    "03 0007 00000003 616263 ce"
)


def test_a_delivery_of_known_bytes():
    (item,) = decode_all(DELIVERY)
    assert isinstance(item, wire.Delivery)
    assert (item.channel, item.consumer_tag, item.delivery_tag) == (7, "t", 5)
    assert (item.redelivered, item.exchange, item.routing_key) == (True, "e", "k")
    assert (item.raw_properties, item.body) == (b"\x10\0\x02", b"abc")
    assert (item.message_count, item.owner) == (None, None)
    assert item.properties == wire.Properties(delivery_mode=2)
    assert item.properties is item.properties
    encoded = wire.encode_deliver(7, "t", 5, True, "e", "k", b"\x10\0\x02", b"abc", FRAME_MAX)
    assert encoded == DELIVERY


def test_equal_properties_are_shared_but_never_with_headers():
    def delivery(properties: wire.Properties) -> wire.Delivery:
        raw = properties.encode()
        encoded = wire.encode_deliver(1, "t", 1, False, "e", "k", raw, b"", FRAME_MAX)
        (item,) = decode_all(joined(encoded))
        assert isinstance(item, wire.Delivery)
        return item

    plain = wire.Properties(delivery_mode=2)
    assert delivery(plain).properties is delivery(plain).properties
    headers = wire.Properties(headers={"a": 1})
    one, other = delivery(headers), delivery(headers)
    one.properties.headers["a"] = 2
    assert other.properties == headers


def test_the_layer_above_may_name_the_class_of_deliveries():
    class Mine(wire.Delivery):
        __slots__ = ("more",)

    get_ok = joined(wire.encode_get_ok(1, 1, False, "e", "k", 3, PROPS, b"x", FRAME_MAX))
    items, _, _ = wire.decode_frames(DELIVERY + get_ok, 0, FRAME_MAX, Mine)
    assert [type(item) for item in items] == [Mine, Mine]
    assert items[1].consumer_tag is None
    assert items[1].message_count == 3


@pytest.mark.parametrize("size", [*BODY_SIZES, 65536, 65537, 200_000])
@pytest.mark.parametrize("frame_max", [FRAME_MAX, 131072, 0])
def test_bodies_of_any_size_come_whole_and_no_frame_is_too_large(size, frame_max):
    body = bytes(range(256)) * (size // 256) + bytes(size % 256)
    encoded = joined(wire.encode_publish(1, "e", "k", True, False, PROPS, body, frame_max))
    (item,) = decode_all(encoded, frame_max)
    assert isinstance(item, wire.Published)
    assert (item.body, item.mandatory, item.immediate) == (body, True, False)


def test_small_bodies_are_joined_and_large_ones_are_not_copied():
    small = wire.encode_publish(1, "e", "k", False, False, PROPS, bytes(wire.JOIN_MAX), 131072)
    assert isinstance(small, bytes)
    body = bytes(300_000)
    large = wire.encode_publish(1, "e", "k", False, False, PROPS, body, 131072)
    views = [piece for piece in large if isinstance(piece, memoryview)]
    assert [len(view) for view in views] == [131064, 131064, 300_000 - 2 * 131064]
    assert all(view.obj is body for view in views)


@pytest.mark.parametrize(
    "body", [bytearray(b"abc"), memoryview(b"abc"), memoryview(b"aabbcc")[::2]]
)
def test_bodies_may_be_other_buffers(body):
    encoded = wire.encode_publish(1, "e", "k", False, False, PROPS, body, FRAME_MAX)
    assert decode_all(joined(encoded))[0].body == b"abc"


def test_a_body_that_is_changed_later_was_published_as_it_was():
    body = bytearray(b"a" * 70_000)
    encoded = wire.encode_publish(1, "e", "k", False, False, PROPS, body, 0)
    body[:] = b"b" * 70_000
    assert decode_all(joined(encoded), 0)[0].body == b"a" * 70_000


def test_large_payloads_of_single_frames_are_views():
    small, large = decode_all(frame(3, 1, b"x") + frame(3, 1, bytes(100_000)), 0)
    assert isinstance(small.payload, bytes)
    assert isinstance(large.payload, memoryview)


@examples
@given(channels, st.integers(0, 2**64 - 1), st.booleans(), st.booleans())
def test_settling_is_encoded_as_the_declarations_say(channel, tag, one, two):
    assert wire.encode_ack(channel, tag, one) == wire.BasicAck(tag, one).encode(channel)
    assert wire.encode_nack(channel, tag, one, two) == wire.BasicNack(tag, one, two).encode(channel)
    assert wire.encode_reject(channel, tag, one) == wire.BasicReject(tag, one).encode(channel)


@pytest.mark.parametrize("tag", [-1, 2**64, None])
@pytest.mark.parametrize(
    "encode",
    [
        lambda tag: wire.encode_ack(1, tag, False),
        lambda tag: wire.encode_nack(1, tag, False, False),
        lambda tag: wire.encode_reject(1, tag, False),
        lambda tag: wire.encode_deliver(1, "t", tag, False, "e", "k", PROPS, b"x", FRAME_MAX),
        lambda tag: wire.encode_get_ok(1, tag, False, "e", "k", 0, PROPS, b"x", FRAME_MAX),
    ],
)
def test_a_delivery_tag_that_does_not_fit_is_an_encode_error(encode, tag):
    with pytest.raises(EncodeError, match="delivery_tag"):
        encode(tag)


@pytest.mark.parametrize("channel", [-1, 65536])
def test_a_channel_that_does_not_fit_is_an_encode_error(channel):
    with pytest.raises(EncodeError, match="channel"):
        wire.encode_ack(channel, 1, False)
    with pytest.raises(EncodeError, match="channel"):
        wire.encode_publish(channel, "e", "k", False, False, PROPS, b"", FRAME_MAX)


def test_what_a_publish_cannot_hold_is_an_encode_error():
    def publish(**changes: object) -> None:
        arguments = SimpleNamespace(
            exchange="e", routing_key="k", raw_properties=PROPS, body=b"x", frame_max=FRAME_MAX
        )
        vars(arguments).update(changes)
        wire.encode_publish(1, mandatory=False, immediate=False, **vars(arguments))

    with pytest.raises(EncodeError, match=r"basic.publish: exchange: 256 bytes"):
        publish(exchange="x" * 256)
    with pytest.raises(EncodeError, match=r"basic.publish: routing_key: 256 bytes"):
        publish(routing_key="é" * 128)
    with pytest.raises(EncodeError, match=r"basic.publish: routing_key: expected str"):
        publish(routing_key=None)
    for body in ("text", None, 5, [1]):
        with pytest.raises(EncodeError, match=r"basic.publish: body: expected bytes"):
            publish(body=body)
    publish(raw_properties=bytes(LIMIT - 12))
    for body in (b"", b"x", bytes(70_000)):
        with pytest.raises(EncodeError, match=r"properties of 4077 bytes do not fit a frame of 40"):
            publish(raw_properties=bytes(LIMIT - 11), body=body)


def test_the_caches_stay_bounded(codec):
    from leveret.wire import content, encoders, frames

    learned = [encoders._prefixes, encoders._around_tags, frames._tags, frames._names]
    caches = [content._SHARED, *(learned if codec == "pure" else [])]
    for number in range(5000):
        name = f"n{number}"
        raw = wire.Properties(message_id=name).encode()
        encoded = wire.encode_deliver(1, name, 1, False, name, name, raw, b"x", FRAME_MAX)
        (item,) = decode_all(joined(encoded))
        assert (item.consumer_tag, item.exchange, item.routing_key) == (name, name, name)
        assert item.properties.message_id == name
        wire.encode_publish(1, name, name, False, False, PROPS, b"x", FRAME_MAX)
    assert all(0 < len(cache) <= 4096 for cache in caches)


# -- more data needed ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "needed"),
    [
        (b"", 8),
        (b"\x01", 8),
        (b"\x01\0\1\0\0\0", 8),
        (b"\x01\0\1\0\0\0\x0d", 21),
        (b"\x03\0\1\0\0\x0f\xf8", 4096),
        (frame(3, 1, b"abc")[:-1], 11),
        (wire.HEARTBEAT_FRAME[:7], 8),
    ],
)
@pytest.mark.parametrize("before", [b"", DELIVERY])
def test_more_data_needed_is_a_value(data, needed, before):
    items, offset, wanted = wire.decode_frames(b"##" + before + data, 2, FRAME_MAX)
    assert len(items) == (1 if before else 0)
    assert (offset, wanted) == (2 + len(before), needed)


# -- malformed ----------------------------------------------------------------------------------

MALFORMED = [
    ("frame type", frame(7, 3, b""), 501, 3, 0, "unknown frame type 7"),
    ("type, header only", frame(7, 3, bytes(99))[:7], 501, 3, 0, "unknown frame type 7"),
    ("protocol header", b"AMQP\0\0\x09\x01", 501, 0x4D51, 0, "unknown frame type 65"),
    ("HTTP", b"GET / HTTP/1.1\r\n", 501, 0x4554, 0, "unknown frame type 71"),
    ("frame end", frame(3, 3, b"abc", b"\0"), 501, 3, 10, "0x00 in place of the end of"),
    ("frame end of ack", wire.encode_ack(3, 1, False)[:-1] + b"\0", 501, 3, 20, "0x00 in place"),
    ("frame end of heartbeat", b"\x08\0\0\0\0\0\0\xcd", 501, 0, 7, "0xcd in place of the end"),
    ("heartbeat with payload", b"\x08\0\0\0\0\0\1", 501, 0, 3, "a heartbeat with a payload"),
    ("oversize, header only", b"\x03\0\3\0\0\x0f\xf9", 501, 3, 3, "a frame of 4089 bytes, where"),
    ("huge, header only", b"\x01\0\3\xff\xff\xff\xff", 501, 3, 3, "a frame of 4294967295 bytes"),
    ("content header cut", frame(2, 3, bytes(13)), 501, 3, 7, "a content header of 13 bytes is"),
    ("method without number", frame(1, 3, b"\0\x3c\0"), 501, 3, 7, "a method of 3 bytes has no"),
    ("unknown class", frame(1, 3, b"\0\x63\0\1"), 540, 3, 7, "unknown method 99.1"),
    ("unknown method", frame(1, 3, b"\0\x3c\0\x63"), 540, 3, 7, "unknown method 60.99"),
    ("ack cut", frame(1, 3, b"\0\x3c\0\x50" + bytes(8)), 501, 3, 19, "basic.ack: multiple is"),
    ("ack too long", frame(1, 3, b"\0\x3c\0\x50" + bytes(10)), 501, 3, 20, "basic.ack: 1 bytes"),
    (
        "table of a method",
        frame(1, 3, b"\0\x32\0\x0a\0\0\1q\0\0\0\0\3\1az"),
        501,
        3,
        22,
        "queue.declare: arguments: unknown field type b'z'",
    ),
]


@pytest.mark.parametrize("before", [b"", DELIVERY], ids=["first", "after a delivery"])
@pytest.mark.parametrize("after", [b"", DELIVERY], ids=["last", "before a delivery"])
@pytest.mark.parametrize(
    ("data", "code", "channel", "offset", "words"),
    [c[1:] for c in MALFORMED],
    ids=[c[0] for c in MALFORMED],
)
def test_malformed_frames_say_what_where_and_on_which_channel(
    data, code, channel, offset, words, before, after
):
    position = 0
    stream = before + data + after
    if before:
        items, position, needed = wire.decode_frames(stream, 0, FRAME_MAX)
        assert (len(items), position, needed) == (1, len(before), 0)
    with pytest.raises(DecodeError) as caught:
        wire.decode_frames(stream, position, FRAME_MAX)
    error = caught.value
    assert (error.reply_code, error.channel, error.offset) == (code, channel, offset)
    assert error.message.startswith(words)


def swap(data: bytes, at: int, new: bytes) -> bytes:
    return data[:at] + new + data[at + len(new) :]


# Where the frames of DELIVERY begin, and the parts of its first one.
HEADER, BODY = 27, 50
CTAG, EXCHANGE, ROUTING_KEY = 11, 22, 24


@pytest.mark.parametrize(
    ("data", "kinds", "words"),
    [
        (swap(DELIVERY, CTAG, b"\xff"), [], "basic.deliver: consumer_tag is cut off"),
        (swap(DELIVERY, CTAG, b"\x0e"), [], "basic.deliver: delivery_tag is cut off"),
        (swap(DELIVERY, EXCHANGE, b"\x09"), [], "basic.deliver: exchange is cut off"),
        (swap(DELIVERY, ROUTING_KEY, b"\x02"), [], "basic.deliver: routing_key is cut off"),
        (swap(DELIVERY, ROUTING_KEY, b"\x00"), [], "basic.deliver: 1 bytes too many"),
        (swap(DELIVERY, HEADER - 1, b"\0"), [], "0x00 in place of the end of the frame"),
        (swap(DELIVERY, BODY - 1, b"\0"), ["BasicDeliver"], "0x00 in place of the end"),
        (swap(DELIVERY, HEADER, b"\x07"), ["BasicDeliver"], "unknown frame type 7"),
        (swap(DELIVERY, BODY, b"\x04"), ["BasicDeliver", "ContentHeader"], "unknown frame type 4"),
        (swap(DELIVERY, 60, b"\0"), ["BasicDeliver", "ContentHeader"], "0x00 in place of the end"),
        (swap(DELIVERY, BODY + 3, b"\xff"), ["BasicDeliver", "ContentHeader"], "a frame of 42781"),
    ],
)
def test_a_fault_inside_a_message_is_found_after_its_good_frames(data, kinds, words):
    assert data != DELIVERY
    items, error = feed([data])
    assert [type(item).__name__ for item in items] == kinds
    assert words in error


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (swap(DELIVERY, HEADER + 2, b"\x08"), "BasicDeliver ContentHeader ContentBody"),
        (swap(DELIVERY, BODY + 2, b"\x08"), "BasicDeliver ContentHeader ContentBody"),
        (swap(DELIVERY, HEADER + 8, b"\x3d"), "BasicDeliver ContentHeader ContentBody"),
        (swap(DELIVERY, HEADER + 18, b"\x02"), "BasicDeliver ContentHeader ContentBody"),
        (swap(DELIVERY, HEADER + 18, b"\x04"), "BasicDeliver ContentHeader ContentBody"),
        (swap(DELIVERY, HEADER + 11, b"\xff"), "BasicDeliver ContentHeader ContentBody"),
        (DELIVERY[:HEADER] + DELIVERY, "BasicDeliver Delivery"),
        (DELIVERY[:BODY] + wire.HEARTBEAT_FRAME, "BasicDeliver ContentHeader Heartbeat"),
    ],
    ids=[
        "header on another channel",
        "body on another channel",
        "another class",
        "body longer than announced",
        "body shorter than announced",
        "exabytes announced",
        "no header",
        "no body",
    ],
)
def test_frames_that_do_not_belong_together_come_singly_for_the_layer_above_to_judge(data, kinds):
    items = decode_all(data)
    assert [type(item).__name__ for item in items] == kinds.split()


def test_a_frame_of_a_message_is_held_to_the_limit_as_a_single_one_is():
    stream = joined(wire.encode_deliver(1, "t", 1, False, "e", "k", PROPS, bytes(LIMIT + 1), 0))
    items, error = feed([stream])
    assert [type(item).__name__ for item in items] == ["BasicDeliver", "ContentHeader"]
    assert "a frame of 4089 bytes" in error
    raw = wire.Properties(headers={"x": "x" * LIMIT}).encode()
    stream = joined(wire.encode_deliver(1, "t", 1, False, "e", "k", raw, b"x", 0))
    items, error = feed([stream])
    assert [type(item).__name__ for item in items] == ["BasicDeliver"]
    assert "where 4088 are allowed" in error


@pytest.mark.parametrize("missing", [1, 2])
@pytest.mark.parametrize("body", [b"", b"x"])
def test_a_content_header_without_flags_is_found_inside_a_message_too(missing, body):
    stream = joined(wire.encode_deliver(1, "t", 1, False, "e", "k", b"\0\0", body, FRAME_MAX))
    at = HEADER + 3
    header = struct.pack(">I", 14 - missing) + stream[at + 4 : HEADER + 21 - missing]
    items, error = feed([stream[:at] + header + stream[HEADER + 21 :]])
    assert [type(item).__name__ for item in items] == ["BasicDeliver"]
    assert f"a content header of {14 - missing} bytes is cut off" in error


def test_malformed_properties_are_an_error_on_first_look():
    data = DELIVERY.replace(b"\x10\0\x02", b"\x10\x01\x02")
    (item,) = decode_all(data)
    with pytest.raises(DecodeError, match="property flags 0x1001"):
        _ = item.properties


@examples
@given(st.binary(max_size=80))
def test_random_bytes_are_items_or_more_needed_or_a_decode_error(raw):
    for data in (raw, DELIVERY + raw, frame(1, 1, raw), frame(1, 1, b"\0\x3c\0\x3c" + raw)):
        feed([data])


@examples
@given(st.lists(st.tuples(st.integers(0, len(DELIVERY) * 2 - 1), st.integers(0, 255)), max_size=4))
def test_damaged_deliveries_give_the_same_whether_whole_or_split(damage):
    data = bytearray(DELIVERY * 2)
    for at, octet in damage:
        data[at] = octet
    stream = bytes(data)
    whole, error = feed([stream])
    single, single_error = feed([stream[i : i + 1] for i in range(len(stream))])
    assert flat(single) == flat(whole)
    assert single_error == error


def test_hot_objects_have_no_dict():
    (item,) = decode_all(DELIVERY)
    items = decode_all(DELIVERY[:HEADER] + frame(3, 1, b"") + wire.HEARTBEAT_FRAME)
    for value in [item, item.properties, *items]:
        assert not hasattr(value, "__dict__")


def test_reprs_name_what_matters_and_not_the_body():
    (item,) = decode_all(DELIVERY)
    assert "delivery_tag=5" in repr(item)
    assert "body of 3 bytes" in repr(item)
    assert "abc" not in repr(item)
