"""Which TCP options this system has."""

from __future__ import annotations

import platform
import re
import socket
import sys

__all__ = ["KNOWN_TCP_OPTS", "LINUX_VERSION", "SOL_TCP"]

SOL_TCP: int = getattr(socket, "SOL_TCP", socket.IPPROTO_TCP)

_ALL = {
    "TCP_CORK",
    "TCP_DEFER_ACCEPT",
    "TCP_KEEPCNT",
    "TCP_KEEPIDLE",
    "TCP_KEEPINTVL",
    "TCP_LINGER2",
    "TCP_MAXSEG",
    "TCP_NODELAY",
    "TCP_QUICKACK",
    "TCP_SYNCNT",
    "TCP_USER_TIMEOUT",
    "TCP_WINDOW_CLAMP",
}
_NOT_THERE = {
    "darwin": {"TCP_USER_TIMEOUT"},
    "aix": {"TCP_MAXSEG", "TCP_USER_TIMEOUT"},
    "sunos": {"TCP_MAXSEG", "TCP_USER_TIMEOUT"},
    "win": _ALL - {"TCP_NODELAY"},
    "cygwin": _ALL - {"TCP_NODELAY"},
}
_USER_TIMEOUT_SINCE = (2, 6, 37)  # of Linux


def _versionatom(text: str) -> int:
    """The number at the beginning of a part of a version; 0 where there is none."""
    found = re.match(r"\d+", text)
    return int(found.group()) if found else 0


def _linux_version_to_tuple(release: str) -> tuple[int, ...]:
    """`6.1.0-18-amd64` as `(6, 1, 0)`."""
    return tuple(_versionatom(part) for part in release.split(".")[:3])


def _known_options(system: str, release: str) -> set[str]:
    if system.startswith("linux"):
        if release.endswith("Microsoft"):  # WSL 1 names options that it does not have
            return {"TCP_NODELAY", "TCP_KEEPIDLE", "TCP_KEEPINTVL", "TCP_KEEPCNT"}
        old = _linux_version_to_tuple(release) < _USER_TIMEOUT_SINCE
        return _ALL - {"TCP_USER_TIMEOUT"} if old else set(_ALL)
    if "bsd" in system:
        return _ALL - {"TCP_USER_TIMEOUT"}
    for prefix, missing in _NOT_THERE.items():
        if system.startswith(prefix):
            return _ALL - missing
    return set(_ALL)


LINUX_VERSION: tuple[int, ...] | None = None
if sys.platform.startswith("linux"):
    LINUX_VERSION = _linux_version_to_tuple(platform.release())
#: Names of options that may be set on a TCP socket here.
KNOWN_TCP_OPTS = _known_options(sys.platform, platform.release())
