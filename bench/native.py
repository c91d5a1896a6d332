"""Builds the C program of rabbitmq-c in an ignored folder."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

SOURCE = Path(__file__).parent / "rabbitmq_c" / "bench.c"
BINARY = Path(__file__).parent / "build" / "rabbitmq_c"
PACKAGE = "librabbitmq-dev"


class Unavailable(Exception):
    """The C program cannot be built here; the text says what is missing."""


def build() -> Path:
    """The program, built if it is missing or older than its source.

    Raises:
        Unavailable: no compiler, no header, or the compiler's own words.
    """
    if BINARY.exists() and BINARY.stat().st_mtime >= SOURCE.stat().st_mtime:
        return BINARY
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        raise Unavailable("no C compiler (cc or gcc)")
    if not has_header(compiler):
        raise Unavailable(f"no amqp.h: install {PACKAGE}, or let --install do it")
    BINARY.parent.mkdir(exist_ok=True)
    # Built aside and moved, so that a program that is running is not written into.
    fresh = BINARY.with_suffix(f".{os.getpid()}")
    command = [compiler, "-std=gnu11", "-O2", "-Wall", "-Wextra", str(SOURCE), "-o", str(fresh)]
    result = subprocess.run([*command, "-lrabbitmq"], capture_output=True, text=True, check=False)
    if result.returncode:
        raise Unavailable(f"the C program does not compile: {result.stderr.strip()}")
    fresh.replace(BINARY)
    return BINARY


def has_header(compiler: str) -> bool:
    """Whether the compiler finds amqp.h, at its old place or its new one."""
    return any(
        subprocess.run(
            [compiler, "-E", "-x", "c", "-"],
            input=f"#include <{header}>\n",
            capture_output=True,
            text=True,
            check=False,
        ).returncode
        == 0
        for header in ("amqp.h", "rabbitmq-c/amqp.h")
    )


def install() -> None:
    """Install the header and the library with apt-get.

    Raises:
        Unavailable: no apt-get, or it failed (root is needed).
    """
    tool = shutil.which("apt-get")
    if tool is None:
        raise Unavailable(f"no apt-get here to install {PACKAGE}")
    result = subprocess.run(
        [tool, "install", "-y", "--no-install-recommends", PACKAGE],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "DEBIAN_FRONTEND": "noninteractive"},
    )
    if result.returncode:
        last = (result.stderr.strip().splitlines() or ["no message"])[-1]
        raise Unavailable(f"apt-get install {PACKAGE}: {last}")
