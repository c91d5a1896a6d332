"""Doing two things at once in blocking tests; `tasks` has the same names for asyncio ones."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any

__all__ = ["Background", "Signal", "aside", "eventually", "start"]

SECONDS = 10.0
STEP = 0.01


class Background:
    """Something under way beside the test. Made by `start`."""

    def __init__(self, run: Callable[[], Any]) -> None:
        self._value: Any = None
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, args=(run,), name="test", daemon=True)
        self._thread.start()

    def _run(self, run: Callable[[], Any]) -> None:
        try:
            self._value = run()
        except BaseException as error:
            self._error = error

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return not self._thread.is_alive()

    def result(self, timeout: float = SECONDS) -> Any:
        """Wait for its end: what it gave, or raise what it raised."""
        self._thread.join(timeout)
        assert self.done, f"still running after {timeout} s"
        if self._error is not None:
            raise self._error
        return self._value


def start(function: Callable[..., Any], *arguments: Any, **options: Any) -> Background:
    """Call a function in a thread."""
    return Background(lambda: function(*arguments, **options))


class Signal:
    """A callback that remembers what it was called with, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._queue: queue.Queue[tuple[Any, ...]] = queue.Queue()

    def __call__(self, *arguments: Any) -> None:
        self.calls.append(arguments)
        self._queue.put(arguments)

    def next(self, timeout: float = SECONDS) -> tuple[Any, ...]:
        """The arguments of the next call."""
        try:
            return self._queue.get(timeout=timeout)
        except queue.Empty:
            raise TimeoutError(f"not called within {timeout} s") from None


def aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that blocks."""
    return function(*arguments)


def eventually(check: Callable[[], Any], timeout: float = SECONDS) -> Any:
    """Ask until the answer is true, for facts of which the broker tells nobody; give it."""
    end = time.monotonic() + timeout
    while not (answer := check()):
        assert time.monotonic() < end, f"not so within {timeout} s: {check}"
        time.sleep(STEP)
    return answer
