#!/usr/bin/env python3
"""Make the blocking client out of the asyncio client.

    tools/async_to_sync.py            write src/leveret/sync/
    tools/async_to_sync.py --check    exit 1 if a file there is not what would be written

The asyncio files are the source. What never awaits lives in `leveret/client/`, what cannot be
translated (the transports) is written by hand for each side; the rest differs by `async`,
`await` and a handful of names, and is translated token by token, so that layout and comments
stay. Names are declared below, and nothing is guessed.
"""

from __future__ import annotations

import argparse
import io
import sys
import tokenize
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
SOURCE = ROOT / "src" / "leveret" / "asyncio"
TARGET = ROOT / "src" / "leveret" / "sync"
FILES = ("__init__.py", "channel.py", "connection.py", "consumer.py", "publisher.py")

NAMES = {
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "__aenter__": "__enter__",
    "__aexit__": "__exit__",
    "__aiter__": "__iter__",
    "__anext__": "__next__",
}
TEXTS = {
    "The asyncio client: the names of `leveret`, with `await`.": (
        "The blocking client, under the names that `leveret` itself has."
    ),
    "StopAsyncIteration": "StopIteration",
    "from collections.abc import AsyncIterator, Awaitable, Callable": (
        "from collections.abc import Callable, Iterator"
    ),
    "from collections.abc import Awaitable, Callable, Mapping": (
        "from collections.abc import Callable, Mapping"
    ),
    "Awaitable[object] | object": "object",
}
HEADER = "# Made by tools/async_to_sync.py from leveret/asyncio/{name}: change it there.\n"


def translate(source: str, name: str) -> str:
    """The blocking twin of one asyncio module."""
    for old, new in TEXTS.items():
        source = source.replace(old, new)
    lines = source.splitlines(keepends=True)
    edits: list[tuple[int, int, int, str]] = []
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type != tokenize.NAME and token.type not in _ASYNC_TOKENS:
            continue
        row, start = token.start
        end = token.end[1]
        if token.string in ("async", "await"):
            after = lines[row - 1][end:]
            edits.append((row, start, end + len(after) - len(after.lstrip(" ")), ""))
        elif token.string in NAMES:
            edits.append((row, start, end, NAMES[token.string]))
    for row, start, end, text in sorted(edits, reverse=True):
        line = lines[row - 1]
        lines[row - 1] = line[:start] + text + line[end:]
    return HEADER.format(name=name) + "".join(lines)


_ASYNC_TOKENS = {
    getattr(tokenize, kind) for kind in ("ASYNC", "AWAIT") if hasattr(tokenize, kind)
}


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale = []
    for name in FILES:
        made = translate((SOURCE / name).read_text(), name)
        target = TARGET / name
        if target.exists() and target.read_text() == made:
            continue
        stale.append(name)
        if not check:
            target.parent.mkdir(exist_ok=True)
            target.write_text(made)
    for name in stale:
        state = "is not up to date" if check else "written"
        print(f"src/leveret/sync/{name} {state}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
