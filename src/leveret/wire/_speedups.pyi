from collections.abc import Mapping, Sequence
from typing import Any

from .content import Delivery, Item
from .declare import Method
from .encoders import Body, Encoded
from .encoders import encode_return as encode_return
from .lanes import Lane
from .lanes import Queue as Queue
from .lanes import Unsettled as Unsettled
from .lanes import hasten_ack as hasten_ack
from .lanes import hasten_next as hasten_next
from .making import maker as maker
from .properties import Properties
from .publishing import confirm as confirm
from .publishing import confirm_run as confirm_run
from .publishing import count_confirmed as count_confirmed
from .publishing import queue_publish as queue_publish

__all__ = [
    "Queue",
    "Unsettled",
    "claim",
    "confirm",
    "confirm_run",
    "count_confirmed",
    "deal",
    "decode_frames",
    "decode_only",
    "decode_properties",
    "decode_table",
    "encode_ack",
    "encode_acks",
    "encode_deliver",
    "encode_get_ok",
    "encode_method",
    "encode_nack",
    "encode_properties",
    "encode_publish",
    "encode_reject",
    "encode_return",
    "encode_table",
    "hasten_ack",
    "hasten_next",
    "is_plain_table",
    "maker",
    "queue_publish",
    "settle",
]

#: A fingerprint of the sources that this was built from.
BUILT_FROM: int

def claim(items: Sequence[Item], start: int, lanes: list[Lane | None]) -> tuple[int, Any]: ...
def deal(deliveries: Sequence[Delivery]) -> None: ...
def decode_frames(
    data: bytes, offset: int, frame_max: int, delivery_class: type[Delivery] = ...
) -> tuple[list[Item], int, int]: ...
def decode_only(data: bytes, frame_max: int) -> Method | None: ...
def decode_properties(data: bytes, start: int) -> Properties: ...
def decode_table(
    data: bytes, offset: int = 0, *, max_depth: int = ...
) -> tuple[dict[str, object], int]: ...
def encode_ack(channel: int, delivery_tag: int, multiple: bool) -> bytes: ...
def encode_acks(touched: Sequence[Unsettled]) -> bytes: ...
def encode_deliver(
    channel: int,
    consumer_tag: str,
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded: ...
def encode_get_ok(
    channel: int,
    delivery_tag: int,
    redelivered: bool,
    exchange: str,
    routing_key: str,
    message_count: int,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded: ...
def encode_method(method: Method, channel: int, frame_max: int) -> bytes: ...
def encode_nack(channel: int, delivery_tag: int, multiple: bool, requeue: bool) -> bytes: ...
def encode_properties(properties: Properties, delivery_mode: int | None) -> bytes: ...
def encode_publish(
    channel: int,
    exchange: str,
    routing_key: str,
    mandatory: bool,
    immediate: bool,
    raw_properties: bytes,
    body: Body,
    frame_max: int,
) -> Encoded: ...
def encode_reject(channel: int, delivery_tag: int, requeue: bool) -> bytes: ...
def encode_table(
    table: Mapping[str, object], *, name: str = "table", max_depth: int = ...
) -> bytes: ...
def is_plain_table(table: object, kinds: frozenset[type], max_depth: int = ...) -> bool: ...
def settle(
    acked: Sequence[tuple[Unsettled, int]], touched: list[Unsettled], share: int
) -> tuple[list[tuple[Unsettled, int]], bool]: ...
