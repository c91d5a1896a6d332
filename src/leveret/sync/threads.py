"""What runs in the threads of the blocking client."""

from __future__ import annotations

import logging
import queue
import selectors
import socket
import threading
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from .stream import Stream

if TYPE_CHECKING:
    from .transport import Core

__all__ = ["Callbacks", "Ready", "run_callbacks", "serve", "spawn"]

logger = logging.getLogger("leveret.sync")

Ready = list[tuple[selectors.SelectorKey, int]]
Callbacks = queue.SimpleQueue[tuple[Callable[..., object], tuple[object, ...]] | None]
Resource = selectors.BaseSelector | Stream | socket.socket


def spawn(run: Callable[[], None], name: str) -> None:
    """Run a function beside its caller."""
    threading.Thread(target=run, name=name, daemon=True).start()


def serve(
    reference: weakref.ref[Core],
    selector: selectors.BaseSelector,
    resources: tuple[Resource, ...],
    callbacks: Callbacks,
) -> None:
    """The I/O thread. While it sleeps it does not hold the connection, so that one that nobody
    holds any more is collected, which wakes it.
    """
    timeout: float | None = 0.0
    while True:
        ready = selector.select(timeout)
        core = reference()
        if core is None:
            break
        timeout = core.turn(ready)
        del core
        if timeout is not None and timeout < 0:
            return
    for resource in resources:
        resource.close()
    callbacks.put(None)


def run_callbacks(callbacks: Callbacks) -> None:
    """The thread for the user's callbacks of a connection."""
    while (call := callbacks.get()) is not None:
        try:
            call[0](*call[1])
        except Exception:
            logger.exception("error in callback %r", call[0])
        call = None
