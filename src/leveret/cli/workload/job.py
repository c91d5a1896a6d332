"""What is to be done, and when it is over."""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from ...client.parameters import Parameters
from .ledger import Ledger

__all__ = ["LOOK", "SHUTDOWN", "Job", "Result", "Watch"]

LOOK = 0.1  # seconds between two looks at how far it is
STALLED = 10.0  # seconds without a message after which no more are waited for
SHUTDOWN = 10.0  # seconds for each step of the end


@dataclass(frozen=True)
class Job:
    """What is to be done.

    Attributes:
        url: the broker.
        messages: how many, all publishers together.
        publishers, consumers: how many, each with a channel of its own.
        size: bytes of a message body.
        prefetch: deliveries a consumer may have unsettled.
        in_flight: publishes a publisher may have unconfirmed.
        timeout: seconds for all of it.
        queue: its name.
    """

    url: str
    messages: int
    publishers: int = 4
    consumers: int = 4
    size: int = 100
    prefetch: int = 500
    in_flight: int = 1000
    timeout: float = 120.0
    queue: str = field(default_factory=lambda: f"leveret-demo-{secrets.token_hex(4)}")

    @property
    def body(self) -> bytes:
        """The body of each message."""
        pattern = b"leveret 0123456789 "
        return (pattern * (self.size // len(pattern) + 1))[: self.size]

    def ledger(self) -> Ledger:
        """An empty ledger: the messages are shared out among the publishers."""
        each, more = divmod(self.messages, self.publishers)
        return Ledger([each + (number < more) for number in range(self.publishers)])


@dataclass
class Result:
    """What came of it.

    Attributes:
        ledger: a mark for each message.
        broker: product and version, as the broker says.
        where: host, port and virtual host.
        consumed: how many messages each consumer had.
        seconds: from the first publish to the last ack.
        cpu: seconds of this process's CPU time in between.
        left: messages left in the queue at the end.
        errors: what went wrong.
    """

    ledger: Ledger
    consumed: list[int]
    broker: str = ""
    where: str = ""
    seconds: float = 0.0
    cpu: float = 0.0
    left: int = 0
    errors: list[BaseException | str] = field(default_factory=list)

    @property
    def ok(self) -> bool:
        """Whether every message was confirmed and arrived, and nothing else did."""
        ledger = self.ledger
        return not (
            self.errors
            or self.left
            or ledger.unexpected
            or ledger.lost
            or ledger.confirmed != ledger.messages
        )

    def met(self, server_properties: Mapping[str, object], parameters: Parameters) -> None:
        """Note which broker it is, and where."""
        self.broker = " ".join(
            str(server_properties.get(key, "")) for key in ("product", "version")
        )
        self.where = f"{parameters.host}:{parameters.port}, virtual host {parameters.virtual_host}"

    def failed(self, error: BaseException | str) -> None:
        """Note what went wrong, each thing once."""
        if str(error) not in map(str, self.errors):
            self.errors.append(error)


class Watch:
    """Says when to stop, and measures.

    Args:
        job: its timeout counts from now.
        result: where the figures go.
        on_look: called at each look, for a progress bar.
        cpu_time: seconds of CPU time used so far.
        clock: seconds.
    """

    def __init__(
        self,
        job: Job,
        result: Result,
        on_look: Callable[[], object],
        cpu_time: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._result = result
        self._on_look = on_look
        self._cpu_time = cpu_time
        self._clock = clock
        self._end = clock() + job.timeout
        self._timeout = job.timeout
        self._progress = (-1, -1)
        self._progress_at = clock()
        self._started: tuple[float, float] | None = None

    def start(self) -> None:
        """The first message is about to be published."""
        self._started = (self._clock(), self._cpu_time())
        self._progress_at = self._clock()

    def stop(self) -> None:
        """The last message was acknowledged, or none is waited for any more."""
        if self._started is not None:
            began, cpu = self._started
            self._result.seconds = self._clock() - began
            self._result.cpu = self._cpu_time() - cpu
            self._started = None
        self._on_look()

    @property
    def remaining(self) -> float:
        """Seconds left; always a little, for an operation that must have a timeout."""
        return max(self._end - self._clock(), 0.001)

    def over(self) -> bool:
        """Whether to stop: all is done, something failed, nothing moves, or time is up."""
        self._on_look()
        result, now = self._result, self._clock()
        ledger = result.ledger
        if result.errors or (ledger.complete and ledger.confirmed == ledger.messages):
            return True
        if now >= self._end:
            result.failed(f"not done within {self._timeout:g} s")
            return True
        progress = (ledger.confirmed, ledger.deliveries)
        if progress != self._progress:
            self._progress, self._progress_at = progress, now
        elif now - self._progress_at > STALLED:
            result.failed(f"nothing was confirmed or delivered for {STALLED:g} s")
            return True
        return False
