# Made by tools/async_to_sync.py from conformance/asyncio/test_bodies.py: change it there.
"""Bodies of any size, and properties and headers of every type, there and back."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from decimal import Decimal

import pytest

from leveret import PreconditionFailed, Properties, PublishNacked, PublishReturned
from leveret.wire import Float32, Int8, Int16, Int64, UInt8, UInt16, UInt32

from ...support.brokers import BrokerUnderTest
from .helpers import exclusive_queue, get, open_channel, open_connection, take

FRAME_MAX = 8192
PAYLOAD = FRAME_MAX - 8
MIB = 1024 * 1024
TOO_LARGE = 17 * MIB
# RabbitMQ 4 takes 16 MiB, RabbitMQ 3 takes 128
TAKES_TOO_LARGE = {"rabbitmq-3": True, "rabbitmq-4": False, "embedded": False}


def _body(size: int) -> bytes:
    return (hashlib.sha256(b"%d" % size).digest() * (size // 32 + 1))[:size]


def test_sizes_around_the_frames(broker: BrokerUnderTest) -> None:
    sizes = [0, 1, 2]
    for frames in (1, 2, 3, 8):
        sizes += [frames * PAYLOAD + change for change in (-1, 0, 1)]
    with open_channel(broker, frame_max=FRAME_MAX) as channel:
        queue = exclusive_queue(channel)
        with channel.publisher() as publisher:
            for size in sizes:
                publisher.publish(_body(size), routing_key=queue, persistent=False)
        consumer = channel.consume(queue)
        for size in sizes:
            delivery = consumer.get()
            assert delivery.body == _body(size)
            assert isinstance(delivery.body, bytes)
            delivery.ack()


def test_sizes_around_the_brokers_frame_max(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel)
        payload = connection.frame_max - 8
        for size in (payload - 1, payload, payload + 1, 2 * payload):
            channel.publish(_body(size), routing_key=queue, persistent=False)
            assert (get(channel, queue, no_ack=True)).body == _body(size)


@pytest.mark.parametrize("size", [MIB, 5 * MIB])
def test_large(broker: BrokerUnderTest, size: int) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        body = _body(size)
        channel.publish(body, routing_key=queue, persistent=False)
        assert (get(channel, queue, no_ack=True)).body == body
        consumer = channel.consume(queue)
        channel.publish(body, routing_key=queue, persistent=False)
        channel.publish(b"small", routing_key=queue, persistent=False)
        large, small = take(consumer, 2)
        assert large.body == body
        assert small.body == b"small"


def test_a_large_message_that_comes_back(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        body = _body(300_000)
        with pytest.raises(PublishReturned) as caught:
            channel.publish(body, "amq.direct", "nobody")
        assert caught.value.returned.body == body


def test_too_large(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel)
        if TAKES_TOO_LARGE[broker.name]:
            channel.publish(bytes(TOO_LARGE), routing_key=queue, persistent=False)
            return
        with pytest.raises(PublishNacked) as caught:
            channel.publish(bytes(TOO_LARGE), routing_key=queue, persistent=False)
        reason = caught.value.__cause__
        assert isinstance(reason, PreconditionFailed)
        assert "is larger than configured max size 16777216" in reason.reply_text
        exclusive_queue(connection.channel())


EVERY_PROPERTY = Properties(
    content_type="application/json; charset=utf-8",
    content_encoding="zstd",
    headers={"a": 1},
    delivery_mode=2,
    priority=7,
    correlation_id="c-1",
    reply_to="somebody",
    expiration="60000",
    message_id="m-1",
    timestamp=datetime(2026, 2, 3, 4, 5, 6, tzinfo=UTC),
    type="a.type",
    user_id="guest",
    app_id="äpp 兎",
    cluster_id="cluster",
)


def test_every_property(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        names = [name for name in Properties.__slots__ if not name.startswith("_")]
        for name in names:  # each by itself
            properties = Properties(**{name: getattr(EVERY_PROPERTY, name)})
            channel.publish(b"", routing_key=queue, properties=properties, persistent=False)
            found = (get(channel, queue, no_ack=True)).properties
            assert getattr(found, name) == getattr(EVERY_PROPERTY, name)
            assert found in (properties, properties.replace(delivery_mode=1))
        channel.publish(b"", routing_key=queue, properties=EVERY_PROPERTY)
        assert (get(channel, queue, no_ack=True)).properties == EVERY_PROPERTY
        channel.publish(b"", routing_key=queue, persistent=False)
        found = (get(channel, queue, no_ack=True)).properties
        assert found in (Properties(), Properties(delivery_mode=1))


def test_every_header_type(broker: BrokerUnderTest) -> None:
    headers: dict[str, object] = {
        "bool": [True, False],
        "int8": [Int8(-128), Int8(127)],
        "uint8": [UInt8(0), UInt8(255)],
        "int16": [Int16(-(2**15)), Int16(2**15 - 1)],
        "uint16": [UInt16(0), UInt16(2**16 - 1)],
        "int32": [-(2**31), 2**31 - 1, 0],
        "uint32": [UInt32(0), UInt32(2**32 - 1)],
        "int64": [Int64(1), -(2**63), 2**63 - 1],
        "float": Float32(0.5),
        "double": [0.1, -1e300],
        "decimal": [Decimal("1.23"), Decimal("-7"), Decimal("0.001")],
        "str": ["", "text", "ünï 兎", "x" * 1000],
        "bytes": [b"", b"\x00\xff", bytearray(b"mutable")],
        "timestamp": datetime(2038, 1, 19, 3, 14, 8, tzinfo=UTC),
        "table": {"nested": {"deeper": {"list": [1, [2, [3]]]}}, "empty": {}},
        "array": [1, "mixed", None, [], {}],
        "none": None,
        "ü" * 60: "a key of 120 bytes",
        "k" * 120: "another",
        "": "the empty key",
    }
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        channel.publish(b"", routing_key=queue, properties=Properties(headers=headers))
        delivery = get(channel, queue, no_ack=True)
        assert dict(delivery.headers) == headers
        assert delivery.properties.headers == headers
        for name, value in headers.items():
            if not isinstance(value, list):
                value = [value]
            for one in value:
                channel.publish(
                    b"", routing_key=queue, properties=Properties(headers={name: one})
                )
                delivery = get(channel, queue, no_ack=True)
                assert dict(delivery.headers) == {name: one}


def test_no_headers(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        channel.publish(b"", routing_key=queue)
        delivery = get(channel, queue, no_ack=True)
        assert dict(delivery.headers) == {}
        channel.publish(b"", routing_key=queue, properties=Properties(headers={}))
        delivery = get(channel, queue, no_ack=True)
        assert dict(delivery.headers) == {}
