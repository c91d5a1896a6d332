"""The fuzz target runs, and finds nothing in a short run."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

FUZZ = Path(__file__).parents[2] / "fuzz" / "fuzz_wire.py"


def test_a_short_run_finds_nothing():
    command = [sys.executable, str(FUZZ), "--runs", "3000", "--seed", "7"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout == "3000 runs, seed 7: no fault\n"
