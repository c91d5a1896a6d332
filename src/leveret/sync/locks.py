"""The lock that an interrupt leaves as it was.

A thread may be interrupted (Ctrl-C, a signal handler that raises) at any line and go on with the
connection, as long as `with lock:` is entered wholly or not at all. Python 3.14 can be interrupted
after it has taken the lock and before it will give it back (python/cpython#148874; not so in 3.13
and before, mended in 3.15): there, the lock is of a kind that sees to it itself.
"""

from __future__ import annotations

import _thread
import sys
import threading

__all__ = ["reentrant_lock"]

LEAKS = sys.version_info[:2] == (3, 14)


def reentrant_lock() -> threading.RLock:
    """A `threading.RLock`, to be entered by `with`."""
    lock = threading.RLock()
    return _Kept() if LEAKS and type(lock) is _thread.RLock else lock  # gevent has its own


class _Kept(_thread.RLock):  # type: ignore[misc]
    # A call of a Python function is not followed by a look for signals, one of a built-in is.
    def __enter__(self) -> bool:  # type: ignore[override]
        depth: int = self._recursion_count()  # type: ignore[attr-defined]
        try:
            return self.acquire()
        except BaseException:
            if self._recursion_count() > depth:  # type: ignore[attr-defined]
                self.release()
            raise
