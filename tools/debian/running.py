"""Commands, locks, and the two ways to fail."""

from __future__ import annotations

import contextlib
import fcntl
import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path


class Unavailable(Exception):
    """The machine does not allow it (no root, no apt, no network): exit status 3."""


class Failed(Exception):
    """It should have worked and did not: exit status 1."""


def cache_folder() -> Path:
    """A place in the user's cache, shared by all clones."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "leveret"


@contextlib.contextmanager
def locked(path: Path, timeout: float = 900.0) -> Iterator[None]:
    """Hold an exclusive lock, on a file made for it; Failed after `timeout` seconds."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a")
    except PermissionError as error:
        raise Unavailable(f"cannot write {error.filename}: it belongs to another user") from None
    deadline = time.monotonic() + timeout
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise Failed(f"another run has held {path} too long") from None
                time.sleep(0.1)
        yield


def say(text: str) -> None:
    print(text, flush=True)


def run(
    command: Sequence[str],
    *,
    timeout: float,
    environment: Mapping[str, str] | None = None,
    folder: Path | None = None,
    log: Path | None = None,
) -> str:
    """Run a command without input and return what it wrote; Failed with its last lines.

    `timeout` is in seconds; `folder` is where it runs, if not in this one's. With `log`, the output
    is also appended to that file.
    """
    try:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            env=None if environment is None else dict(environment),
            cwd=folder,
        )
        output, status = done.stdout, f"exit status {done.returncode}"
        good = done.returncode == 0
    except subprocess.TimeoutExpired as error:
        partial = error.stdout or b""
        output = partial.decode(errors="replace") if isinstance(partial, bytes) else partial
        status, good = f"no end after {timeout:.0f} s", False
    except FileNotFoundError:
        raise Unavailable(f"the command {command[0]} is not on this machine") from None
    if log is not None:
        log.parent.mkdir(parents=True, exist_ok=True)
        with log.open("a") as file:
            file.write(f"$ {' '.join(command)}\n{output}\n")
    if not good:
        tail = "\n  ".join(output.strip().splitlines()[-8:])
        raise Failed(f"{command[0]}: {status}\n  {tail}")
    return output
