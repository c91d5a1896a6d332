"""Switches the takeover on and off for a whole environment.

On means two files beside the installed packages: the finder, and a `.pth` file that runs it at
the start of every interpreter. They import nothing of Leveret until someone imports `amqp`.
"""

from __future__ import annotations

import os
import sysconfig
from pathlib import Path

from . import finder

__all__ = ["disable", "enable", "status"]

_MODULE = "leveret_amqp_finder"


def _files() -> tuple[Path, Path]:
    """The finder's copy and the `.pth` file, there or not."""
    folder = Path(sysconfig.get_path("purelib"))
    return folder / f"{_MODULE}.py", folder / f"{_MODULE}.pth"


def enable() -> str:
    """Switch it on; what was done, in words."""
    module, start = _files()
    source = Path(finder.__file__).read_text(encoding="utf-8")
    _write(module, source)
    _write(start, f"import {_MODULE}; {_MODULE}.activate()\n")
    return f"import amqp gives Leveret in every program that starts from now on ({start})"


def _write(path: Path, text: str) -> None:
    """All or nothing: an interpreter may start at any moment."""
    new = path.with_suffix(path.suffix + ".new")
    new.write_text(text, encoding="utf-8")
    os.replace(new, path)


def disable() -> str:
    """Switch it off; what was done, in words."""
    module, start = _files()
    was_on = start.exists()
    start.unlink(missing_ok=True)
    module.unlink(missing_ok=True)
    if not was_on:
        return "it was not enabled: import amqp gives what is installed under that name"
    return "import amqp gives py-amqp again in every program that starts from now on"


def status() -> str:
    """How it is, in words."""
    _, start = _files()
    if not start.exists():
        return f"disabled: import amqp does not give Leveret ({start} is not there)"
    return f"enabled: import amqp gives Leveret ({start})"
