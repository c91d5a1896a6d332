"""docs/drop-in.md: each of its blocks runs."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docs" / "drop-in.md").read_text(encoding="utf-8")
PROGRAMS = re.findall(r"^```python\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
COMMANDS = [
    line
    for block in re.findall(r"^```sh\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
    for line in block.splitlines()
]
URLS = re.compile(r"(amqp|rabbit)://guest:guest@localhost(:5672)?//")


def run(*command, **environment):
    done = subprocess.run(
        command,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


def missing(program):
    """The first package of the program that is not installed."""
    names = re.findall(r"^(?:import|from) (\w+)", program, re.MULTILINE)
    return next((n for n in names if n not in sys.modules and find_spec(n) is None), None)


@pytest.mark.parametrize("number", range(len(PROGRAMS)))
def test_its_programs_run(broker, number):
    program = URLS.sub(lambda found: found[1] + broker.url.removeprefix("amqp"), PROGRAMS[number])
    if (name := missing(program)) is not None:
        pytest.skip(f"{name} is not installed")
    run(sys.executable, "-c", program)


def test_its_commands_run_in_an_environment_of_their_own(tmp_path):
    pytest.importorskip("celery")
    run(sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv"))
    python = str(tmp_path / "venv" / "bin" / "python")
    installed = os.pathsep.join([str(ROOT / "src"), *(p for p in sys.path if "-packages" in p)])
    said = []
    for command in COMMANDS:
        name, *arguments = command.split()
        if name == "pip":
            continue
        assert name == "python"
        said.append(run(python, *arguments, PYTHONPATH=installed))
        if arguments[-1] in ("enable", "disable"):
            where = run(python, "-c", "import amqp; print(amqp.__name__)", PYTHONPATH=installed)
            said.append(where)
    version, enabled, where, status, disabled, after = said
    assert re.match(r"\d+\.\d+", version)
    assert "from now on" in enabled
    assert where == "leveret.compat.amqp\n"
    assert status.startswith("enabled")
    assert "again" in disabled
    assert after == "amqp\n"
