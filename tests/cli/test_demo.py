"""The demo as a process, on every broker, and what it says when messages are lost."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import threading

import pytest

import leveret
from leveret.broker import Broker
from leveret.cli.workload import asynchronous, blocking
from leveret.cli.workload.job import Job, Result, Watch
from tests.support.brokers import BrokerUnderTest

pytest.importorskip("click", reason="the `cli` extra is not installed")
pytest.importorskip("rich", reason="the `cli` extra is not installed")

SECONDS = 60
MANY = ("--messages", "10000000")
STYLES: tuple[list[str], ...] = ([], ["--asyncio"])


def run(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`python -m leveret`, to its end."""
    return subprocess.run(
        [sys.executable, "-W", "error", "-m", "leveret", *arguments],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
        stdin=subprocess.DEVNULL,
        env={**os.environ, "COLUMNS": "140", **environment},
    )


@pytest.mark.parametrize("style", STYLES, ids=["blocking", "asyncio"])
def test_on_a_given_broker(broker: BrokerUnderTest, style: list[str]) -> None:
    done = run("demo", "--url", broker.url, "--messages", "2000", "--size", "10", *style)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "Each of 2,000 message ids was confirmed, arrived and was acknowledged" in done.stdout
    assert broker.vhost in done.stdout
    assert done.stderr == ""
    assert "guest:guest" not in done.stdout


@pytest.mark.parametrize("style", STYLES, ids=["blocking", "asyncio"])
def test_on_the_embedded_broker(style: list[str]) -> None:
    done = run("demo", "--messages", "1001", "--publishers", "3", "--consumers", "2", *style)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "embedded" in done.stdout
    assert "none lost, none unexpected" in done.stdout
    assert "µs a message" in done.stdout


@pytest.mark.parametrize("style", STYLES, ids=["blocking", "asyncio"])
def test_no_broker(style: list[str]) -> None:
    done = run("demo", "--url", "amqp://guest:secret-password@127.0.0.1:1/", *style)
    assert done.returncode == 1
    assert done.stdout.startswith("leveret demo: cannot connect to 127.0.0.1:1")
    assert "Traceback" not in done.stderr
    assert "secret-password" not in done.stdout + done.stderr


@pytest.mark.parametrize("style", STYLES, ids=["blocking", "asyncio"])
def test_too_little_time(style: list[str]) -> None:
    done = run("demo", "--messages", "1000000", "--timeout", "1", *style)
    assert done.returncode == 1
    assert "FAILED" in done.stdout
    assert "not done within 1 s" in done.stdout
    assert "messages were not published" in done.stdout
    assert done.stderr == ""


@pytest.mark.parametrize("style", STYLES, ids=["blocking", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM], ids=lambda number: number.name)
def test_interrupted(number: signal.Signals, style: list[str]) -> None:
    """It ends in good order, and its queue goes with it."""
    with Broker() as broker:
        process = subprocess.Popen(
            [sys.executable, "-m", "leveret", "demo", "--url", broker.url, *MANY, *style],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "FORCE_COLOR": "1", "COLUMNS": "140"},  # bars are drawn at once
        )
        assert process.stdout is not None
        killer = threading.Timer(SECONDS, process.kill)
        killer.start()
        while "received" not in process.stdout.readline():
            assert process.poll() is None
        process.send_signal(number)
        output, errors = process.communicate(timeout=SECONDS)
        killer.cancel()
    assert process.returncode == 1
    assert "interrupted" in output
    assert errors == ""


@pytest.mark.parametrize("style", ["blocking", "asyncio"])
def test_lost_and_strange_messages_are_found(style: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proof can fail: of what the broker delivers, one goes missing and one is forged."""
    with Broker() as broker:
        job = Job(broker.url, 1000, timeout=2.0)
        result = Result(job.ledger(), [0] * job.consumers)
        ledger = result.ledger
        receive, lost = ledger.receive, ledger.message_id(1, 100)

        def tampered(message_id: str | None, redelivered: bool, intact: bool = True) -> bool:
            if message_id == lost:
                message_id = "forged"
            return receive(message_id, redelivered, intact)

        monkeypatch.setattr(ledger, "receive", tampered)
        watch = Watch(job, result, lambda: None)
        if style == "blocking":
            blocking.run(job, result, watch)
        else:
            asyncio.run(asynchronous.run(job, result, watch))
    assert not result.ok
    assert ledger.missing() == [lost]
    assert ledger.strangers == ["forged"]
    assert (ledger.distinct, ledger.confirmed, result.left) == (999, 1000, 0)
    assert [str(error) for error in result.errors] == ["not done within 2 s"]


@pytest.mark.parametrize("missing", ["click", "rich"])
def test_the_extra_is_missing(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; from leveret.cli import main; main()"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 1
    assert "pip install 'leveret[cli]'" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_version() -> None:
    assert "demo" in run("--help").stdout
    assert "--publishers" in run("demo", "--help").stdout
    assert run("--version").stdout == f"leveret, version {leveret.__version__}\n"
    assert "in memory" in run("broker", "--help").stdout
    assert run("demo", "--messages", "0").returncode == 2
