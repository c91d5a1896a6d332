"""Picks the implementation of the hot functions, once, at import; `codec` says which.

The compiled one where it was built, else the one in Python. `LEVERET_CODEC=pure|compiled` in the
environment forces one; asking for one that is not there is an ImportError, not a slower program.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import Final

from .properties import use_for_properties

__all__ = [
    "claim",
    "codec",
    "confirm",
    "confirm_run",
    "count_confirmed",
    "deal",
    "decode_frames",
    "decode_only",
    "decode_table",
    "encode_ack",
    "encode_acks",
    "encode_deliver",
    "encode_get_ok",
    "encode_method",
    "encode_nack",
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

_NAMES: Final = ("pure", "compiled")


def _choose(asked_for: str) -> str:
    if asked_for not in ("", *_NAMES):
        raise ImportError(f"LEVERET_CODEC={asked_for}: it may be {' or '.join(_NAMES)}")
    if asked_for == "pure":
        return asked_for
    compiled = f"{__package__}._speedups"
    try:
        import_module(compiled)
    except ModuleNotFoundError as error:
        if error.name != compiled:
            raise
        if asked_for:
            raise ImportError(
                f"LEVERET_CODEC={asked_for}: this installation of leveret has only the codec in "
                "Python; it was built without a C compiler, with LEVERET_PURE set, or for a "
                "Python that the compiled one does not support"
            ) from error
        return "pure"
    return "compiled"


codec: Final[str] = _choose(os.environ.get("LEVERET_CODEC", ""))

if codec == "compiled":
    from ._speedups import (
        claim,
        confirm,
        confirm_run,
        count_confirmed,
        deal,
        decode_frames,
        decode_only,
        decode_properties,
        decode_table,
        encode_ack,
        encode_acks,
        encode_deliver,
        encode_get_ok,
        encode_method,
        encode_nack,
        encode_properties,
        encode_publish,
        encode_reject,
        encode_return,
        encode_table,
        hasten_ack,
        hasten_next,
        is_plain_table,
        maker,
        queue_publish,
        settle,
    )
else:
    from .pure import (
        claim,
        confirm,
        confirm_run,
        count_confirmed,
        deal,
        decode_frames,
        decode_only,
        decode_properties,
        decode_table,
        encode_ack,
        encode_acks,
        encode_deliver,
        encode_get_ok,
        encode_method,
        encode_nack,
        encode_properties,
        encode_publish,
        encode_reject,
        encode_return,
        encode_table,
        hasten_ack,
        hasten_next,
        is_plain_table,
        maker,
        queue_publish,
        settle,
    )

use_for_properties(encode_properties, decode_properties, maker)
