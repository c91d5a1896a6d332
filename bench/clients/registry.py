"""The clients: names, packages, and what they cannot do (and why).

Nothing of a client is imported here, so that the harness measures none of it and works without
those that are not installed.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, field

from bench import native


@dataclass(frozen=True, slots=True)
class Entry:
    """A client.

    Attributes:
        name: as in the tables and on the command line.
        module: file in bench/clients.
        package: what has to be importable; empty for the C program.
        cannot: job name -> reason.
        environment: variables of the client's process.
    """

    name: str
    module: str
    package: str
    cannot: Mapping[str, str] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)

    def missing(self) -> str | None:
        """What keeps the client from running here, or None."""
        if self.package:
            found = importlib.util.find_spec(self.package) is not None
            return None if found else f"the Python package {self.package} is not installed"
        try:
            native.build()
        except native.Unavailable as error:
            return str(error)
        return None


def _no_pipeline(library: str) -> dict[str, str]:
    reason = f"{library} waits for each confirm inside its publish call"
    return {"confirm_256": reason, "confirm_1000": reason}


CLIENTS = {
    entry.name: entry
    for entry in (
        Entry("leveret", "leveret", "leveret"),
        Entry("leveret-asyncio", "leveret_asyncio", "leveret"),
        Entry("drop-in", "leveret_compat", "vine"),
        Entry("drop-in-pure", "leveret_compat", "vine", environment={"LEVERET_CODEC": "pure"}),
        Entry("rabbitmq-c", "rabbitmq_c", ""),
        Entry("py-amqp", "py_amqp", "amqp"),
        Entry("pika", "pika", "pika", _no_pipeline("pika's BlockingConnection")),
        Entry("amqpstorm", "amqpstorm", "amqpstorm", _no_pipeline("amqpstorm")),
        Entry("aiormq", "aiormq", "aiormq"),
        Entry("aio-pika", "aio_pika", "aio_pika"),
    )
}
REFERENCES = ("py-amqp", "rabbitmq-c")
