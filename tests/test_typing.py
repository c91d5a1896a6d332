"""The public types, as mypy infers them, and the public reprs."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import leveret
import leveret.broker

ROOT = Path(__file__).resolve().parents[1]
SECONDS = 110


def run_mypy(*arguments: str) -> subprocess.CompletedProcess[str]:
    """`mypy --strict` from the root of the repository."""
    pytest.importorskip("mypy", reason="the `check` extra is not installed")
    return subprocess.run(
        [sys.executable, "-m", "mypy", "--strict", "--warn-unused-ignores", *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=SECONDS,
        check=False,
        env={**os.environ, "NO_COLOR": "1"},
    )


def test_inferred_types() -> None:
    done = run_mypy("-p", "tests.typing")
    assert done.returncode == 0, done.stdout + done.stderr


def test_a_wrong_type_is_found(tmp_path: Path) -> None:
    """The test can fail."""
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from typing import assert_type\nimport leveret\nassert_type(leveret.connect(), int)\n"
    )
    done = run_mypy(str(wrong))
    assert done.returncode == 1
    assert "wrong.py:3: error: Expression is of type" in done.stdout


def test_the_names_of_the_package_are_there() -> None:
    for name in leveret.__all__:
        assert getattr(leveret, name) is not None
    assert len(set(leveret.__all__)) == len(leveret.__all__)


def test_reprs_say_what_it_is_and_hide_the_password() -> None:
    with leveret.broker.Broker(users={"worker": "secret-password"}) as broker:
        connection = leveret.connect(broker.url)
        with connection, connection.channel() as channel:
            declared = channel.queue_declare("tasks")
            publication = channel.publish_nowait(b"body", routing_key="tasks")
            publication.wait()
            consumer = channel.consume("tasks", consumer_tag="reader")
            delivery = consumer.get()
            delivery.ack()
            shown = {
                "connection": repr(connection),
                "parameters": repr(connection.parameters),
                "channel": repr(channel),
                "consumer": repr(consumer),
                "delivery": repr(delivery),
                "publication": repr(publication),
                "properties": repr(leveret.Properties(message_id="1", priority=3)),
                "declared": repr(declared),
                "broker": repr(broker),
            }
            port = broker.port
        shown["closed connection"] = repr(connection)
    assert not [name for name, text in shown.items() if "secret-password" in text]
    assert shown["connection"] == f"<Connection 127.0.0.1:{port} vhost='/' open>"
    assert shown["closed connection"] == f"<Connection 127.0.0.1:{port} vhost='/' closed>"
    assert shown["consumer"] == "<Consumer 'reader' of 'tasks' active>"
    assert shown["delivery"] == "<Delivery 1 exchange='' routing_key='tasks' 4 bytes>"
    assert shown["properties"] == "Properties(priority=3, message_id='1')"
    assert shown["declared"] == "QueueDeclared(queue='tasks', message_count=0, consumer_count=0)"
    assert shown["broker"] == f"<Broker at 127.0.0.1:{port}, 1 connections>"
    for name in ("channel", "publication"):
        assert " at 0x" not in shown[name], shown[name]
