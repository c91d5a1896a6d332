"""A message, as it is published and as it comes back."""

from __future__ import annotations

from typing import Any

from leveret import wire

from .serialization import NO_PROPERTIES, GenericContent, decode_properties
from .spec import Basic

__all__ = ["Message"]

DELIVER: tuple[int, int] = Basic.Deliver
_LETTERS = {"headers": "F", "delivery_mode": "o", "priority": "o", "timestamp": "L"}


class Message(GenericContent):
    """A message.

    Args:
        body: bytes, or a string, which is sent in `content_encoding`, by default UTF-8.
        children: ignored.
        channel: the channel it came from.
        properties: as `PROPERTIES` names them; unknown ones stay here and are not sent.

    Attributes:
        delivery_info: where it came from, set by basic_consume and basic_get.
    """

    CLASS_ID = Basic.CLASS_ID
    #: The properties, with the letters of their types.
    PROPERTIES = [  # noqa: RUF012  py-amqp's type
        ("application_headers" if name == "headers" else name, _LETTERS.get(name, "s"))
        for name in wire.PROPERTY_NAMES
    ]

    __slots__ = ("body", "channel", "delivery_info")

    def __init__(
        self, body: Any = "", children: Any = None, channel: Any = None, **properties: Any
    ) -> None:
        # not by super(): that would copy the properties, once a message
        self.frame_method = self.frame_args = None
        self.properties = properties
        self.body_received = self.body_size = 0
        self.ready = False
        self.delivery_info: Any = None
        self.body = body
        self.channel = channel

    @property
    def headers(self) -> Any:
        """The application headers, None where there are none."""
        return self.properties.get("application_headers")

    @property
    def delivery_tag(self) -> Any:
        """Its number on its channel."""
        return self.delivery_info.get("delivery_tag")


#: Makes a message that has come: its method, its properties, its size twice, its body, its channel
#: and its delivery_info.
make_message = wire.maker(
    Message,
    (
        "frame_method",
        "properties",
        "body_size",
        "body_received",
        "body",
        "channel",
        "delivery_info",
    ),
    {"frame_args": None, "ready": True},
)


def from_content(content: wire.Content, frame_method: tuple[int, int]) -> Message:
    """A received message."""
    raw = content.raw_properties
    properties = decode_properties(raw) if raw != NO_PROPERTIES else {}
    body = content.body
    size = len(body)
    return make_message(frame_method, properties, size, size, body or "", None, None)
