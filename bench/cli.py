"""The command line: what to measure, on which broker, and where the results go."""

from __future__ import annotations

import argparse
import datetime
import subprocess
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from bench import claims, leftovers, machine, native, plot
from bench.address import Address
from bench.clients.registry import CLIENTS, Entry
from bench.jobs import JOBS, Job, Suite
from bench.report import Report, markdown, read_json, text, write_json
from bench.runner import ROOT, measure, plan

RESULTS = Path(__file__).parent / "results"
RABBITMQ = ROOT / "tools" / "rabbitmq"
UNITS = {"kib": 1024, "mib": 1024 * 1024}

Value = TypeVar("Value")


class Unusable(Exception):
    """The run cannot start; the text says why."""


def main(arguments: Sequence[str]) -> int:
    """Exit status: 0 all measured, 1 a measurement failed, 2 nothing could be measured."""
    options = parser().parse_args(arguments)
    if options.list:
        print(listing())
        return 0
    if options.show:
        show(read_json(options.show), options.claims)
        return 0
    try:
        return run(options)
    except Unusable as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


def run(options: argparse.Namespace) -> int:
    """Measure, print, write."""
    notes: list[str] = []
    if options.install and any(not entry.package for entry in options.clients):
        try:
            native.install()
        except native.Unavailable as error:
            notes.append(f"rabbitmq-c: {error}")
    clients, missing = present(options.clients)
    notes += missing
    if not clients:
        raise Unusable("none of the clients is here: " + "; ".join(notes))
    url = Address.parse(options.url or local_broker()).url
    product = describe_broker(url)
    for note in notes:
        say(note)
    clear(url)
    load = machine.load()
    wanted = claims.wanted if options.claims else lambda entry, job: True
    steps = list(plan(clients, chosen(options), options.repeats, options.messages, wanted))
    measurements = measure(steps, url, options.timeout, say)
    now = datetime.datetime.now(datetime.UTC)
    report = Report(
        date=now.isoformat(timespec="seconds"),
        broker=product,
        machine=machine.describe(),
        load_before=load,
        load_after=machine.load(),
        repeats=options.repeats,
        measurements=measurements,
        notes=notes,
    )
    show(report, options.claims)
    write(report, options.output / f"{now:%Y-%m-%d-%H%M%S}.json", options.claims)
    return 1 if report.errors else 0


def show(report: Report, with_claims: bool) -> None:
    """Print the tables."""
    print(text(report))
    if with_claims:
        print(claims.text(report), end="\n\n")


def write(report: Report, path: Path, with_claims: bool) -> None:
    """Write the results beside each other, and say where."""
    claimed = {"claims": claims.as_json(report)} if with_claims else {}
    write_json(report, path, **claimed)
    tables = [claims.text(report, markdown)] if with_claims else []
    words = "\n\n".join([f"# {report.date}", *tables, text(report, markdown)])
    path.with_suffix(".md").write_text(words, encoding="utf-8")
    if plot.available():
        plot.write_svg(report, path.with_suffix(".svg"))
    print("written:", *sorted(path.parent.glob(f"{path.stem}.*")))


def chosen(options: argparse.Namespace) -> list[tuple[Job, int]]:
    """The jobs, each with a size of body, in the order of their tables."""
    if options.claims:
        return claims.jobs()
    jobs = [job for job in options.jobs if not options.suites or job.suite in options.suites]
    pairs = [(job, body) for job in jobs for body in options.body or job.bodies if job.has_body]
    pairs += [(job, 0) for job in jobs if not job.has_body]
    return sorted(pairs, key=lambda pair: (jobs.index(pair[0]), pair[1]))


def present(entries: Iterable[Entry]) -> tuple[list[Entry], list[str]]:
    """The clients that are here, and a note for each that is not."""
    here, notes = [], []
    for entry in entries:
        missing = entry.missing()
        if missing is None:
            here.append(entry)
        else:
            notes.append(f"{entry.name}: left out: {missing}")
    return here, notes


def local_broker() -> str:
    """URL of the RabbitMQ 4 that tools/rabbitmq has started."""
    result = subprocess.run(
        [sys.executable, str(RABBITMQ), "url", "4"], capture_output=True, text=True, check=False
    )
    if result.returncode:
        hint = "start it with `tools/rabbitmq start 4`, or give --url"
        raise Unusable(f"no broker: {result.stderr.strip() or 'tools/rabbitmq failed'}; {hint}")
    return result.stdout.strip()


def describe_broker(url: str) -> str:
    """Product and version, which is also the test that it answers."""
    try:
        from bench import broker
    except ImportError as error:
        raise Unusable(f"the harness needs py-amqp (the `bench` extra): {error}") from error
    try:
        return broker.describe(url)
    except broker.ERRORS as error:
        raise Unusable(f"no broker at {url.rpartition('@')[2]}: {error}") from error


def clear(url: str) -> None:
    """Delete what earlier runs have left on the broker."""
    from bench import broker

    left = leftovers.names(url)
    if left:
        say(f"{len(left)} queues and exchanges of earlier runs are deleted")
        broker.delete(url, left)


def say(line: str) -> None:
    """Progress goes to stderr: stdout has the tables."""
    print(line, file=sys.stderr, flush=True)


def listing() -> str:
    """The names that the options take."""
    lines = ["clients:"]
    for entry in CLIENTS.values():
        missing = entry.missing()
        lines.append(f"  {entry.name:20} {missing or 'here'}")
    lines.append("jobs:")
    lines += [
        f"  {job.name:18} {job.suite:9} {job.title} ({job.messages:,} messages)"
        for job in JOBS.values()
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    options = argparse.ArgumentParser(
        prog="python -m bench",
        description="CPU per message and wall rate of AMQP clients, in one run on one broker.",
    )
    options.add_argument("--list", action="store_true", help="clients and jobs")
    options.add_argument(
        "--claims", action="store_true", help="what the claims need, and how they stand"
    )
    options.add_argument(
        "--show", type=Path, help="print the tables of a JSON file, and measure nothing"
    )
    options.add_argument("--url", help="broker; default: tools/rabbitmq url 4")
    options.add_argument("--repeats", type=_positive, default=5, help="default 5")
    options.add_argument(
        "--clients", type=_clients, default=[*CLIENTS.values()], help="names with commas"
    )
    options.add_argument("--jobs", type=_jobs, default=[*JOBS.values()], help="names with commas")
    options.add_argument(
        "--suites", type=_suites, default=[], help=f"with commas: {','.join(Suite)} (default all)"
    )
    options.add_argument(
        "--body",
        type=_sizes,
        default=[],
        help="sizes with commas, as 100,4KiB,64KiB,1MiB; default: each job's own",
    )
    options.add_argument("--messages", type=_positive, help="instead of each job's own number")
    options.add_argument("--timeout", type=float, default=180.0, help="seconds a measurement")
    options.add_argument("--output", type=Path, default=RESULTS, help="folder of the results")
    options.add_argument(
        "--install", action="store_true", help=f"apt-get install {native.PACKAGE} if need be"
    )
    return options


def _positive(value: str) -> int:
    number = int(value)
    if number < 1:
        raise argparse.ArgumentTypeError("must be at least 1")
    return number


def _clients(value: str) -> list[Entry]:
    return [_known(CLIENTS, name) for name in value.split(",")]


def _jobs(value: str) -> list[Job]:
    return [_known(JOBS, name) for name in value.split(",")]


def _suites(value: str) -> list[Suite]:
    known = {str(suite): suite for suite in Suite}
    return [_known(known, name) for name in value.split(",")]


def _known(known: Mapping[str, Value], name: str) -> Value:
    if name not in known:
        raise argparse.ArgumentTypeError(f"{name!r}: choose from {', '.join(known)}")
    return known[name]


def _sizes(value: str) -> list[int]:
    return [parse_size(size) for size in value.split(",")]


def parse_size(value: str) -> int:
    """Bytes of `100`, `64KiB` or `1MiB`."""
    value = value.strip().lower()
    for unit, factor in UNITS.items():
        if value.endswith(unit):
            return int(value.removesuffix(unit)) * factor
    return int(value)
