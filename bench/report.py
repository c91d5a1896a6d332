"""What a run says: summaries, plain-text tables, JSON."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

from bench.clients.registry import CLIENTS, REFERENCES
from bench.jobs import JOBS, Suite
from bench.runner import Measurement
from bench.stats import Summary, ratio, summarize

CANNOT = "-"
FAILED = "failed"

Key = tuple[str, str, int]  # client, job, size of body


@dataclass(frozen=True, slots=True)
class Group:
    """Jobs whose figures stand in one table."""

    suite: Suite
    body: int
    jobs: list[str]

    @property
    def title(self) -> str:
        return f"{self.suite}, body {format_size(self.body)}"

    def key(self, client: str, job: str) -> Key:
        return client, job, self.body if JOBS[job].has_body else 0


@dataclass(frozen=True)
class Report:
    """A whole run."""

    date: str
    broker: str
    machine: dict[str, object]
    load_before: list[float]
    load_after: list[float]
    repeats: int
    measurements: list[Measurement]
    notes: list[str]

    @cached_property
    def cpu(self) -> dict[Key, Summary]:
        """CPU microseconds per message."""
        return self._summaries(lambda measurement: measurement.cpu_us)

    @cached_property
    def rate(self) -> dict[Key, Summary]:
        """Messages per second."""
        return self._summaries(lambda measurement: measurement.rate)

    @cached_property
    def errors(self) -> dict[Key, str]:
        """The last error of each client, job and size that had one."""
        return {_key(each): each.error for each in self.measurements if each.error}

    @cached_property
    def titles(self) -> dict[str, str]:
        """Client -> its name with the version (and codec) that was measured."""
        titles = {each.client: each.client for each in self.measurements}
        for each in self.measurements:
            if not each.error:
                titles[each.client] = " ".join(
                    filter(None, (each.client, each.version, each.detail))
                )
        return {name: titles[name] for name in CLIENTS if name in titles}

    @cached_property
    def jobs(self) -> list[str]:
        """The jobs measured, in the order of their declaration."""
        measured = {each.job for each in self.measurements}
        return [name for name in JOBS if name in measured]

    @cached_property
    def memory(self) -> dict[Key, Summary]:
        """MiB by which a client's memory grew during the job, at its peak."""
        return self._summaries(
            lambda measurement: None if measurement.memory is None else measurement.memory / 2**20
        )

    @cached_property
    def groups(self) -> list[Group]:
        """What has tables of its own: the jobs of one suite with one size of body."""
        groups: dict[tuple[Suite, int], list[str]] = {}
        for suite in Suite:
            here = [each for each in self.measurements if JOBS[each.job].suite is suite]
            bodies = sorted({each.body for each in here if JOBS[each.job].has_body}) or [0]
            for body in bodies:
                names = {
                    each.job
                    for each in here
                    if each.body == body or (not JOBS[each.job].has_body and body == bodies[0])
                }
                groups[suite, body] = [name for name in self.jobs if name in names]
        return [Group(suite, body, jobs) for (suite, body), jobs in groups.items() if jobs]

    def ratio(self, client: str, reference: str, job: str, body: int) -> float | None:
        """CPU per message of the client, in units of the reference's."""
        value, unit = self.cpu.get((client, job, body)), self.cpu.get((reference, job, body))
        return ratio(value, unit)

    def _summaries(self, value: Callable[[Measurement], float | None]) -> dict[Key, Summary]:
        groups: dict[Key, list[float]] = {}
        for each in self.measurements:
            if not each.error and (measured := value(each)) is not None:
                groups.setdefault(_key(each), []).append(measured)
        return {key: summarize(values) for key, values in groups.items()}


def _key(measurement: Measurement) -> Key:
    return measurement.client, measurement.job, measurement.body


Rows = Sequence[Sequence[str]]


def text(report: Report, draw: Callable[[Rows], str] | None = None) -> str:
    """The tables for the terminal; `draw` makes them for something else."""
    load = " ".join(f"{value:.2f}" for value in report.load_before) or "unknown"
    machine = report.machine
    blocks = [
        f"{machine['cpu']}, {machine['cores']} cores, {machine['system']}, {machine['python']}\n"
        f"broker {report.broker}; load average at the start {load}"
    ]
    for group in report.groups:
        blocks += _tables(report, group, draw or layout)
    blocks.append("\n".join(f"{name}: {JOBS[name].title}" for name in report.jobs))
    notes = [*report.notes]
    notes += [
        f"{client}: {FAILED} in {job}: {error}" for (client, job, _), error in report.errors.items()
    ]
    notes += reasons(report)
    if notes:
        blocks.append("\n".join(notes))
    return "\n\n".join(blocks) + "\n"


def reasons(report: Report) -> list[str]:
    """Why there is a dash in the tables."""
    lines = []
    for name in report.titles:
        cannot = {JOBS[job].name: why for job, why in CLIENTS[name].cannot.items()}
        for why in sorted({cannot[job] for job in report.jobs if job in cannot}):
            jobs = ", ".join(job for job in report.jobs if cannot.get(job) == why)
            lines.append(f"{name}: {CANNOT} in {jobs}: {why}")
    return lines


def _tables(report: Report, group: Group, draw: Callable[[Rows], str]) -> list[str]:
    clients = [
        name
        for name in report.titles
        if any(
            key in report.cpu or key in report.errors
            for key in (group.key(name, job) for job in group.jobs)
        )
    ]

    def cell(client: str, job: str, show: Callable[[Key], str | None]) -> str:
        key = group.key(client, job)
        shown = show(key)
        if shown is not None:
            return shown
        return FAILED if key in report.errors else CANNOT

    def table(title: str, show: Callable[[Key], str | None]) -> str:
        rows = [
            [report.titles[client], *(cell(client, job, show) for job in group.jobs)]
            for client in clients
        ]
        return f"{title}, {group.title}\n" + draw([["", *group.jobs], *rows])

    def cpu(key: Key) -> str | None:
        return format_summary(report.cpu[key]) if key in report.cpu else None

    def rate(key: Key) -> str | None:
        if key not in report.rate:
            return None
        summary = report.rate[key]
        spread = "" if summary.spread is None else f" ±{summary.spread:.0%}"
        return f"{summary.median:,.0f}{spread}"

    def memory(key: Key) -> str | None:
        return f"{report.memory[key].maximum:.1f}" if key in report.memory else None

    def relative(reference: str) -> Callable[[Key], str | None]:
        def show(key: Key) -> str | None:
            value = report.ratio(key[0], reference, key[1], key[2])
            return None if value is None else f"{value:.2f}"

        return show

    median = f"median of {report.repeats}, ± half of the quartile distance"
    tables = [
        table(f"Client CPU per message, µs ({median})", cpu),
        table(f"Messages per second ({median})", rate),
    ]
    if group.suite in (Suite.HELD, Suite.LARGE):
        tables.append(table("Growth of the client's memory at its peak, MiB (maximum)", memory))
    tables += [
        table(f"Client CPU per message, {reference} = 1", relative(reference))
        for reference in REFERENCES
        if reference in clients
    ]
    return tables


def markdown(rows: Rows) -> str:
    """A table of Markdown, after the empty line that it needs before it."""
    first, *others = [f"| {' | '.join(row)} |" for row in rows]
    rule = f"|{'---|' * len(rows[0])}"
    return "\n".join(["", first, rule, *others])


def layout(rows: Rows) -> str:
    """Columns: the first to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [first.ljust(widths[0])]
        cells += [value.rjust(width) for value, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def format_summary(summary: Summary) -> str:
    """`12.3 ±4%`; three significant digits, no spread for a single value."""
    value = summary.median
    shown = f"{value:.2f}" if value < 10 else f"{value:.1f}" if value < 100 else f"{value:.0f}"
    return shown if summary.spread is None else f"{shown} ±{summary.spread:.0%}"


def format_size(size: int) -> str:
    """`100 B`, `64 KiB`, `1 MiB`."""
    for unit, name in ((1024 * 1024, "MiB"), (1024, "KiB")):
        if size and size % unit == 0:
            return f"{size // unit} {name}"
    return f"{size} B"


def as_json(report: Report) -> dict[str, object]:
    """Everything: summaries and ratios, and each single measurement below them."""
    summary = [
        {
            "client": client,
            "job": job,
            "body": body,
            "cpu_us": asdict(cpu),
            "rate": asdict(report.rate[client, job, body]),
            "memory_mib": asdict(growth)
            if (growth := report.memory.get((client, job, body)))
            else None,
            "cpu_ratio": {name: report.ratio(client, name, job, body) for name in REFERENCES},
        }
        for (client, job, body), cpu in report.cpu.items()
    ]
    return {
        "date": report.date,
        "broker": report.broker,
        "machine": report.machine,
        "load": {"before": report.load_before, "after": report.load_after},
        "repeats": report.repeats,
        "clients": report.titles,
        "notes": [*report.notes, *reasons(report)],
        "summary": summary,
        "measurements": [asdict(each) for each in report.measurements],
    }


def write_json(report: Report, path: Path, **more: object) -> None:
    """Write `as_json`, and what else is given, to a file; its folder is made if it is missing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps(as_json(report) | more, indent=1, ensure_ascii=False)
    path.write_text(content + "\n", encoding="utf-8")


def read_json(path: Path) -> Report:
    """The report of a file that `write_json` has written."""
    read = json.loads(path.read_text(encoding="utf-8"))
    load = read["load"]
    report = Report(
        date=read["date"],
        broker=read["broker"],
        machine=read["machine"],
        load_before=load["before"],
        load_after=load["after"],
        repeats=read["repeats"],
        measurements=[Measurement(**each) for each in read["measurements"]],
        notes=read["notes"],
    )
    known = reasons(report)  # they are told with the tables anyway
    return replace(report, notes=[note for note in report.notes if note not in known])
