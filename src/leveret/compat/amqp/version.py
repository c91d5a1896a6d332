"""The version of py-amqp that this is a drop-in for: what programs check is this one."""

from __future__ import annotations

from typing import NamedTuple

__all__ = ["VERSION", "VERSION_TEXT", "version_info_t"]


class version_info_t(NamedTuple):
    """A version in parts."""

    major: int
    minor: int
    micro: int
    releaselevel: str
    serial: str


VERSION = version_info_t(5, 4, 2, "", "")
VERSION_TEXT = ".".join(map(str, VERSION[:3]))
