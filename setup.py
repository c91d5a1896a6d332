"""Builds the compiled codec where that is possible; pyproject.toml has everything else.

The extension is optional. Without a C compiler, with `LEVERET_PURE=1` in the environment, and for
a Python that it does not support (PyPy, and CPython without the GIL), the package is built without
it, and does the same in Python.
"""

from __future__ import annotations

import os
import sys
import sysconfig
from pathlib import Path
from zlib import crc32

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

WIRE = "src/leveret/wire"
PARTS = (
    "memory",
    "tables",
    "properties",
    "frames",
    "methods",
    "encoders",
    "queue",
    "lanes",
    "publishes",
)
SLOTS = f"{WIRE}/_slots.pxi"
SOURCES = {  # of each extension
    "leveret.wire._speedups": [
        f"{WIRE}/_speedups.pyx",
        SLOTS,
        *(f"{WIRE}/_{part}.pxi" for part in PARTS),
    ],
}
if os.name == "posix":
    SYNC = "src/leveret/sync"
    SOURCES["leveret.sync._exchange"] = [f"{SYNC}/_exchange.pyx", f"{SYNC}/_known.pxi", SLOTS]


class OptionalBuild(build_ext):
    """A failure is told, and ends nothing."""

    def run(self) -> None:
        try:
            super().run()
        except Exception as error:
            tell(f"the compiled codec was not built: {error}")

    def build_extension(self, ext: Extension) -> None:
        try:
            super().build_extension(ext)
        except Exception as error:
            tell(f"the compiled codec was not built: {error}")


def fingerprint(sources: list[str]) -> int:
    """What a build was made of: a test compares it with the sources that lie beside the build."""
    return crc32(b"".join(sorted(Path(path).read_bytes() for path in sources)))


def tell(words: str) -> None:
    print(f"leveret: {words}; the package works without it, only slower", file=sys.stderr)


def extensions() -> list[Extension]:
    if os.environ.get("LEVERET_PURE", "0") not in ("", "0"):
        tell("LEVERET_PURE is set: no compiled codec")
    elif sys.implementation.name != "cpython":
        tell(f"no compiled codec for {sys.implementation.name}")
    elif sysconfig.get_config_var("Py_GIL_DISABLED"):
        tell("no compiled codec for a Python without the GIL")
    else:
        return [
            Extension(
                name,
                sources[:1],
                depends=sources[1:],
                define_macros=[("LEVERET_SOURCES", f"{fingerprint(sources)}u")],
                optional=True,
            )
            for name, sources in SOURCES.items()
        ]
    return []


setup(ext_modules=extensions(), cmdclass={"build_ext": OptionalBuild})
