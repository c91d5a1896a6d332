"""An environment for the tests: what can be installed of the extras, and Leveret as it is now."""

from __future__ import annotations

import os
import shutil
import tomllib
from dataclasses import replace

from debian.running import Failed, say

from .interpreters import Interpreter

CODECS = ("compiled", "pure")
EXTRAS = ("cli", "test")
PIP = ["-m", "pip", "--disable-pip-version-check", "install", "--quiet"]


def prepare(interpreter: Interpreter) -> Interpreter:
    """The interpreter of the environment; made again when pyproject.toml changes.

    Raises:
        Failed: there is no environment to be had, or Leveret does not install.
    """
    project = interpreter.project
    wanted = (project / "pyproject.toml").read_text(encoding="utf-8")
    place = project / ".pythons" / (interpreter.version + ("-debian" if interpreter.chroot else ""))
    ours = replace(interpreter, python=str(place / "bin" / "python"))
    made, missing = place / "made", place / "missing"
    stamp = f"{interpreter} {interpreter.python}\n{wanted}"
    if not made.exists() or made.read_text(encoding="utf-8") != stamp:
        shutil.rmtree(place, ignore_errors=True)
        interpreter.output(["-m", "venv", str(place)])
        extras = tomllib.loads(wanted)["project"]["optional-dependencies"]
        left_out = _install(ours, [each for extra in EXTRAS for each in extras[extra]])
        missing.write_text("".join(f"not installed: {each}\n" for each in left_out))
        made.write_text(stamp, encoding="utf-8")
    ours.output([*PIP, "--editable", "."])  # its compiled part may be old
    say(missing.read_text().rstrip() or "all extras of the tests are installed")
    return ours


def _install(interpreter: Interpreter, requirements: list[str]) -> list[str]:
    """Install what can be; what cannot. Where there is no wheel, the source may not build."""
    try:
        interpreter.output([*PIP, *requirements])
    except Failed:
        left_out = []
        for each in requirements:
            try:
                interpreter.output([*PIP, each])
            except Failed:
                left_out.append(each)
        return left_out
    return []


def has_codec(interpreter: Interpreter, codec: str) -> bool:
    """Whether Leveret can be imported with it."""
    variables = {**os.environ, "LEVERET_CODEC": codec}
    return interpreter.call(["-c", "import leveret"], variables, quiet=True) == 0
