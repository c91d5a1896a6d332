"""Where upstream's tests run: the environment, the sources, the server."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .suites import NEEDED, SUITES, Suite

__all__ = ["ROOT", "ctl", "environment", "server", "source"]

ROOT = Path(__file__).resolve().parents[2]
TOOL = [sys.executable, str(ROOT / "tools" / "rabbitmq")]
CERTIFICATES = {  # py-amqp's names, and what tools/rabbitmq makes
    "client_key.pem": "client.key",
    "client_certificate.pem": "client.pem",
    "ca_certificate.pem": "ca.pem",
    "client_key_broken.pem": "other.key",
    "client_certificate_broken.pem": "other.pem",
}


def environment(folder: Path) -> Path:
    """The Python with everything in it; made again when what is needed changes."""
    place = folder / "venv"
    python = place / "bin" / "python"
    made = place / "made"
    packages = [*(f"{suite.package}=={suite.version}" for suite in SUITES), *NEEDED]
    if not made.exists() or made.read_text() != "\n".join(packages):
        print("making the environment", flush=True)
        shutil.rmtree(place, ignore_errors=True)
        # without pip, which not every system can put there; ours installs into it
        subprocess.run([sys.executable, "-m", "venv", "--without-pip", place], check=True)
        _pip(python, "install", *packages)
        made.write_text("\n".join(packages))
    _pip(python, "install", "--editable", str(ROOT))  # its compiled part may be old
    return python


def _pip(python: Path, *arguments: str) -> None:
    options = ["--quiet", "--disable-pip-version-check"]
    pip = [sys.executable, "-m", "pip", "--python", str(python), *options]
    subprocess.run([*pip, *arguments], check=True)


def source(folder: Path, python: Path, suite: Suite, certificates: Path) -> Path:
    """The unpacked source package; fetched once."""
    place = folder / f"{suite.archive}-{suite.version}"
    if not place.exists():
        requirement = f"{suite.package}=={suite.version}"
        fetch = ["download", "--no-deps", "--no-binary", suite.package, "--dest", str(folder)]
        _pip(python, *fetch, requirement)
        with tarfile.open(folder / f"{place.name}.tar.gz") as archive:
            archive.extractall(folder, filter="data")
    if suite.package == "amqp":  # the package lacks them
        (place / "t" / "certs").mkdir(exist_ok=True)
        for theirs, ours in CERTIFICATES.items():
            shutil.copy(certificates / ours, place / "t" / "certs" / theirs)
    return place


@contextmanager
def server(number: str) -> Iterator[dict[str, Any]]:
    """What tools/rabbitmq says about a server that runs; one that did not is stopped again."""
    facts = _facts(number)
    ours = not facts["running"]
    try:
        if ours:
            subprocess.run([*TOOL, "start", number], check=True)
            facts = _facts(number)
        yield facts
    finally:
        if ours:
            subprocess.run([*TOOL, "stop", number], check=False)


def _facts(number: str) -> dict[str, Any]:
    said = subprocess.run([*TOOL, "status", "--json"], capture_output=True, check=True).stdout
    facts: dict[str, Any] = json.loads(said)[number]
    return facts


def ctl(number: str, *arguments: str) -> None:
    """An operator's command; whether it works is seen by what follows."""
    subprocess.run([*TOOL, "ctl", number, "--", *arguments], capture_output=True, check=False)
