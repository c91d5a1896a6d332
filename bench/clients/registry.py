"""The clients: names, packages, and what they cannot do (and why).

Nothing of a client is imported here, so that the harness measures none of it and works without
those that are not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path

from bench import native
from bench.jobs import Job

CLIENTS_DIR = Path(__file__).parent


@dataclass(frozen=True, slots=True)
class Entry:
    """A client.

    Attributes:
        name: as in the tables and on the command line.
        module: file in bench/clients.
        package: what has to be importable; empty for the C program.
        cannot: job name -> reason.
        only: the names of the only jobs that it is for; empty for all.
        share: the part of a job's messages that it gets: slow clients get fewer, so that all
            take about the same time.
        codec: of Leveret: what its process is told to use (LEVERET_CODEC).
    """

    name: str
    module: str
    package: str
    cannot: Mapping[str, str] = field(default_factory=dict)
    share: float = 1.0
    codec: str = ""
    only: Collection[str] = ()

    def can(self, job: Job) -> bool:
        """Whether it does the job."""
        return job.name not in self.cannot and (not self.only or job.name in self.only)

    @property
    def environment(self) -> dict[str, str]:
        """Variables of the client's process."""
        return {"LEVERET_CODEC": self.codec} if self.codec else {}

    def missing(self) -> str | None:
        """What keeps the client from running here, or None."""
        if not (CLIENTS_DIR / f"{self.module}.py").is_file():
            return f"there is no bench/clients/{self.module}.py"
        if self.package:
            if importlib.util.find_spec(self.package) is None:
                return f"the Python package {self.package} is not installed"
            if self.codec == "compiled" and not _has_compiled_codec():
                return "this installation of leveret has no compiled codec"
            return None
        try:
            native.build()
        except native.Unavailable as error:
            return str(error)
        return None


def _no_pipeline(library: str) -> dict[str, str]:
    reason = f"{library} waits for each confirm inside its publish call"
    return {"confirm_256": reason, "confirm_1000": reason}


MANY = {"held_1000000": "to receive a million deliveries takes it minutes"}

FLOOR_JOBS = ("publish", "confirm_one", "consume_ack", "roundtrip")


def _has_compiled_codec() -> bool:
    """Whether the extension was built; looked up among the files, so that nothing is imported."""
    spec = importlib.util.find_spec("leveret")
    folders = (spec and spec.submodule_search_locations) or []
    return any(
        (Path(folder) / "wire" / f"_speedups{suffix}").is_file()
        for folder in folders
        for suffix in EXTENSION_SUFFIXES
    )


def _leveret(name: str, module: str, package: str = "leveret") -> tuple[Entry, ...]:
    """A client of Leveret, once with each codec."""
    return tuple(
        Entry(name + suffix, module, package, codec=codec)
        for suffix, codec in (("", "compiled"), ("-pure", "pure"))
    )


CLIENTS = {
    entry.name: entry
    for entry in (
        *_leveret("leveret", "leveret"),
        *_leveret("leveret-asyncio", "leveret_asyncio"),
        *_leveret("drop-in", "leveret_compat", package="vine"),
        Entry("floor", "floor", "amqp", only=FLOOR_JOBS),
        Entry("rabbitmq-c", "rabbitmq_c", ""),
        Entry("py-amqp", "py_amqp", "amqp", MANY, share=0.25),
        Entry("pika", "pika", "pika", MANY | _no_pipeline("pika's BlockingConnection"), share=0.25),
        Entry("amqpstorm", "amqpstorm", "amqpstorm", MANY | _no_pipeline("amqpstorm"), share=0.1),
        Entry("aiormq", "aiormq", "aiormq", MANY, share=0.2),
        Entry("aio-pika", "aio_pika", "aio_pika", MANY, share=0.2),
        Entry("bare-socket", "bare", "amqp", only=("large_publish", "large_consume")),
    )
}
REFERENCES = ("py-amqp", "rabbitmq-c", "aio-pika")
