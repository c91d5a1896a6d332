"""Hypothesis strategies for values of every AMQP type, shared by the tests of the layer."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st

from leveret import wire

# The same examples in each run.
examples = settings(derandomize=True, deadline=None, max_examples=60, database=None)

# Names may hold bytes that are not UTF-8, carried as surrogate escapes.
shortstrs = st.one_of(
    st.text(max_size=20),
    st.binary(max_size=255).map(lambda raw: raw.decode("utf-8", "surrogateescape")),
).filter(lambda text: len(text.encode("utf-8", "surrogateescape")) <= 255)
timestamps = st.integers(0, 253402300799).map(lambda seconds: datetime.fromtimestamp(seconds, UTC))


def _unsigned(bits: int) -> st.SearchStrategy[int]:
    return st.integers(0, (1 << bits) - 1)


def _signed(bits: int) -> st.SearchStrategy[int]:
    return st.integers(-(1 << bits - 1), (1 << bits - 1) - 1)


def _decimal(unscaled: int, scale: int) -> Decimal:
    digits = tuple(map(int, str(abs(unscaled))))
    return Decimal((int(unscaled < 0), digits, -scale))


scalars: st.SearchStrategy[object] = st.one_of(
    st.none(),
    st.booleans(),
    _signed(64),
    st.floats(allow_nan=False),
    st.builds(_decimal, _signed(32), st.integers(0, 255)),
    st.text(max_size=20),
    st.binary(max_size=20),
    timestamps,
)
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(shortstrs, inner, max_size=3),
    max_leaves=8,
)
tables = st.dictionaries(shortstrs, values, max_size=4)

fields: dict[str, st.SearchStrategy[Any]] = {
    "Bit": st.booleans(),
    "Octet": _unsigned(8),
    "Short": _unsigned(16),
    "Long": _unsigned(32),
    "LongLong": _unsigned(64),
    "ShortStr": shortstrs,
    "LongStr": st.binary(max_size=40),
    "Secret": st.binary(max_size=40),
    "Table": tables,
}

channels = _unsigned(16)


def method_of(cls: type[wire.Method]) -> st.SearchStrategy[wire.Method]:
    """Instances of one method, every field filled."""
    layout = {name: kind for name, kind, visible in cls._layout if visible}
    build: Callable[..., wire.Method] = cls
    return st.builds(build, **{name: fields[kind] for name, kind in layout.items()})


methods = st.sampled_from(sorted(wire.METHODS)).flatmap(lambda key: method_of(wire.METHODS[key]))

properties = st.builds(
    wire.Properties,
    **dict.fromkeys((name for name in wire.PROPERTY_NAMES), st.none() | shortstrs)
    | {
        "headers": st.none() | tables,
        "delivery_mode": st.none() | _unsigned(8),
        "priority": st.none() | _unsigned(8),
        "timestamp": st.none() | timestamps,
    },
)
