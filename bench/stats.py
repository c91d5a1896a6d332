"""Median, spread and ratio of repeated measurements."""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Summary:
    """Several values of the same thing.

    `spread` is half of the distance between the quartiles, relative to the median (0.05 is
    ±5 %): a disturbed repeat moves it little. None for a single value.
    """

    median: float
    spread: float | None
    minimum: float
    maximum: float
    count: int


def summarize(values: Sequence[float]) -> Summary:
    """Summary of at least one value.

    Raises:
        ValueError: no values.
    """
    if not values:
        raise ValueError("no values to summarize")
    median = statistics.median(values)
    spread = None
    if len(values) > 1 and median:
        low, _, high = statistics.quantiles(values, n=4, method="inclusive")
        spread = (high - low) / 2 / median
    return Summary(median, spread, min(values), max(values), len(values))


def ratio(value: Summary | None, reference: Summary | None) -> float | None:
    """How many times the reference's median, or None where one of them is missing."""
    if value is None or reference is None or not reference.median:
        return None
    return value.median / reference.median
