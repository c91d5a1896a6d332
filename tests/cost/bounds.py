"""The recorded bounds, and how a count is compared with them."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import tomllib
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE = Path(__file__).with_name("bounds.toml")
PYTHON = f"{sys.version_info[0]}.{sys.version_info[1]}"
CODECS = ("pure", "compiled")
TRIES = 3
SECONDS = 60.0
MANY = 20  # calls: a round trip, not a message
SYSTEM_MIN = 0.25
"""The least bound of system calls: below, it is the luck of the batches."""

HEAD = """\
# Per message, at most: Python calls with the pure codec, with the compiled one, and system calls.
# Written by `python -m tests.cost --record`; tests/cost/count.py says what is counted.
"""


class NoCodec(Exception):
    """The codec is not there."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What one case makes per message.

    Attributes:
        calls: Python calls.
        system: system calls.
        functions: what was called how often.
    """

    calls: int
    system: float
    functions: dict[str, int]


def count(codec: str) -> dict[str, Cost]:
    """Count every case once, in a process of its own.

    Raises:
        NoCodec: this installation has no such codec.
    """
    done = subprocess.run(
        [sys.executable, "-m", "tests.cost.cases"],
        cwd=ROOT,
        env={**os.environ, "LEVERET_CODEC": codec, "PYTHONHASHSEED": "0"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["no words"]
        if f"LEVERET_CODEC={codec}" in lines[-1]:
            raise NoCodec(lines[-1])
        raise RuntimeError(done.stderr)
    counted = json.loads(done.stdout)
    assert counted["codec"] == codec
    return {name: Cost(**cost) for name, cost in counted["cases"].items()}


def least(first: dict[str, Cost], second: dict[str, Cost]) -> dict[str, Cost]:
    """The lower count of each case: threads that get into each other's way cost calls."""
    return {
        name: Cost(
            min(cost.calls, second[name].calls),
            min(cost.system, second[name].system),
            min(cost, second[name], key=lambda each: each.calls).functions,
        )
        for name, cost in first.items()
    }


Bounds = dict[str, dict[str, float]]


def read() -> tuple[Bounds, bool]:
    """Case -> bound of calls by codec, and of system calls as `system`; whether they were
    recorded with this version of Python.
    """
    with FILE.open("rb") as file:
        recorded = tomllib.load(file)
    return recorded["per_message"], recorded["python"] == PYTHON


def without_python(cost: Cost) -> Cost:
    """The cost without the functions of Python's own modules, and the lock that mends 3.14's."""
    others = ("python/", "sync/locks.py:")
    own = {name: often for name, often in cost.functions.items() if not name.startswith(others)}
    return Cost(sum(own.values()), cost.system, own)


def excesses(costs: dict[str, Cost], codec: str, bounds: Bounds) -> list[str]:
    """A line for each bound that is not kept."""
    lines = []
    for name, cost in costs.items():
        most = bounds[name]
        if cost.calls > most[codec]:
            listed = "".join(f"\n    {often} {which}" for which, often in cost.functions.items())
            lines.append(
                f"{name}, {codec}: {cost.calls} calls a message, at most {most[codec]}{listed}"
            )
        if cost.system > most["system"]:
            lines.append(
                f"{name}, {codec}: {cost.system} system calls a message, at most {most['system']}"
            )
    return lines


def bound(calls: int) -> int:
    """The bound of what was counted: itself, and a little more of a whole round trip."""
    return calls if calls < MANY else math.ceil(calls * 1.05)


def record(counted: dict[str, dict[str, Cost]]) -> None:
    """Write bounds.toml: codec -> what was counted."""
    width = max(len(name) for name in counted["pure"]) + 2
    lines = []
    for name in counted["pure"]:
        costs = {codec: counted[codec][name] for codec in CODECS}
        system = max(SYSTEM_MIN, *(math.ceil(cost.system * 20) / 20 for cost in costs.values()))
        calls = ", ".join(f"{codec} = {bound(cost.calls):3}" for codec, cost in costs.items())
        quoted = f'"{name}"'.ljust(width)
        lines.append(f"{quoted} = {{ {calls}, system = {system} }}\n")
    head = f'{HEAD}\npython = "{PYTHON}"\n\n[per_message]\n'
    FILE.write_text(head + "".join(lines), encoding="utf-8")
