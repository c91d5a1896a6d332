"""py-amqp's errors: its own classes where it is installed beside, else Leveret's of those names.

kombu, Celery and oslo.messaging catch these by identity, and import them from `amqp`. Where that
is py-amqp, an error of Leveret must be one of its classes; where Leveret has taken its place, or
py-amqp is not installed, there is nothing to be identical with.
"""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from leveret.compat.finder import is_ours

from . import own_exceptions
from .own_exceptions import __all__ as __all__

if TYPE_CHECKING:
    from .own_exceptions import *  # noqa: F403


def _source() -> Any:
    try:
        spec = importlib.util.find_spec("amqp")
    except (ImportError, ValueError):
        return own_exceptions
    if spec is None or is_ours(spec):
        return own_exceptions
    return importlib.import_module("amqp.exceptions")


def __getattr__(name: str) -> Any:
    return getattr(_SOURCE, name)


_SOURCE = _source()
globals().update({name: getattr(_SOURCE, name) for name in __all__})
