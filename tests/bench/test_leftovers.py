"""A run that is ended leaves nothing on the broker, and one that is killed nothing for long."""

from __future__ import annotations

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from bench.cli import clear
from tests.support.threads import eventually

import leveret
from bench import leftovers
from leveret.broker import Broker

pytest.importorskip("bench.broker", reason="the harness needs py-amqp")

ROOT = Path(__file__).resolve().parents[2]
SECONDS = 20.0


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


def notes(process: subprocess.Popen[bytes]) -> list[str]:
    """What a process has noted."""
    start = f"{process.pid} "
    return [each.name for each in leftovers.NOTES.glob("*") if each.read_text().startswith(start)]


def exists(broker: Broker, name: str) -> bool:
    with leveret.connect(broker.url, timeout=SECONDS) as connection:
        try:
            connection.channel().queue_declare(name, passive=True)
        except leveret.NotFound:
            return False
    return True


def ended_by(number: int, broker: Broker) -> str:
    """End a run in its middle; the name of its queue."""
    command = [sys.executable, "-m", "bench.clients.leveret", "--url", broker.url]
    command += ["--job", "publish", "--messages", "1000000000"]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(command, cwd=ROOT, stdout=quiet, stderr=quiet) as process:
        try:
            eventually(lambda: bool(notes(process)) and exists(broker, notes(process)[0]))
            (name,) = notes(process)
            process.send_signal(number)
            process.wait(SECONDS)
        finally:
            process.kill()
    return name


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_what_is_ended_deletes_what_it_has_made(broker: Broker, number: int) -> None:
    name = ended_by(number, broker)
    assert not exists(broker, name)
    assert not (leftovers.NOTES / name).exists()


def test_what_was_killed_is_deleted_by_the_next_run(
    broker: Broker, capsys: pytest.CaptureFixture[str]
) -> None:
    name = ended_by(signal.SIGKILL, broker)
    assert exists(broker, name)
    clear(broker.url)
    assert "1 queues and exchanges of earlier runs are deleted" in capsys.readouterr().err
    assert not exists(broker, name)
    assert leftovers.names(broker.url) == []


def test_who_lives_and_who_is_elsewhere_is_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "NOTES", tmp_path / "notes")
    assert leftovers.names("amqp://here") == []
    leftovers.note("living", "amqp://here")
    with subprocess.Popen([sys.executable, "-c", ""]) as gone:
        gone.wait(SECONDS)
    (tmp_path / "notes" / "left").write_text(f"{gone.pid} here:5672//")
    assert leftovers.names("amqp://user:secret@here") == ["left"]
    assert leftovers.names("amqp://there") == []
    assert "secret" not in (tmp_path / "notes" / "living").read_text()
    leftovers.forget("left")
    assert leftovers.names("amqp://here") == []
