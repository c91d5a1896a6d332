"""Doing two things at once in asyncio tests; `threads` has the same names for blocking ones."""

from __future__ import annotations

import asyncio
import inspect
import time
from collections.abc import Awaitable, Callable
from typing import Any

__all__ = ["Background", "Signal", "aside", "eventually", "start"]

SECONDS = 10.0
STEP = 0.01


class Background:
    """Something under way beside the test. Made by `start`."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    async def result(self, timeout: float = SECONDS) -> Any:
        """Wait for its end: what it gave, or raise what it raised."""
        done, _ = await asyncio.wait([self._task], timeout=timeout)
        assert done, f"still running after {timeout} s"
        return self._task.result()


def start(function: Callable[..., Awaitable[Any]], *arguments: Any, **options: Any) -> Background:
    """Call a coroutine function in a task."""

    async def run() -> Any:
        return await function(*arguments, **options)

    return Background(asyncio.create_task(run()))


class Signal:
    """A callback that remembers what it was called with, and can be waited for."""

    def __init__(self) -> None:
        self.calls: list[tuple[Any, ...]] = []
        self._queue: asyncio.Queue[tuple[Any, ...]] = asyncio.Queue()

    def __call__(self, *arguments: Any) -> None:
        self.calls.append(arguments)
        self._queue.put_nowait(arguments)

    async def next(self, timeout: float = SECONDS) -> tuple[Any, ...]:
        """The arguments of the next call."""
        async with asyncio.timeout(timeout):
            return await self._queue.get()


async def aside(function: Callable[..., Any], *arguments: Any) -> Any:
    """Call something that blocks without holding up the event loop."""
    return await asyncio.to_thread(function, *arguments)


async def eventually(check: Callable[[], Any], timeout: float = SECONDS) -> Any:
    """Ask until the answer is true, for facts of which the broker tells nobody; give it."""
    end = time.monotonic() + timeout
    while True:
        answer = check()
        if inspect.isawaitable(answer):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < end, f"not so within {timeout} s: {check}"
        await asyncio.sleep(STEP)
