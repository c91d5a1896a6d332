"""tools/pythons: which interpreter is taken, and what is said of one that cannot be had."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import pytest

TOOLS = Path(__file__).resolve().parents[1] / "tools"


@pytest.fixture
def interpreters(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[ModuleType]:
    monkeypatch.syspath_prepend(str(TOOLS))
    monkeypatch.setenv("PYENV_ROOT", str(tmp_path / "pyenv"))
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/usr/bin:/bin")
    from python_versions import interpreters

    yield interpreters
    for name in list(sys.modules):
        if name.partition(".")[0] in ("debian", "python_versions"):
            del sys.modules[name]


def python(path: Path, says: str, status: int = 0) -> Path:
    """A program in the place of an interpreter."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\necho '{says}'\nexit {status}\n", encoding="utf-8")
    path.chmod(0o755)
    return path


def test_the_newest_of_pyenv_is_taken(interpreters: ModuleType, tmp_path: Path) -> None:
    for release in ("3.99.2", "3.99.10", "3.98.11"):
        newest = python(tmp_path / "pyenv/versions" / release / "bin/python", f"{release} ")
    newest = tmp_path / "pyenv/versions/3.99.10/bin/python"
    found = interpreters.on_machine("3.99", tmp_path)
    assert (found.release, found.python, found.chroot) == ("3.99.10", str(newest), None)
    assert str(found) == "Python 3.99.10"


def test_that_on_the_path_is_preferred(interpreters: ModuleType, tmp_path: Path) -> None:
    python(tmp_path / "pyenv/versions/3.99.10/bin/python", "3.99.10 ")
    on_path = python(tmp_path / "bin/python3.99", "3.99.1 ")
    assert interpreters.on_machine("3.99", tmp_path).python == str(on_path)


@pytest.mark.parametrize(
    ("says", "status"),
    [("pyenv: python3.99: command not found", 127), ("3.98.1 ", 0), ("3.99.1 t", 0), ("", 0)],
)
def test_what_is_not_that_version_is_not_taken(
    interpreters: ModuleType, tmp_path: Path, says: str, status: int
) -> None:
    python(tmp_path / "bin/python3.99", says, status)
    assert interpreters.on_machine("3.99", tmp_path) is None


def test_one_without_the_gil_is_a_version_of_its_own(
    interpreters: ModuleType, tmp_path: Path
) -> None:
    python(tmp_path / "bin/python3.99t", "3.99.1 t")
    python(tmp_path / "bin/python3.99", "3.99.1 ")
    assert interpreters.on_machine("3.99t", tmp_path).python.endswith("/python3.99t")
    assert interpreters.on_machine("3.99", tmp_path).python.endswith("/python3.99")


@pytest.mark.parametrize(
    ("version", "status", "words"),
    [
        ("3.99", 3, "3.99: not to be had: no python3.99 on the PATH or at pyenv, and none from"),
        ("three", 1, "three: a version is like 3.14 or 3.14t"),
    ],
)
def test_a_version_that_is_not_to_be_had(
    tmp_path: Path, version: str, status: int, words: str
) -> None:
    environment = {"PATH": str(tmp_path), "HOME": str(tmp_path)}  # no apt, no cache
    ran = subprocess.run(
        [sys.executable, str(TOOLS / "pythons"), version],
        env=environment, capture_output=True, text=True, timeout=60, check=False,
    )
    assert ran.returncode == status
    assert words in ran.stdout
