"""Runs a part of a suite on one of the two libraries, and reads how its tests came out."""

from __future__ import annotations

import os
import subprocess
import tempfile
import xml.etree.ElementTree as ElementTree
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from .places import ctl
from .suites import Part, Runner

__all__ = ["broker", "run"]

LEFT_BEHIND = "priority_requeue_test"  # a queue that kombu's tests fill and expect empty
OUTCOMES = Path(__file__).with_name("outcomes.py")


@contextmanager
def broker(part: Part, number: str, facts: dict[str, Any]) -> Iterator[dict[str, str]]:
    """A server on which nothing is left of earlier tests, as variables that tests look for."""
    if not part.wants_broker:
        yield {}
        return
    vhost = "compat"
    ctl(number, "delete_queue", LEFT_BEHIND)
    ctl(number, "delete_vhost", vhost)
    ctl(number, "add_vhost", vhost)
    ctl(number, "set_permissions", "-p", vhost, "guest", ".*", ".*", ".*")
    address = f"{facts['url'].partition('://')[2].rstrip('/')}/{vhost}"
    yield {
        "RABBITMQ_HOST": "127.0.0.1",
        "RABBITMQ_5672_TCP": facts["url"].rstrip("/").rpartition(":")[2],
        "RABBITMQ_5671_TCP": facts["tls_url"].rstrip("/").rpartition(":")[2],
        "TEST_BROKER": f"pyamqp://{address}",
        "TEST_BACKEND": "rpc://",
        "RPC_TRANSPORT_URL": f"rabbit://{address}",
        "NOTIFY_TRANSPORT_URL": f"rabbit://{address}",
    }
    ctl(number, "delete_vhost", vhost)


def run(
    python: Path, place: Path, part: Part, variables: dict[str, str], on_leveret: bool
) -> dict[str, bool]:
    """Run a part.

    Returns:
        Whether it has passed, by test; those that are skipped are not there.
    """
    takeover = ["-m", "leveret.compat", "run"] if on_leveret else []
    with tempfile.TemporaryDirectory() as scratch:
        report = Path(scratch) / "report"
        if part.runner is Runner.PYTEST:
            options = ["-q", "-p", "no:cacheprovider", "--reruns=0", "--timeout=120"]
            options += ["-W", "ignore", f"--junit-xml={report}", "-o", "junit_family=xunit1"]
            command = ["-m", "pytest", *options, *part.arguments]
        else:
            command = [str(OUTCOMES), str(report), *part.arguments]
        log = place.parent / f"{place.name}-{'leveret' if on_leveret else 'py-amqp'}.log"
        with log.open("a", encoding="utf-8") as output:
            try:
                subprocess.run(
                    [python, "-W", "ignore", *takeover, *command],
                    cwd=place,
                    # of its own, since some tests fail where an earlier run has left its files
                    env={**os.environ, **variables, "TMPDIR": scratch},
                    stdout=output,
                    stderr=output,
                    timeout=part.seconds,
                    check=False,
                )
            except subprocess.TimeoutExpired:
                return {**_outcomes(report, part), f"{part.name}::has not ended in time": False}
        return _outcomes(report, part)


def _outcomes(report: Path, part: Part) -> dict[str, bool]:
    try:
        if part.runner is Runner.PYTEST:
            return _junit(report)
        lines = [line.split(" ", 1) for line in report.read_text(encoding="utf-8").splitlines()]
        return {name: word == "passed" for word, name in lines if word != "skipped"}
    except (OSError, ElementTree.ParseError) as error:
        return {f"{part.name}::{type(error).__name__}": False}


def _junit(report: Path) -> dict[str, bool]:
    outcomes: dict[str, bool] = {}
    for case in ElementTree.parse(report).iter("testcase"):
        kinds = {child.tag for child in case}
        if "skipped" not in kinds:
            name = f"{case.get('file')}::{case.get('name')}"
            outcomes[name] = outcomes.get(name, True) and not kinds & {"failure", "error"}
    return outcomes
