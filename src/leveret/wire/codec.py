"""Picks the implementation of the hot functions, once, at import; `codec` says which.

`LEVERET_CODEC=pure|compiled` in the environment forces one; asking for one that is not there is
an ImportError, not a slower program.
"""

from __future__ import annotations

import os
from typing import Final

from .frames import (
    decode_frames,
    encode_ack,
    encode_deliver,
    encode_get_ok,
    encode_nack,
    encode_publish,
    encode_reject,
    encode_return,
)

__all__ = [
    "codec",
    "decode_frames",
    "encode_ack",
    "encode_deliver",
    "encode_get_ok",
    "encode_nack",
    "encode_publish",
    "encode_reject",
    "encode_return",
]

codec: Final[str] = "pure"

_asked_for = os.environ.get("LEVERET_CODEC", "")
if _asked_for not in ("", codec):
    raise ImportError(f"LEVERET_CODEC={_asked_for}: this installation has only {codec!r}")
