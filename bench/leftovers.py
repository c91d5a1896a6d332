"""What a run must not leave on the broker: its queues and exchanges, even when it is killed.

SIGTERM ends a process of the harness as Ctrl-C does, so that what it has made is deleted. For what
no process survives (SIGKILL, a broker that is away at the end), the names are noted in `NOTES`, a
file for each, from before they are made until they are deleted; the next run looks there.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

from bench.address import Address

NOTES = Path(__file__).resolve().parent.parent / ".bench"


def end_on_sigterm() -> None:
    """Have SIGTERM raise SystemExit in the main thread."""
    signal.signal(signal.SIGTERM, _end)


def _end(number: int, frame: object) -> None:
    raise SystemExit(128 + number)


def note(name: str, url: str) -> None:
    """A queue and an exchange of that name are about to be made."""
    NOTES.mkdir(exist_ok=True)
    (NOTES / name).write_text(f"{os.getpid()} {_place(url)}", encoding="utf-8")


def forget(name: str) -> None:
    """They are deleted."""
    (NOTES / name).unlink(missing_ok=True)


def names(url: str) -> list[str]:
    """Names on this broker whose process is gone."""
    found = []
    for path in sorted(NOTES.glob("*")):
        process, _, place = path.read_text(encoding="utf-8").partition(" ")
        if place == _place(url) and not _lives(int(process)):
            found.append(path.name)
    return found


def _lives(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        pass  # it is another user's
    return True


def _place(url: str) -> str:
    """The broker and its virtual host, without the password."""
    address = Address.parse(url)
    return f"{address.host}:{address.port}/{address.virtual_host}"
