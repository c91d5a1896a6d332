"""The code of the README runs: each block by itself, on the embedded broker."""

from __future__ import annotations

import re
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from leveret.broker import Broker

ROOT = Path(__file__).resolve().parents[1]
README = ROOT / "README.md"
URL = '"amqp://localhost"'
SECONDS = 30
FIRST_SCREEN = 50  # lines

PRINTED = {
    "Leveret": "b'hello'",
    "What becomes of a publish": "publish to exchange='', routing_key='no-such-queue' returned",
    "Consuming": "42",
    "Errors and timeouts": "queue.declare(queue='no-such-queue', passive=True): (404) NOT_FOUND",
}
"""Something that the first block of a section must print."""


@dataclass(frozen=True)
class Block:
    """A block of Python code."""

    section: str
    line: int
    code: str
    first: bool

    def __str__(self) -> str:
        return f"line {self.line}"


def blocks() -> list[Block]:
    """Every block of Python code in the README."""
    found: list[Block] = []
    section = ""
    lines = README.read_text().splitlines()
    for number, line in enumerate(lines):
        if match := re.fullmatch(r"#+ (.+)", line):
            section = match[1]
        elif line == "```python":
            end = lines.index("```", number)
            first = all(each.section != section for each in found)
            code = "\n".join(lines[number + 1 : end])
            found.append(Block(section, number + 1, code + "\n", first))
    return found


BLOCKS = blocks()


@pytest.mark.parametrize("block", BLOCKS, ids=str)
def test_block_runs(block: Block, tmp_path: Path) -> None:
    is_test = "\ndef test_" in block.code
    script = tmp_path / ("test_readme_block.py" if is_test else "block.py")
    with Broker() as broker:
        script.write_text(block.code.replace(URL, repr(broker.url)))
        runner = ["-m", "pytest", "-q", "-p", "no:cacheprovider"] if is_test else []
        done = subprocess.run(
            [sys.executable, "-W", "error", *runner, str(script)],
            capture_output=True,
            text=True,
            timeout=SECONDS,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 0, done.stdout + done.stderr
    if block.first:
        assert PRINTED.get(block.section, "") in done.stdout
    if is_test:
        assert "1 passed" in done.stdout


def test_the_blocks_are_found() -> None:
    assert len(BLOCKS) >= 7
    assert {block.section for block in BLOCKS} >= PRINTED.keys()
    assert sum(URL in block.code for block in BLOCKS) >= 6


def test_the_first_screen_has_both_clients_in_about_ten_lines() -> None:
    blocking, asynchronous = BLOCKS[:2]
    assert "leveret.connect" in blocking.code
    assert "leveret.asyncio.connect" in asynchronous.code
    for block in (blocking, asynchronous):
        assert len([line for line in block.code.splitlines() if line.strip()]) <= 12
        assert block.line < FIRST_SCREEN


def test_links_lead_somewhere() -> None:
    """Those to files of this repository."""
    targets = re.findall(r"\]\(([^)#]+)[^)]*\)", README.read_text())
    here = [target for target in targets if "://" not in target]
    assert here
    assert [target for target in here if not (ROOT / target).exists()] == []
