"""Connections and the life of their process: forks and the end of the interpreter.

A child of `fork` has the parent's sockets but none of its threads. Before the fork all locks are
taken, so that no connection is halfway through a change; after it the parent goes on, and the
child closes its copies of the descriptors without a byte and fails what is waited for. At the
end of the interpreter each connection is closed in good order, within a bound.

Under gevent, threads are greenlets, and what they wait in has to give way to the others: that is so
only where both were patched, or neither.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import sys
import weakref
from typing import TYPE_CHECKING

from ..client.deadline import Deadline
from ..exceptions import ConfigurationError, LeveretError

if TYPE_CHECKING:
    from .transport import Core

__all__ = ["CORES", "check_patches"]

EXIT_TIMEOUT = 2.0  # seconds for each connection
FORK_TIMEOUT = 1.0  # seconds for each lock: a fork is never held up by a connection for long

CORES: dict[int, weakref.ref[Core]] = {}  # from the start to the end of each I/O thread

_locked: list[Core] = []


def check_patches() -> None:
    """Look whether gevent was asked to patch threads and waiting alike.

    Raises:
        ConfigurationError: one of the two only; a connection would hang.
    """
    monkey = sys.modules.get("gevent.monkey")
    if monkey is None:
        return
    threads, waits = map(monkey.is_module_patched, ("threading", "select"))
    if threads != waits:
        done, left = ("threading", "select") if threads else ("select", "threading")
        raise ConfigurationError(
            f"gevent has patched {done}, but not {left}: expected monkey.patch_all() with both"
        )


def _cores() -> list[Core]:
    return [core for reference in list(CORES.values()) if (core := reference()) is not None]


def _before_fork() -> None:
    for core in _cores():
        if core.lock.acquire(timeout=FORK_TIMEOUT):
            _locked.append(core)


def _after_fork_in_parent() -> None:
    while _locked:
        _locked.pop().lock.release()


def _after_fork_in_child() -> None:
    _locked.clear()
    for core in _cores():
        core.forked()
    CORES.clear()


def _at_exit() -> None:
    for core in _cores():
        with contextlib.suppress(LeveretError, OSError):
            core.close(Deadline(EXIT_TIMEOUT))


atexit.register(_at_exit)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
