"""The order of the measurements, and a process for each.

Clients take turns inside each job and repeat, and the first one moves on with each repeat: what
slows the machine for a while slows them all, not one of them.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import broker
from bench.clients.registry import Entry
from bench.jobs import Job

ROOT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Step:
    """One measurement to make."""

    repeat: int
    client: Entry
    job: Job
    body: int
    messages: int


@dataclass(frozen=True, slots=True)
class Measurement:
    """One measurement made: seconds and bytes, or the error that kept it from being one."""

    client: str
    job: str
    body: int
    messages: int
    repeat: int
    wall: float = 0.0
    cpu: float = 0.0
    memory: int | None = None
    version: str = ""
    detail: str = ""
    error: str = ""

    @property
    def cpu_us(self) -> float:
        """CPU microseconds per message."""
        return self.cpu / self.messages * 1e6

    @property
    def rate(self) -> float:
        """Messages per second of wall time."""
        return self.messages / self.wall


def plan(
    clients: Sequence[Entry],
    jobs: Sequence[tuple[Job, int]],
    repeats: int,
    messages: int | None = None,
    wanted: Callable[[Entry, Job], bool] = lambda entry, job: True,
) -> Iterator[Step]:
    """All measurements, in order.

    Args:
        clients, repeats: each client does each job so many times.
        jobs: with the size of body.
        messages: instead of each job's own number.
        wanted: what is left out where it says False.
    """
    for repeat in range(repeats):
        turn = repeat % len(clients) if clients else 0
        order = [*clients[turn:], *clients[:turn]]
        for job, body in jobs:
            for client in order:
                if client.can(job) and wanted(client, job):
                    count = job.count(body, messages, client.share)
                    yield Step(repeat, client, job, body, count)


def measure(
    steps: Sequence[Step], url: str, timeout: float, say: Callable[[str], None]
) -> list[Measurement]:
    """Make the measurements one after the other.

    Args:
        steps: from `plan`.
        url: the broker's, complete.
        timeout: seconds for one process.
        say: gets a line for each measurement.
    """
    done: list[Measurement] = []
    for number, step in enumerate(steps, 1):
        result = measure_one(step, url, timeout)
        done.append(result)
        outcome = result.error or f"{result.cpu_us:.2f} µs CPU, {result.rate:,.0f} messages/s"
        size = f" {step.body} B" if step.job.has_body else ""
        say(f"[{number}/{len(steps)}] {step.client.name} {step.job.name}{size}: {outcome}")
    return done


def measure_one(step: Step, url: str, timeout: float) -> Measurement:
    """Make one measurement; what goes wrong becomes its error."""
    facts = (step.client.name, step.job.name, step.body, step.messages, step.repeat)
    try:
        with broker.place(url, step.job, step.messages, step.body) as where:
            line = run_client(step, where, timeout)
    except subprocess.TimeoutExpired:
        return Measurement(*facts, error=f"not done within {timeout:.0f} seconds")
    except (*broker.ERRORS, ClientFailed, broker.Leftover) as error:
        return Measurement(*facts, error=str(error) or type(error).__name__)
    result = json.loads(line)
    return Measurement(*facts, **result)


class ClientFailed(Exception):
    """The client's process ended with an error; the text is its last line."""


def run_client(step: Step, where: broker.Place, timeout: float) -> str:
    """Start the client's process and return its JSON line."""
    command = [sys.executable, "-m", f"bench.clients.{step.client.module}"]
    command += ["--url", where.url, "--job", step.job.name]
    command += ["--messages", str(step.messages), "--body", str(step.body)]
    command += ["--queue", where.queue, "--exchange", where.exchange]
    result = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, **step.client.environment},
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
    if result.returncode:
        lines = result.stderr.strip().splitlines() or [f"exit status {result.returncode}"]
        raise ClientFailed(lines[-1])
    return result.stdout.strip().splitlines()[-1]
