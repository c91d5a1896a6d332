"""The hot functions in Python, under the names that their compiled twin has too.

`_speedups` has these names and no others, and leaves to these functions whatever is out of the
ordinary: large bodies, values of rare types, and all that is wrong.
"""

from __future__ import annotations

from .declare import encode_method
from .encoders import (
    encode_ack,
    encode_deliver,
    encode_get_ok,
    encode_nack,
    encode_publish,
    encode_reject,
    encode_return,
)
from .frames import decode_frames, decode_only
from .lanes import Queue, Unsettled, claim, deal, encode_acks, hasten_ack, hasten_next, settle
from .making import maker
from .properties import decode_properties, encode_properties
from .publishing import confirm, confirm_run, count_confirmed, queue_publish
from .table import decode_table, encode_table, is_plain_table

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
