"""Celery on py-amqp and on Leveret's drop-in: tasks per second, CPU per task.

    make bench-celery
    python -m bench.celery_tasks --pools prefork,solo --tasks 500 --repeats 7

For each library a worker and a caller are started; then they take turns, repeat by repeat. A task
adds two numbers, its result comes back over rpc. CPU is user and system time: of the worker with
its children, of the worker's main process, which alone talks to the broker, and of the caller. It
is read in /proc, so that this needs Linux.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import signal
import subprocess
import sys
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench import leftovers, machine
from bench.address import Address
from bench.cli import local_broker
from bench.report import format_summary, layout
from bench.runner import ROOT
from bench.stats import ratio, summarize

POOLS = ("prefork", "solo", "threads")
WARM_UP = 50
STOP_SECONDS = 30.0
#: name -> variables of its processes
LIBRARIES = {
    "py-amqp": {"BENCH_TRANSPORT": "py-amqp"},
    "drop-in": {"BENCH_TRANSPORT": "leveret", "LEVERET_CODEC": "compiled"},
    "drop-in-pure": {"BENCH_TRANSPORT": "leveret", "LEVERET_CODEC": "pure"},
}
FIGURES = ("tasks/s", "worker µs", "main process µs", "caller µs")


@dataclass
class Pair:
    """A worker and its caller, running."""

    worker: subprocess.Popen[bytes]
    caller: subprocess.Popen[str]
    figures: list[tuple[float, ...]] = field(default_factory=list)

    def measure(self, tasks: int) -> None:
        """Have the caller call so many tasks, and note the figures."""
        before = cpu(self.worker.pid)
        result = self.call(tasks)
        whole, main = (b - a for a, b in zip(before, cpu(self.worker.pid), strict=True))
        seconds = (whole, main, result["cpu"])
        self.figures.append((tasks / result["wall"], *(s / tasks * 1e6 for s in seconds)))

    def call(self, tasks: int) -> dict[str, float]:
        """What the caller says about so many tasks."""
        assert self.caller.stdin is not None
        assert self.caller.stdout is not None
        self.caller.stdin.write(f"{tasks}\n")
        self.caller.stdin.flush()
        line = self.caller.stdout.readline()
        if not line:
            raise SystemExit("bench: the caller has ended; its error stands above")
        result: dict[str, float] = json.loads(line)
        return result


def cpu(process: int) -> tuple[float, float]:
    """CPU seconds of a process with its children, and without."""
    own = _cpu_of_threads(process)
    return own + sum(cpu(child)[0] for child in _children(process)), own


def _cpu_of_threads(process: int) -> float:
    threads = Path(f"/proc/{process}/task").iterdir()
    return sum(int((thread / "schedstat").read_text().split()[0]) for thread in threads) / 1e9


def _children(process: int) -> list[int]:
    threads = Path(f"/proc/{process}/task").iterdir()
    return [int(c) for thread in threads for c in (thread / "children").read_text().split()]


@contextlib.contextmanager
def pair(url: str, pool: str, variables: dict[str, str]) -> Iterator[Pair]:
    """A worker and its caller with a queue of their own."""
    queue = f"bench.{uuid.uuid4().hex}"
    environment = {**os.environ, **variables, "BENCH_URL": url, "BENCH_QUEUE": queue}
    command = [sys.executable, "-m", "celery", "-A", "bench.celery_app", "worker", "-P", pool]
    command += ["-c", "2", "-n", f"{queue}@bench", "-l", "ERROR"]
    command += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
    quiet = {**environment, "PYTHONWARNINGS": "ignore"}  # Celery minds being root
    with (
        subprocess.Popen(command, cwd=ROOT, env=quiet, stdout=subprocess.DEVNULL) as worker,
        subprocess.Popen(
            [sys.executable, "-m", "bench.celery_app"],
            cwd=ROOT,
            env=environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        ) as caller,
    ):
        try:
            yield Pair(worker, caller)
        finally:
            worker.send_signal(signal.SIGTERM)
            for process in (worker, caller):
                try:
                    process.communicate(timeout=STOP_SECONDS)
                except subprocess.TimeoutExpired:
                    process.kill()


def run(url: str, pool: str, libraries: Sequence[str], tasks: int, repeats: int) -> dict[str, Pair]:
    """All measurements of a pool."""
    with contextlib.ExitStack() as stack:
        pairs = {name: stack.enter_context(pair(url, pool, LIBRARIES[name])) for name in libraries}
        for each in pairs.values():
            each.call(WARM_UP)
        names = list(pairs)
        for repeat in range(repeats):
            turn = repeat % len(names)
            for name in names[turn:] + names[:turn]:
                pairs[name].measure(tasks)
    return pairs


def table(pool: str, pairs: dict[str, Pair]) -> str:
    """Medians, each with its ratio to py-amqp."""
    summaries = {
        name: [summarize(values) for values in zip(*each.figures, strict=True)]
        for name, each in pairs.items()
    }
    rows = [["", *FIGURES]]
    for name, values in summaries.items():
        row = [name]
        for value, reference in zip(values, summaries.get("py-amqp", values), strict=True):
            row.append(f"{format_summary(value)}  {ratio(value, reference) or 0:.2f}")
        rows.append(row)
    count = len(next(iter(pairs.values())).figures)
    return f"pool {pool}, 2 slots; per task; median of {count}, to py-amqp\n{layout(rows)}"


def main(arguments: Sequence[str]) -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--url", help="broker; default: tools/rabbitmq url 4")
    parser.add_argument("--pools", default="prefork,solo", help="with commas: " + ", ".join(POOLS))
    parser.add_argument("--libraries", default=",".join(LIBRARIES), help="with commas")
    parser.add_argument("--tasks", type=int, default=500, help="in one measurement")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args(arguments)
    url = Address.parse(options.url or local_broker()).url
    facts = machine.describe()
    print(f"{facts['cpu']}, {facts['cores']} cores, {facts['python']}; load {machine.load()}")
    for pool in options.pools.split(","):
        pairs = run(url, pool, options.libraries.split(","), options.tasks, options.repeats)
        print("\n" + table(pool, pairs), flush=True)
    return 0


if __name__ == "__main__":
    leftovers.end_on_sigterm()
    sys.exit(main(sys.argv[1:]))
