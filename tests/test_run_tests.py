"""tools/run_tests with both codecs: the status and the closing line of each run."""

from __future__ import annotations

from importlib.machinery import SourceFileLoader
from importlib.util import find_spec, module_from_spec, spec_from_loader
from pathlib import Path
from types import ModuleType

import pytest

TOOL = Path(__file__).resolve().parents[1] / "tools" / "run_tests"
PICKY = """
import leveret

def test_of_one_codec():
    print("said by", leveret.codec)
    assert leveret.codec == "pure"
"""


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    loader = SourceFileLoader("run_tests", str(TOOL))
    spec = spec_from_loader("run_tests", loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


@pytest.mark.skipif(
    find_spec("leveret.wire._speedups") is None, reason="the compiled codec was not built"
)
def test_each_codec_has_its_run_and_its_status(
    tool: ModuleType, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    picky = tmp_path / "test_picky.py"
    picky.write_text(PICKY, encoding="utf-8")
    arguments = ["-q", "-s", "--noconftest", "--rootdir", str(tmp_path), str(picky)]
    (compiled, pure) = tool.together(tool.CODECS, arguments, tmp_path)
    assert compiled[:2] == ("compiled", 1)
    assert compiled[2].startswith("1 failed in ")
    assert pure[:2] == ("pure", 0)
    assert pure[2].startswith("1 passed in ")
    shown = capfd.readouterr().out
    assert shown.index("said by compiled") < shown.index("said by pure")


@pytest.mark.parametrize(
    ("line", "closes"),
    [
        ("4 passed in 1.04s", True),
        ("= 3 failed, 1750 passed, 4 skipped, 14 xfailed, 14 errors in 1080.26s (0:18:00) =", True),
        ("no tests ran in 0.02s", True),
        ("brokers: embedded (0.1.0); codec: pure", False),
        ("waited 3 times in 2.0s", False),
    ],
)
def test_closing_lines_are_known(tool: ModuleType, line: str, closes: bool) -> None:
    assert bool(tool.CLOSING.match(line)) is closes
