"""The harness of Celery without Celery."""

from __future__ import annotations

import os
import sys
import time

import pytest

pytest.importorskip("bench.celery_tasks", reason="the harness needs py-amqp")

from bench.celery_tasks import Pair, cpu, table

from bench import celery_tasks


@pytest.mark.skipif(sys.platform != "linux", reason="CPU is read in /proc")
def test_cpu_is_that_of_the_process_and_with_children_no_less() -> None:
    before = cpu(os.getpid())
    start = time.thread_time()
    while time.thread_time() < start + 0.05:
        pass
    after = cpu(os.getpid())
    assert after[1] - before[1] >= 0.04
    assert after[0] >= after[1]


def test_a_table_has_medians_and_ratios() -> None:
    def pair(scale: float) -> Pair:
        figures = [(100 / scale, 400 * scale, 200 * scale, 80 * scale)] * 3
        return Pair(None, None, figures)  # type: ignore[arg-type]

    lines = table("solo", {"py-amqp": pair(1), "drop-in": pair(0.5)}).splitlines()
    assert lines[0] == "pool solo, 2 slots; per task; median of 3, to py-amqp"
    assert lines[3].split() == [
        *("drop-in", "200", "±0%", "2.00", "200", "±0%", "0.50"),
        *("100", "±0%", "0.50", "40.0", "±0%", "0.50"),
    ]


def test_each_library_has_its_transport() -> None:
    transports = {name: v["BENCH_TRANSPORT"] for name, v in celery_tasks.LIBRARIES.items()}
    assert transports == {"py-amqp": "py-amqp", "drop-in": "leveret", "drop-in-pure": "leveret"}
