"""Python calls and system calls per message, by the interpreter's own profiling hook.

A clock says something else on every machine and under every load; the calls that a message makes
do not. A case (cases.py) does `MESSAGES` times the same on bench/peer.py, after as many to warm
up. What is counted, in all of the client's threads:

- calls: Python functions entered, resumed coroutines and generators included. A function counts
  as often as it is called for each message, rounded down: what happens once a batch (a turn of
  the I/O thread, a wake-up) counts nothing, however large the batches happen to be.
- system: methods of sockets and selectors, per message, those of batches included.

The functions of Python's own modules differ from version to version: on another one than the
bounds were recorded with, they are not counted.

What the compiled codec does inside is not seen here; bench/micro.py times it.

bounds.toml holds what was recorded. After a change that is worth its cost, or that saves some:

    python -m tests.cost            # what is called for each message, beside the bounds
    python -m tests.cost --record   # writes bounds.toml anew
"""

from __future__ import annotations

import contextlib
import select
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import CodeType, FrameType
from typing import Any

import leveret

MESSAGES = 1000
TOLERANCE = 0.05  # of a call: the first or the last of a run may go another way
OURS = str(Path(__file__).parent)
PACKAGE = f"{Path(leveret.__file__).parent}/"
SYSTEM = (socket.socket, select.epoll)


@dataclass
class Counts:
    """What was called while `active`, by the threads in `watching` and those started there."""

    active: bool = False
    calls: Counter[CodeType] = field(default_factory=Counter)
    system: Counter[str] = field(default_factory=Counter)

    @contextlib.contextmanager
    def watching(self) -> Iterator[None]:
        """The block in which threads are started, and in which this one is looked at."""
        threading.setprofile(self._profile)
        sys.setprofile(self._profile)
        try:
            yield
        finally:
            sys.setprofile(None)
            threading.setprofile(None)

    def _profile(self, frame: FrameType, event: str, argument: Any) -> None:
        if not self.active:
            return
        if event == "call":
            self.calls[frame.f_code] += 1
        elif event == "c_call" and isinstance(argument.__self__, SYSTEM):
            self.system[argument.__name__] += 1

    def functions(self) -> dict[str, int]:
        """Function -> how often it is called for each message, where that is at least once."""
        names: Counter[str] = Counter()
        for code, count in self.calls.items():
            often = int(count / MESSAGES + TOLERANCE)
            if often and not code.co_filename.startswith(OURS):
                names[f"{_place(code.co_filename)}:{code.co_qualname}"] += often
        return dict(sorted(names.items()))

    def as_json(self) -> dict[str, object]:
        functions = self.functions()
        return {
            "calls": sum(functions.values()),
            "system": self.system.total() / MESSAGES,
            "functions": functions,
        }


def _place(path: str) -> str:
    """A file's name; of the package, within it."""
    if path.startswith(PACKAGE):
        return path.removeprefix(PACKAGE)
    return "python/" + path.rpartition("/")[2]
