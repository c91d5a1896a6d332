"""Small functions that py-amqp exports."""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Generator
from logging import NullHandler
from typing import Any

from vine import promise

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["bytes_to_str", "coro", "get_logger", "promise", "set_cloexec", "str_to_bytes"]


def set_cloexec(fd: Any, cloexec: bool) -> int | None:
    """Have a file descriptor closed, or not, when the process executes another program.

    Raises:
        NotImplementedError: the system has no such flag.
    """
    if fcntl is None:
        return None
    flag = getattr(fcntl, "FD_CLOEXEC", None)
    if flag is None:
        raise NotImplementedError("this platform has no close-on-exec flag")
    flags = fcntl.fcntl(fd, fcntl.F_GETFD)
    flags = flags | flag if cloexec else flags & ~flag
    return int(fcntl.fcntl(fd, fcntl.F_SETFD, flags))


def coro(function: Callable[..., Generator[Any, Any, Any]]) -> Callable[..., Any]:
    """A decorator: the generator stands at its first `yield` when it is handed out."""

    @functools.wraps(function)
    def start(*args: Any, **kwargs: Any) -> Any:
        generator = function(*args, **kwargs)
        next(generator)
        return generator

    return start


def str_to_bytes(s: Any) -> Any:
    """The bytes of a string, lone surrogates included; anything else as it is."""
    return s.encode("utf-8", "surrogatepass") if isinstance(s, str) else s


def bytes_to_str(s: Any) -> Any:
    """The opposite of `str_to_bytes`."""
    return s.decode("utf-8", "surrogatepass") if isinstance(s, bytes) else s


def get_logger(logger: Any) -> Any:
    """A logger, by itself or by its name, that does not complain about missing handlers."""
    if isinstance(logger, str):
        logger = logging.getLogger(logger)
    if not logger.handlers:
        logger.addHandler(NullHandler())
    return logger
