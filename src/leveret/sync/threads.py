"""What runs in the threads of the blocking client."""

from __future__ import annotations

import contextlib
import logging
import queue
import threading
import weakref
from collections import deque
from collections.abc import Callable
from typing import TYPE_CHECKING

from .readiness import READ, Readiness
from .stream import Stream

if TYPE_CHECKING:
    from .engine import Engine

__all__ = ["Baton", "Callbacks", "serve", "spawn"]

logger = logging.getLogger("leveret.sync")

Call = tuple[Callable[..., object], tuple[object, ...]]


def spawn(run: Callable[[], None], name: str) -> None:
    """Run a function beside its caller."""
    threading.Thread(target=_run, args=(run,), name=name, daemon=True).start()


def _run(run: Callable[[], None]) -> None:
    with contextlib.suppress(SystemExit):  # it ends the thread; it was logged
        run()


class Baton:
    """What wakes the I/O thread while it stands by."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._lock.acquire()

    def pass_on(self) -> None:
        """Wake it, now or when it next waits. Any thread, and any signal handler, may."""
        with contextlib.suppress(RuntimeError):  # it was passed on before
            self._lock.release()

    def wait(self, timeout: float | None) -> None:
        """Wait for it, for so many seconds."""
        self._lock.acquire(timeout=-1 if timeout is None else timeout)


def serve(
    reference: weakref.ref[Engine],
    readiness: Readiness,
    baton: Baton,
    stream: Stream,
    callbacks: Callbacks,
) -> None:
    """The I/O thread. While it waits it does not hold the connection, so that one that nobody
    holds any more is collected, which wakes it.
    """
    wanted: int | None = READ
    timeout: float | None = 0.0
    while True:
        ready = 0
        if wanted is None:
            baton.wait(timeout)
        else:
            ready = readiness.wait(wanted, timeout)
        engine = reference()
        if engine is None or engine.collected:  # since 3.15, it may be met on its way out
            break
        wanted, timeout = engine.turn(ready)
        readiness = engine.readiness
        del engine
        if timeout is not None and timeout < 0:
            return
    stream.close()
    readiness.close()
    callbacks.end()


class Callbacks:
    """What is to be called outside of the lock and of the I/O thread, and the thread that does.

    `put`, `put_last` and `end` want one caller at a time. What `put` brings goes before all that
    `put_last` has brought: the end of the connection does not wait for a thousand returns.
    """

    def __init__(self) -> None:
        self._first: deque[Call] = deque()
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._ended = False

    def put(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function soon."""
        if self._ended:
            spawn(lambda: _call((function, arguments)), "leveret callback")
            return
        self._first.append((function, arguments))
        self._put((_nothing, ()))

    def put_last(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function after all others."""
        self._put((function, arguments))

    def _put(self, call: Call) -> None:
        self._queue.put(call)
        if self._thread is None:
            self._thread = threading.Thread(
                target=_run_callbacks,
                args=(self._first, self._queue),
                name="leveret callbacks",
                daemon=True,
            )
            self._thread.start()

    def end(self) -> None:
        """No more comes, but for stragglers."""
        self._ended = True
        self._queue.put(None)

    def forget(self) -> None:
        """In a child process: call nothing."""
        self._first = deque()
        self._queue = queue.SimpleQueue()
        self._thread = threading.current_thread()  # which will not look at them

    def is_caller(self) -> bool:
        """Whether this thread is the one that calls."""
        return threading.current_thread() is self._thread


def _nothing() -> None:
    """Only wakes the thread."""


def _run_callbacks(first: deque[Call], calls: queue.SimpleQueue[Call | None]) -> None:
    call: Call | None
    while True:
        call = calls.get()
        while first:
            _call(first.popleft())
        if call is None:
            return
        _call(call)
        call = None  # hold nothing while there is nothing to do


def _call(call: Call) -> None:
    try:
        call[0](*call[1])
    except BaseException:  # SystemExit, too: the next callback needs the thread
        logger.exception("error in callback %r", call[0])
