#!/usr/bin/env python3
"""Make the blocking client out of the asyncio client, and its tests out of the asyncio tests.

    tools/async_to_sync.py            write src/leveret/sync/ and tests/conformance/sync/
    tools/async_to_sync.py --check    exit 1 if a file there is not what would be written

The asyncio files are the source. What never awaits lives in `leveret/client/`, what cannot be
translated (the transports; in the tests, tasks and threads) is written by hand for each side;
the rest differs by `async`, `await` and a handful of names, and is translated token by token, so
that layout and comments stay. Names are declared below, and nothing is guessed.
"""

from __future__ import annotations

import argparse
import io
import sys
import tokenize
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

NAMES = {
    "AsyncIterator": "Iterator",
    "StopAsyncIteration": "StopIteration",
    "asynccontextmanager": "contextmanager",
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
    "from collections.abc import Awaitable, Callable": "from collections.abc import Callable",
    "Awaitable[object] | object": "object",
    "from .connecting import open_core\n": "",
    "from .transport import Core\n": "from .transport import Core, open_core\n",
}
TEST_TEXTS = {
    "import leveret.asyncio as client": "import leveret as client",
    "from ...support.tasks import": "from ...support.threads import",
}
HEADER = "# Made by tools/async_to_sync.py from {source}: change it there.\n"


@dataclass(frozen=True)
class Pair:
    """A folder and the folder made of it.

    Attributes:
        source, target: the folders.
        files: what is translated; None for every file of the source.
        texts: words to replace before the tokens are looked at.
        shown: where the source is, for the first line of each file.
    """

    source: Path
    target: Path
    texts: Mapping[str, str]
    shown: str
    files: tuple[str, ...] | None = None

    def names(self) -> list[str]:
        """The files to translate."""
        if self.files is not None:
            return list(self.files)
        return sorted(path.name for path in self.source.glob("*.py"))

    def orphans(self) -> list[Path]:
        """Files made by this tool whose source is gone."""
        made = HEADER.partition("{")[0]
        return [
            path
            for path in sorted(self.target.glob("*.py"))
            if path.name not in self.names() and path.read_text().startswith(made)
        ]


PAIRS = (
    Pair(
        ROOT / "src" / "leveret" / "asyncio",
        ROOT / "src" / "leveret" / "sync",
        TEXTS,
        "leveret/asyncio/",
        files=(
            "__init__.py",
            "channel.py",
            "connection.py",
            "consumer.py",
            "publisher.py",
            "topology.py",
        ),
    ),
    Pair(
        ROOT / "tests" / "conformance" / "asyncio",
        ROOT / "tests" / "conformance" / "sync",
        TEST_TEXTS,
        "conformance/asyncio/",
    ),
)


def translate(source: str, name: str, texts: Mapping[str, str]) -> str:
    """The blocking twin of one asyncio module; `name` is where that is, for its first line."""
    for old, new in texts.items():
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
    return HEADER.format(source=name) + "".join(lines)


_ASYNC_TOKENS = {
    getattr(tokenize, kind) for kind in ("ASYNC", "AWAIT") if hasattr(tokenize, kind)
}


def main() -> int:
    """Write the files, or compare them."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--check", action="store_true", help="compare, write nothing")
    check = parser.parse_args().check
    stale: list[Path] = []
    for pair in PAIRS:
        for name in pair.names():
            made = translate((pair.source / name).read_text(), pair.shown + name, pair.texts)
            target = pair.target / name
            if target.exists() and target.read_text() == made:
                continue
            stale.append(target)
            if not check:
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(made)
        for target in pair.orphans():
            stale.append(target)
            if not check:
                target.unlink()
    for target in stale:
        state = "is not up to date" if check else "written" if target.exists() else "removed"
        print(f"{target.relative_to(ROOT)} {state}")
    return 1 if check and stale else 0


if __name__ == "__main__":
    sys.exit(main())
