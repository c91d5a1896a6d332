"""Picks the implementation of the hot functions, once, at import; `codec` says which.

The compiled one where it was built, else the one in Python. `LEVERET_CODEC=pure|compiled` in the
environment forces one; asking for one that is not there is an ImportError, not a slower program.
The compiled one is more than one extension: others ask `import_compiled` for theirs.
"""

from __future__ import annotations

import os
from importlib import import_module
from types import ModuleType
from typing import Final

from .properties import use_for_properties

__all__ = [
    "Queue",
    "Unsettled",
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
    "import_compiled",
    "is_plain_table",
    "maker",
    "queue_publish",
    "settle",
]

_NAMES: Final = ("pure", "compiled")
_ASKED_FOR: Final = os.environ.get("LEVERET_CODEC", "")

if _ASKED_FOR not in ("", *_NAMES):
    raise ImportError(f"LEVERET_CODEC={_ASKED_FOR}: it may be {' or '.join(_NAMES)}")


def import_compiled(name: str) -> ModuleType | None:
    """Import an extension of the compiled codec.

    Returns:
        None where the codec in Python was asked for; or where nobody asked for one, and it was not
        built.

    Raises:
        ImportError: it is asked for and not there, or cannot be loaded.
    """
    if _ASKED_FOR == "pure":
        return None
    try:
        return import_module(name)
    except ModuleNotFoundError as error:
        if error.name != name:
            raise
        if _ASKED_FOR:
            raise ImportError(
                f"LEVERET_CODEC={_ASKED_FOR}: this installation of leveret has no {name}; it was "
                "built without a C compiler, with LEVERET_PURE set, or for a Python that the "
                "compiled codec does not support"
            ) from error
        return None


codec: Final[str] = "compiled" if import_compiled(f"{__package__}._speedups") else "pure"

if codec == "compiled":
    from ._speedups import (
        Queue,
        Unsettled,
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
        Queue,
        Unsettled,
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
