"""`leveret demo`: many messages through a broker, and the proof that none was lost.

Without a URL the embedded broker is started in this process, in a thread of its own. The exit
status is 0 when each message id was confirmed, arrived and was acknowledged, and nothing came
that was not published; 1 otherwise.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from types import FrameType

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TaskProgressColumn,
    TextColumn,
    TimeRemainingColumn,
)

from ..broker import Broker
from ..exceptions import LeveretError
from .report import summary
from .workload import asynchronous, blocking
from .workload.job import Job, Result, Watch

__all__ = ["demo"]

TIMEOUT = 60.0  # seconds, and one more for each thousand messages


@click.command()
@click.option("--url", help="A broker, as amqp://user:password@host; else the embedded one.")
@click.option(
    "--asyncio", "use_asyncio", is_flag=True, help="The asyncio client, not the blocking."
)
@click.option("--messages", type=click.IntRange(1), default=100_000, show_default=True)
@click.option("--publishers", type=click.IntRange(1, 200), default=4, show_default=True)
@click.option("--consumers", type=click.IntRange(1, 200), default=4, show_default=True)
@click.option("--size", type=click.IntRange(0), default=100, show_default=True, help="Body bytes.")
@click.option("--timeout", type=float, help="Seconds; default 60, and 1 more a thousand messages.")
def demo(
    url: str | None,
    use_asyncio: bool,
    messages: int,
    publishers: int,
    consumers: int,
    size: int,
    timeout: float | None,
) -> None:
    """Publish with confirms, consume with acks, and prove that no message was lost."""
    console = Console()
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job ignores it
    signal.signal(signal.SIGTERM, _interrupt)
    with contextlib.ExitStack() as stack:
        embedded = url is None
        if url is None:
            url = stack.enter_context(Broker()).url
        job = Job(
            url=url,
            messages=messages,
            publishers=publishers,
            consumers=consumers,
            size=size,
            timeout=TIMEOUT + messages / 1000 if timeout is None else timeout,
        )
        result = Result(job.ledger(), [0] * consumers)
        try:
            with _progress(console, job, result) as on_look:
                watch = Watch(job, result, on_look, _cpu_clock())
                if use_asyncio:
                    asyncio.run(asynchronous.run(job, result, watch))
                else:
                    blocking.run(job, result, watch)
        except LeveretError as error:
            result.failed(error)
        except KeyboardInterrupt:
            result.failed("interrupted")
        if not result.broker:  # it never began: the error says it all
            console.print(f"leveret demo: {result.errors[0]}", style="red", markup=False)
            sys.exit(1)
        console.print(summary(job, result, embedded=embedded, use_asyncio=use_asyncio))
    sys.exit(0 if result.ok else 1)


@contextlib.contextmanager
def _progress(console: Console, job: Job, result: Result) -> Iterator[Callable[[], None]]:
    """Two bars, drawn from the first look on; gives what moves them."""
    progress = Progress(
        TextColumn("{task.description:>10}"),
        BarColumn(bar_width=None),
        MofNCompleteColumn(),
        TaskProgressColumn(),
        TimeRemainingColumn(),
        console=console,
    )
    confirmed = progress.add_task("confirmed", total=job.messages)
    received = progress.add_task("received", total=job.messages)

    def on_look() -> None:
        progress.start()
        progress.update(confirmed, completed=result.ledger.confirmed)
        progress.update(received, completed=result.ledger.distinct)

    try:
        yield on_look
    finally:
        if progress.live.is_started:
            progress.stop()


def _cpu_clock() -> Callable[[], float]:
    """The CPU time of this process without the embedded broker's thread, where there is one."""
    broker = next((each for each in threading.enumerate() if each.name == "leveret-broker"), None)
    if broker is None or broker.ident is None or not hasattr(time, "pthread_getcpuclockid"):
        return time.process_time
    clock = time.pthread_getcpuclockid(broker.ident)
    return lambda: time.process_time() - time.clock_gettime(clock)


def _interrupt(number: int, frame: FrameType | None) -> None:
    """SIGTERM ends the demo as Ctrl-C does, so that it leaves no queue behind."""
    signal.raise_signal(signal.SIGINT)
