"""What is measured: the jobs, and the settings that are equal for all clients.

A measurement starts with the connection and the channel open (confirm mode and prefetch set) and
ends with the reply to one passive queue.declare on the same channel: RabbitMQ handles a
channel's methods in order, so that all publishes and acks have left the client by then.

Publishing goes to a fanout exchange without bindings: the broker reads, routes, confirms and
drops each message, and its memory stays flat whatever the client's rate. Messages carry no
properties beyond those that a client adds by itself, are not mandatory and not persistent.
Consuming reads a durable classic queue filled beforehand.

What the user's code does is equal, what is on the wire is the library's affair. To know when
reading the ratios:
- consume_ack calls ack once a message. Leveret may join contiguous acks into one frame with
  `multiple`; the others send a frame a message.
- Most of what publishing costs rabbitmq-c is the kernel's part of a send a message; a library
  that gathers writes is spared it, and holds messages back for a moment.
- All messages of a measurement have one exchange and one routing key, which is the best case of
  a library that keeps encoded frames (Leveret does).
- aiormq and aio-pika gather as many publishes as may be in flight and then start again; the
  others keep the window full.
- Slow clients get fewer messages (registry.py, `share`). What a measurement costs whatever its
  number of messages is one round trip.
- aiormq, aio-pika and amqpstorm add properties (message_id, content_encoding...) to each message.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

PREFETCH = 1000
HEARTBEAT = 60
DEFAULT_BODY = 100
VOLUME = 64 * 1024 * 1024
"""Bytes of bodies in one measurement, at most: large bodies mean fewer messages."""

MIN_MESSAGES = 200
"""What a client's share of a job is at least, so that its cost stands out of the start's."""


class Kind(StrEnum):
    """The method of a client that does the job."""

    PUBLISH = "publish"
    CONFIRM = "confirm"
    CONSUME = "consume"
    ROUNDTRIP = "roundtrip"


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that a client does `messages` times."""

    name: str
    kind: Kind
    title: str
    messages: int
    in_flight: int = 0  # unconfirmed publishes, at most
    ack: bool = False

    @property
    def has_body(self) -> bool:
        return self.kind is not Kind.ROUNDTRIP

    def count(self, body: int, messages: int | None = None, share: float = 1.0) -> int:
        """Number of messages of `body` bytes in one measurement.

        Args:
            body: size of a body in bytes.
            messages: the user's choice instead of the job's own number.
            share: the part of the job's own number that a client gets.
        """
        if messages is not None:
            return messages
        own = max(min(self.messages, MIN_MESSAGES), round(self.messages * share))
        return max(32, min(own, VOLUME // max(body, 1)))


JOBS = {
    job.name: job
    for job in (
        Job("publish", Kind.PUBLISH, "publish, no confirms", 30_000),
        Job("confirm_one", Kind.CONFIRM, "publish, each confirm awaited", 2_000, in_flight=1),
        Job("confirm_256", Kind.CONFIRM, "publish, 256 confirms in flight", 30_000, in_flight=256),
        Job(
            "confirm_1000", Kind.CONFIRM, "publish, 1000 confirms in flight", 30_000, in_flight=1000
        ),
        Job("consume_ack", Kind.CONSUME, "consume, one call of ack a message", 30_000, ack=True),
        Job("consume_noack", Kind.CONSUME, "consume, no acks", 30_000),
        Job("roundtrip", Kind.ROUNDTRIP, "passive queue.declare", 2_000),
    )
}
