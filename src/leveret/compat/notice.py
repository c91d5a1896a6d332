"""The log line that says what was replaced.

Programs set their logging up after they have imported what they are made of, where the replacing is
done: a line that nobody would hear then waits for the first connection.
"""

from __future__ import annotations

import logging
import os

__all__ = ["repeat", "say"]

logger = logging.getLogger("leveret.compat")

_unheard: list[tuple[int, str]] = []  # with the process that is to say it: not each of its forks


def say(words: str) -> None:
    """Log a line, now or when a connection is made."""
    _unheard.append((os.getpid(), words))
    repeat()


def repeat() -> None:
    """Log what could not be heard before, if it can be now."""
    while _unheard and logger.isEnabledFor(logging.INFO):
        process, words = _unheard.pop(0)
        if process == os.getpid():
            logger.info("%s", words)
