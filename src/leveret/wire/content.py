"""What the decoder gives back besides methods: whole messages, and frames of unfinished ones."""

from __future__ import annotations

from typing import Final, TypeAlias

from .declare import Method
from .properties import Properties

__all__ = [
    "Content",
    "ContentBody",
    "ContentHeader",
    "Delivery",
    "Heartbeat",
    "Item",
    "Published",
    "Returned",
]

# Deliveries of one publisher mostly carry the same few properties: those without headers (which a
# caller may change in place) and of a modest size are decoded once. Cleared when full.
_SHARED: Final[dict[bytes, Properties]] = {}
_SHARED_MAX: Final = 256
_SHARED_SIZE_MAX: Final = 64


def _properties(raw: bytes) -> Properties:
    properties = _SHARED.get(raw)
    if properties is None:
        properties = Properties.decode(raw)
        if len(raw) <= _SHARED_SIZE_MAX and properties.headers is None:
            if len(_SHARED) >= _SHARED_MAX:
                _SHARED.clear()
            _SHARED[raw] = properties
    return properties


class Content:
    """A message with where it was sent.

    Attributes:
        channel: the channel number.
        exchange, routing_key: where it was published to.
        raw_properties: flags and values as they came; `properties` decodes them on first look.
        body: the whole body.
    """

    __slots__ = ("_properties", "body", "channel", "exchange", "raw_properties", "routing_key")

    channel: int
    exchange: str
    routing_key: str
    raw_properties: bytes
    body: bytes
    _properties: Properties | None

    @property
    def properties(self) -> Properties:
        """The properties, decoded.

        Raises:
            DecodeError: they are malformed.
        """
        properties = self._properties
        if properties is None:
            properties = self._properties = _properties(self.raw_properties)
        return properties

    def _values(self) -> dict[str, object]:
        """What a repr shows, besides the channel and the size of the body."""
        return {"exchange": self.exchange, "routing_key": self.routing_key}

    def __repr__(self) -> str:
        words = "".join(f"{name}={value!r}, " for name, value in self._values().items())
        return (
            f"{type(self).__name__}({words}channel={self.channel}, body of {len(self.body)} bytes)"
        )


class Delivery(Content):
    """A message for a consumer (basic.deliver), or the answer to basic.get.

    Attributes:
        consumer_tag: the consumer; None for basic.get.
        delivery_tag: its number on the channel.
        redelivered: whether it may have been delivered before.
        message_count: what is left in the queue; None for a consumer.
        owner: free for the layer above; None when it comes from the decoder.
    """

    __slots__ = ("consumer_tag", "delivery_tag", "message_count", "owner", "redelivered")

    consumer_tag: str | None
    delivery_tag: int
    redelivered: bool
    message_count: int | None
    owner: object

    def __init__(
        self,
        channel: int,
        consumer_tag: str | None,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
        message_count: int | None = None,
    ) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.delivery_tag = delivery_tag
        self.redelivered = redelivered
        self.exchange = exchange
        self.routing_key = routing_key
        self.raw_properties = raw_properties
        self.body = body
        self.message_count = message_count
        self._properties = None
        self.owner = None

    def _values(self) -> dict[str, object]:
        return {
            "consumer_tag": self.consumer_tag,
            "delivery_tag": self.delivery_tag,
            "redelivered": self.redelivered,
            **super()._values(),
            "message_count": self.message_count,
        }


class Returned(Content):
    """A message that could not be routed, given back (basic.return)."""

    __slots__ = ("reply_code", "reply_text")

    def __init__(
        self,
        channel: int,
        reply_code: int,
        reply_text: str,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: bytes,
    ) -> None:
        self.channel = channel
        self.reply_code = reply_code
        self.reply_text = reply_text
        self.exchange = exchange
        self.routing_key = routing_key
        self.raw_properties = raw_properties
        self.body = body
        self._properties = None

    def _values(self) -> dict[str, object]:
        return {
            "reply_code": self.reply_code,
            "reply_text": self.reply_text,
            **super()._values(),
        }


class Published(Content):
    """A message as a server receives it (basic.publish)."""

    __slots__ = ("immediate", "mandatory")

    def __init__(
        self,
        channel: int,
        exchange: str,
        routing_key: str,
        mandatory: bool,
        immediate: bool,
        raw_properties: bytes,
        body: bytes,
    ) -> None:
        self.channel = channel
        self.exchange = exchange
        self.routing_key = routing_key
        self.mandatory = mandatory
        self.immediate = immediate
        self.raw_properties = raw_properties
        self.body = body
        self._properties = None

    def _values(self) -> dict[str, object]:
        return {
            **super()._values(),
            "mandatory": self.mandatory,
            "immediate": self.immediate,
        }


class ContentHeader:
    """A content header frame whose message does not lie wholly in the buffer.

    Attributes:
        class_id: 60 (basic) in all that is right.
        body_size: what the peer announces, in bytes: nothing has been checked but the frame.
        raw_properties: flags and values, not decoded.
    """

    __slots__ = ("body_size", "channel", "class_id", "raw_properties")

    def __init__(self, channel: int, class_id: int, body_size: int, raw_properties: bytes) -> None:
        self.channel = channel
        self.class_id = class_id
        self.body_size = body_size
        self.raw_properties = raw_properties

    def __repr__(self) -> str:
        return (
            f"ContentHeader(channel={self.channel}, class_id={self.class_id}, "
            f"body_size={self.body_size}, properties of {len(self.raw_properties)} bytes)"
        )


class ContentBody:
    """A body frame whose message does not lie wholly in the buffer.

    Attributes:
        payload: a piece of the body; a large one is a view of the decoded buffer, not a copy.
    """

    __slots__ = ("channel", "payload")

    def __init__(self, channel: int, payload: bytes | memoryview) -> None:
        self.channel = channel
        self.payload = payload

    def __repr__(self) -> str:
        return f"ContentBody(channel={self.channel}, {len(self.payload)} bytes)"


class Heartbeat:
    """A heartbeat frame; its channel is 0 in all that is right."""

    __slots__ = ("channel",)

    def __init__(self, channel: int) -> None:
        self.channel = channel

    def __repr__(self) -> str:
        return f"Heartbeat(channel={self.channel})"


#: What `decode_frames` returns a list of.
Item: TypeAlias = Content | Method | ContentHeader | ContentBody | Heartbeat
