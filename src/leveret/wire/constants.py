"""The numbers of AMQP 0-9-1, with those of RabbitMQ where the two differ.

Sources: AMQP 0-9-1 reference, "Constants"; specification 2.3.5 (frames) and 4.2.2 (header).
"""

from __future__ import annotations

from enum import IntEnum
from typing import Final

__all__ = [
    "DEFAULT_PORT",
    "FRAME_END",
    "FRAME_HEADER_SIZE",
    "FRAME_MIN_SIZE",
    "FRAME_OVERHEAD",
    "PROTOCOL_HEADER",
    "RABBITMQ_FRAME_MIN",
    "TLS_PORT",
    "FrameType",
    "ReplyCode",
]

#: What a client sends first; what a server answers when it speaks another version.
PROTOCOL_HEADER: Final = b"AMQP\0\0\x09\x01"

DEFAULT_PORT: Final = 5672
TLS_PORT: Final = 5671

#: The last octet of every frame.
FRAME_END: Final = 0xCE
#: Type, channel and size: what stands before the payload, in bytes.
FRAME_HEADER_SIZE: Final = 7
#: Bytes of a frame that are not payload: `frame_max` counts the whole frame.
FRAME_OVERHEAD: Final = 8
#: The smallest `frame_max` of the specification.
FRAME_MIN_SIZE: Final = 4096
#: The smallest `frame_max` that RabbitMQ 4 takes from a client.
RABBITMQ_FRAME_MIN: Final = 8192


class FrameType(IntEnum):
    """The first octet of a frame."""

    METHOD = 1
    HEADER = 2
    BODY = 3
    HEARTBEAT = 8


class ReplyCode(IntEnum):
    """Why a channel or a connection was closed, or a message returned."""

    SUCCESS = 200
    CONTENT_TOO_LARGE = 311
    NO_ROUTE = 312
    NO_CONSUMERS = 313
    CONNECTION_FORCED = 320
    INVALID_PATH = 402
    ACCESS_REFUSED = 403
    NOT_FOUND = 404
    RESOURCE_LOCKED = 405
    PRECONDITION_FAILED = 406
    FRAME_ERROR = 501
    SYNTAX_ERROR = 502
    COMMAND_INVALID = 503
    CHANNEL_ERROR = 504
    UNEXPECTED_FRAME = 505
    RESOURCE_ERROR = 506
    NOT_ALLOWED = 530
    NOT_IMPLEMENTED = 540
    INTERNAL_ERROR = 541
