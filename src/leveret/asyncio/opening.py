"""What opens something: to be awaited, or to be entered at once.

    connection = await connect(url)
    async with connect(url) as connection: ...

Written by hand; in the blocking client `opening` leaves a function as it is.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Generator
from functools import wraps
from types import TracebackType
from typing import Any, Generic, ParamSpec, Protocol, Self, TypeVar

__all__ = ["Opening", "opening"]


class _Opened(Protocol):
    async def __aenter__(self) -> Self: ...

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None: ...


P = ParamSpec("P")
T = TypeVar("T", bound=_Opened)


class Opening(Coroutine[object, None, T], Generic[T]):
    """A coroutine that opens something, and an asynchronous context manager of what it opens."""

    __slots__ = ("_coroutine", "_opened")

    def __init__(self, coroutine: Coroutine[Any, None, T]) -> None:
        self._coroutine = coroutine
        self._opened: T | None = None

    def __await__(self) -> Generator[Any, None, T]:
        return self._coroutine.__await__()

    def send(self, value: None, /) -> object:
        """See `collections.abc.Coroutine`."""
        return self._coroutine.send(value)

    def throw(self, *arguments: Any) -> object:
        """See `collections.abc.Coroutine`."""
        return self._coroutine.throw(*arguments)

    def close(self) -> None:
        """See `collections.abc.Coroutine`."""
        self._coroutine.close()

    async def __aenter__(self) -> T:
        self._opened = opened = await self._coroutine
        return await opened.__aenter__()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        assert self._opened is not None
        await self._opened.__aexit__(kind, error, traceback)


def opening(function: Callable[P, Coroutine[Any, None, T]]) -> Callable[P, Opening[T]]:
    """Have a coroutine function give an `Opening`."""

    @wraps(function)
    def open_it(*args: P.args, **kwargs: P.kwargs) -> Opening[T]:
        return Opening(function(*args, **kwargs))

    return open_it
