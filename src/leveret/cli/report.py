"""The demo's last screen: what was done, the proof, and what it cost."""

from __future__ import annotations

import platform
from collections.abc import Iterable

from rich import box
from rich.console import Group, RenderableType
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from .. import codec
from .workload.job import Job, Result

__all__ = ["summary"]

ROWS = 8  # publishers shown one by one


def summary(job: Job, result: Result, *, embedded: bool, use_asyncio: bool) -> RenderableType:
    """The last screen.

    Args:
        job: what was to be done.
        result: what came of it.
        embedded: whether the broker is the demo's own.
        use_asyncio: which client it was.
    """
    kind = "asyncio" if use_asyncio else "blocking"
    broker = f"{'embedded' if embedded else result.broker} at {result.where}"
    python = f"{platform.python_implementation()} {platform.python_version()}"
    head = _pairs(
        [
            ("broker", broker),
            ("client", f"{kind}, {codec} codec, {python}"),
            ("job", _job(job)),
        ]
    )
    return Panel(
        Group(head, "", _proof(result), "", _pairs(_costs(result)), "", *_verdict(result)),
        title="Leveret demo",
        border_style="green" if result.ok else "red",
        box=box.ROUNDED,
        padding=(1, 2),
    )


def _job(job: Job) -> str:
    return (
        f"{job.messages:,} messages of {job.size:,} bytes, {_count(job.publishers, 'publisher')}, "
        f"{_count(job.consumers, 'consumer')}"
    )


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"


def _pairs(rows: Iterable[tuple[str, str]]) -> Table:
    table = Table.grid(padding=(0, 3))
    table.add_column(style="dim", min_width=11)
    table.add_column()
    for name, value in rows:
        table.add_row(name, Text(value))
    return table


def _proof(result: Result) -> Table:
    """The message ids, publisher by publisher."""
    ledger = result.ledger
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_footer=True)
    shares = ledger.shares
    lost = [ledger.lost_by(number) for number in range(len(shares))]
    arrived = [sent - gone for sent, gone in zip(ledger.published, lost, strict=True)]
    columns: list[tuple[str, list[int]]] = [
        ("published", ledger.published),
        ("confirmed", ledger.confirmations),
        ("arrived", arrived),
        ("lost", lost),
    ]
    table.add_column("message ids", footer="all")
    for name, values in columns:
        total = sum(values)
        table.add_column(
            name, justify="right", footer=_figure(total, bad=name == "lost" and total > 0)
        )
    if len(shares) <= ROWS:
        for number in range(len(shares)):
            table.add_row(
                f"publisher {number + 1}", *(f"{values[number]:,}" for _, values in columns)
            )
    return table


def _figure(value: int, bad: bool) -> Text:
    return Text(f"{value:,}", style="bold red" if bad else "bold")


def _costs(result: Result) -> list[tuple[str, str]]:
    ledger = result.ledger
    rows = [
        ("acknowledged", f"{sum(result.consumed):,}: {_shares(result.consumed)}"),
        ("repeated", f"{ledger.duplicates:,} ({ledger.redelivered:,} marked as redelivered)"),
        ("unexpected", f"{ledger.unexpected:,}, and {result.left:,} left in the queue"),
    ]
    if result.seconds > 0 and ledger.distinct:
        rate = ledger.distinct / result.seconds
        cpu = result.cpu / ledger.distinct * 1e6
        rows += [
            ("time", f"{result.seconds:.2f} s, {rate:,.0f} messages a second"),
            ("client CPU", f"{cpu:.1f} µs a message, from publish to ack"),
        ]
    return rows


def _shares(consumed: list[int]) -> str:
    if len(consumed) > ROWS:
        return f"{min(consumed):,} to {max(consumed):,} a consumer"
    return " + ".join(f"{number:,}" for number in consumed)


def _verdict(result: Result) -> list[RenderableType]:
    ledger = result.ledger
    if result.ok:
        words = (
            f"Each of {ledger.messages:,} message ids was confirmed, arrived and was acknowledged: "
            "none lost, none unexpected."
        )
        return [Text(words, style="bold green")]
    lines = [str(error) for error in result.errors]
    published = sum(ledger.published)
    if published < ledger.messages:
        lines.append(f"{ledger.messages - published:,} messages were not published")
    if ledger.confirmed < published:
        lines.append(f"{published - ledger.confirmed:,} published messages were not confirmed")
    if ledger.lost:
        lines.append(f"{ledger.lost:,} messages did not arrive, as {', '.join(ledger.missing())}")
    if ledger.unexpected:
        lines.append(
            f"{ledger.unexpected:,} unexpected messages arrived, as {', '.join(ledger.strangers)}"
        )
    if result.left:
        lines.append(f"{result.left:,} messages were left in the queue")
    return [Text("FAILED", style="bold red"), *(Text(line, style="red") for line in lines)]
