"""The claims: what the ratios must be, and whether one run's medians show it.

The bounds are the project's own promises (issue 4). A cell is the client CPU per message of one
client in one job, divided by that of another client in the same job, or in the job named.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.clients.registry import CLIENTS, Entry
from bench.jobs import DEFAULT_BODY, JOBS, MIB, Job
from bench.report import Key, Report, Rows, layout
from bench.stats import Summary

REPEATS = 5
NOT_CLAIMED = "-"
NOT_MEASURED = "not measured"


@dataclass(frozen=True, slots=True)
class Bound:
    """`client` in the row's job costs at most `at_most` times what `reference` costs in `job`.

    Attributes:
        words: the bound as it is written.
        job: the reference's; empty for that of the row.
    """

    client: str
    reference: str
    at_most: float
    words: str
    job: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table: compiled to rabbitmq-c, pure to rabbitmq-c, compiled to another."""

    title: str
    job: str
    bounds: tuple[Bound | None, Bound | None, Bound | None]

    @property
    def clients(self) -> tuple[str, ...]:
        """Leveret's clients that the row is about."""
        return ("leveret-asyncio", "leveret-asyncio-pure") if self.asyncio else BLOCKING

    @property
    def asyncio(self) -> bool:
        return self.title.endswith("asyncio")


BLOCKING = ("leveret", "leveret-pure")
COLUMNS = ("compiled, to rabbitmq-c", "pure, to rabbitmq-c", "compiled, to py-amqp or aio-pika")


def _blocking(
    title: str,
    job: str,
    compiled: float,
    pure: float,
    py_amqp: int,
    c_job: str = "",
    py_job: str = "",
) -> Row:
    return Row(
        title,
        job,
        (
            Bound("leveret", "rabbitmq-c", compiled, f"{compiled}", c_job),
            Bound("leveret-pure", "rabbitmq-c", pure, f"{pure}", c_job),
            Bound("leveret", "py-amqp", 1 / py_amqp, f"1/{py_amqp}", py_job),
        ),
    )


def _aio_pika(part: int) -> Bound:
    return Bound("leveret-asyncio", "aio-pika", 1 / part, f"1/{part}")


ROWS = (
    _blocking("publish, no confirm, blocking", "publish", 0.5, 1.0, 30),
    _blocking("consume + ack, blocking iterator", "consume_ack", 0.5, 1.0, 25),
    _blocking(
        "publish, 1,000 in flight confirmed, blocking",
        "confirm_1000",
        *(1.0, 2.5, 30),
        c_job="publish",
        py_job="confirm_one",
    ),
    _blocking("round trip, blocking", "roundtrip", 1.5, 2.0, 2),
    Row(
        "publish with confirms, 256 in flight, asyncio", "confirm_256", (None, None, _aio_pika(30))
    ),
    Row(
        "consume + ack, asyncio",
        "consume_ack",
        (
            Bound("leveret-asyncio", "rabbitmq-c", 1.0, "1.0"),
            Bound("leveret-asyncio-pure", "rabbitmq-c", 2.0, "2.0"),
            _aio_pika(40),
        ),
    ),
)


LEVERET = ("leveret", "leveret-pure", "leveret-asyncio", "leveret-asyncio-pure")

FLAT = 1.2
SERIES = (
    ("publish, channels", ("publish_1ch", "publish_100ch", "publish_1000ch")),
    ("consume + ack, channels", ("consume_1ch", "consume_100ch", "consume_1000ch")),
    ("consume + ack, deliveries held", ("held_10", "held_10000", "held_1000000")),
)
"""The cost per message must be flat along each: at most `FLAT` times that of the first."""

LARGE_RATE = 0.7
LARGE = ("large_publish", "large_consume")
BARE = "bare-socket"
IN_HAND = {"large_confirm_one": 2.0, "large_consume_one": 2.0 + 1.0}
"""MiB that the process may grow by: the body of a publish was there before."""


def wanted(entry: Entry, job: Job) -> bool:
    """Whether the claims need this measurement: those of Leveret's clients and of every peer."""
    if entry.codec and entry.name not in LEVERET:
        return False
    if job.name in {row.job for row in ROWS}:
        return bool(entry.codec) or _is_peer(entry)
    if job.name in {*LARGE, *IN_HAND} or any(job.name in names for _, names in SERIES):
        return entry.name in LEVERET or entry.name == BARE
    bounds = [bound for row in ROWS for bound in row.bounds if bound is not None]
    return (entry.name, job.name) in {(bound.reference, bound.job) for bound in bounds}


def jobs() -> list[tuple[Job, int]]:
    """The jobs of the claims, with the size of body."""
    return [
        (job, job.bodies[0] if job.has_body else 0)
        for job in JOBS.values()
        if any(wanted(entry, job) for entry in CLIENTS.values())
    ]


def text(report: Report, draw: Callable[[Rows], str] = layout) -> str:
    """The claims' tables, every figure beside its bound."""
    repeats = f"{report.repeats} interleaved repeats"
    tables = {
        f"Client CPU per message, ratio of medians of {repeats}, body {DEFAULT_BODY} B": [
            ["job", *COLUMNS],
            *_ratios(report),
        ],
        "Messages per second beside the fastest other client's in the same job": [
            ["job", "compiled", "pure", "fastest other"],
            *_rates(report),
        ],
        f"Client CPU per message along a series, first = 1 (at most {FLAT})": [
            ["series", *LEVERET],
            *_series(report),
        ],
        f"Bodies of 1 MiB: messages per second, bare socket = 1 (at least {LARGE_RATE}); "
        "MiB of memory for one message in hand": [["job", *LEVERET], *_large(report)],
    }
    return "\n\n".join(f"{title}\n{draw(rows)}" for title, rows in tables.items())


def _ratios(report: Report) -> Iterator[list[str]]:
    for row in ROWS:
        yield [row.title, *(_cell(report, row, bound) for bound in row.bounds)]


def _cell(report: Report, row: Row, bound: Bound | None) -> str:
    if bound is None:
        return NOT_CLAIMED
    ratio = _ratio(report, row.job, bound)
    if ratio is None:
        return NOT_MEASURED
    shown = f"1/{1 / ratio:.1f}" if bound.words.startswith("1/") else f"{ratio:.2f}"
    return f"{shown} (at most {bound.words}) {verdict(ratio <= bound.at_most)}"


def _ratio(report: Report, job: str, bound: Bound) -> float | None:
    own = report.cpu.get(_key(bound.client, job))
    reference = report.cpu.get(_key(bound.reference, bound.job or job))
    if own is None or reference is None:
        return None
    return own.median / reference.median


def _rates(report: Report) -> Iterator[list[str]]:
    for row in ROWS:
        others = {
            name: rate
            for name in CLIENTS
            if _is_peer(CLIENTS[name]) and (rate := report.rate.get(_key(name, row.job)))
        }
        if not others:
            yield [row.title, NOT_MEASURED, NOT_MEASURED, NOT_MEASURED]
            continue
        fastest = max(others, key=lambda name: others[name].median)
        cells = [
            _rate_cell(report.rate.get(_key(name, row.job)), others[fastest])
            for name in row.clients
        ]
        yield [row.title, *cells, f"{fastest} {others[fastest].median:,.0f}/s"]


def _is_peer(entry: Entry) -> bool:
    """Whether it is another library, neither Leveret nor a yardstick made for a few jobs."""
    return not entry.codec and not entry.only


def _rate_cell(own: Summary | None, fastest: Summary) -> str:
    """A rate is a miss if it is lower; the spreads say whether the two can be told apart."""
    if own is None:
        return NOT_MEASURED
    ratio = own.median / fastest.median
    within = 1 > ratio >= 1 - (own.spread or 0) - (fastest.spread or 0)
    words = "miss, within the spread" if within else verdict(ratio >= 1)
    return f"{own.median:,.0f}/s {ratio:.2f} (at least 1.00) {words}"


def _series(report: Report) -> Iterator[list[str]]:
    for title, jobs in SERIES:
        yield [
            f"{title} ({', '.join(job.rpartition('_')[2].removesuffix('ch') for job in jobs)})",
            *(_series_cell(report, client, jobs) for client in LEVERET),
        ]


def _series_cell(report: Report, client: str, jobs: Sequence[str]) -> str:
    costs = [report.cpu.get(_key(client, job)) for job in jobs]
    values = [cost.median for cost in costs if cost is not None]
    if len(values) < len(jobs):
        return NOT_MEASURED
    ratios = [value / values[0] for value in values]
    shown = " ".join(f"{ratio:.2f}" for ratio in ratios)
    return f"{shown} {verdict(max(ratios) <= FLAT)}"


def _large(report: Report) -> Iterator[list[str]]:
    for job in LARGE:
        bare = report.rate.get((BARE, job, MIB))
        cells = []
        for client in LEVERET:
            rate = report.rate.get((client, job, MIB))
            if rate is None or bare is None:
                cells.append(NOT_MEASURED)
                continue
            ratio = rate.median / bare.median
            cells.append(f"{ratio:.2f} {verdict(ratio >= LARGE_RATE)}")
        yield [JOBS[job].title, *cells]
    for job, bound in IN_HAND.items():
        grown = [report.memory.get((client, job, MIB)) for client in LEVERET]
        yield [
            f"{JOBS[job].title}: at most {bound:.0f} MiB",
            *(
                NOT_MEASURED
                if each is None
                else f"{each.maximum:.1f} {verdict(each.maximum <= bound)}"
                for each in grown
            ),
        ]


def verdict(holds: bool) -> str:
    return "pass" if holds else "MISS"


def _key(client: str, job: str) -> Key:
    return client, job, DEFAULT_BODY if JOBS[job].has_body else 0


def as_json(report: Report) -> Sequence[dict[str, object]]:
    """One object a bound."""
    return [
        {
            "row": row.title,
            "client": bound.client,
            "reference": bound.reference,
            "reference_job": bound.job or row.job,
            "ratio": (ratio := _ratio(report, row.job, bound)),
            "at_most": bound.at_most,
            "holds": None if ratio is None else ratio <= bound.at_most,
        }
        for row in ROWS
        for bound in row.bounds
        if bound is not None
    ]
