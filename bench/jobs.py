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
- On bench/peer.py the consumers are there before the measured time, which starts with the passive
  queue.declare that sets the feed going.
- Deliveries acked while older ones stay unacknowledged (held_*) cannot be joined: every ack is a
  frame of its own, with 10 held as with 1,000,000.
- The peer feeds channels in turn, one delivery each (consume_*ch), as RabbitMQ does: its deliveries
  to 1,000 consumers on as many channels came 1.0 to 1.1 in a row, to 100 consumers 1.8 to 2.0
  (4.3.6, one queue or one each, published to meanwhile). Acks that wait for others can be joined
  then only as far as a channel has several in that time.
- All messages of a measurement have one exchange and one routing key, which is the best case of
  a library that keeps encoded frames (Leveret does).
- aiormq and aio-pika gather as many publishes as may be in flight and then start again; the
  others keep the window full.
- Slow clients get fewer messages (registry.py, `share`). What a measurement costs whatever its
  number of messages is one round trip.
- aiormq, aio-pika and amqpstorm add properties (message_id, content_encoding...) to each message.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

PREFETCH = 1000
HEARTBEAT = 60
DEFAULT_BODY = 100
MIB = 1024 * 1024
MIN_MESSAGES = 200
"""What a client's share of a job is at least, so that its cost stands out of the start's."""


class Kind(StrEnum):
    """The method of a client that does the job."""

    PUBLISH = "publish"
    CONFIRM = "confirm"
    CONSUME = "consume"
    ROUNDTRIP = "roundtrip"


class Suite(StrEnum):
    """Jobs whose figures belong into one table."""

    MESSAGES = "messages"
    CHANNELS = "channels"
    HELD = "held"
    LARGE = "large"


@dataclass(frozen=True, slots=True)
class Job:
    """One thing that a client does `messages` times.

    Attributes:
        in_flight: unconfirmed publishes, at most.
        ack: whether each delivery is acked.
        prefetch: of each channel; 0 for no limit.
        channels: over how many channels of the connection the messages are spread, in turn;
            0 is one channel, used in the library's plain way.
        held: deliveries taken before the measured time and not settled.
        peer: on bench/peer.py, not on the broker.
        bodies: the sizes it is measured with, in bytes.
        volume: bytes of bodies in one measurement, at most: large bodies mean fewer messages.
    """

    name: str
    kind: Kind
    title: str
    messages: int
    suite: Suite = Suite.MESSAGES
    in_flight: int = 0
    ack: bool = False
    prefetch: int = PREFETCH
    channels: int = 0
    held: int = 0
    peer: bool = False
    bodies: Sequence[int] = (DEFAULT_BODY,)
    volume: int = 64 * MIB

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
        return max(32, min(own, self.volume // max(body, 1)))


SIZES = (DEFAULT_BODY, 4 * 1024, 64 * 1024, MIB)

JOBS = {
    job.name: job
    for job in (
        Job("publish", Kind.PUBLISH, "publish, no confirms", 30_000, bodies=SIZES),
        Job("confirm_one", Kind.CONFIRM, "publish, each confirm awaited", 2_000, in_flight=1),
        Job(
            "confirm_256",
            Kind.CONFIRM,
            "publish, 256 confirms in flight",
            30_000,
            in_flight=256,
            bodies=SIZES,
        ),
        Job(
            "confirm_1000", Kind.CONFIRM, "publish, 1000 confirms in flight", 30_000, in_flight=1000
        ),
        Job(
            "consume_ack",
            Kind.CONSUME,
            "consume, one call of ack a message",
            30_000,
            ack=True,
            bodies=SIZES,
        ),
        Job("consume_noack", Kind.CONSUME, "consume, no acks", 30_000),
        Job("roundtrip", Kind.ROUNDTRIP, "passive queue.declare", 2_000),
        *(
            Job(
                f"publish_{channels}ch",
                Kind.PUBLISH,
                f"publish, {channels:,} channels in turn",
                200_000,
                Suite.CHANNELS,
                channels=channels,
            )
            for channels in (1, 100, 1000)
        ),
        *(
            Job(
                f"consume_{channels}ch",
                Kind.CONSUME,
                f"consume and ack, {channels:,} channels in turn (peer)",
                200_000,
                Suite.CHANNELS,
                ack=True,
                channels=channels,
                peer=True,
            )
            for channels in (1, 100, 1000)
        ),
        *(
            Job(
                f"held_{held}",
                Kind.CONSUME,
                f"consume and ack while {held:,} older deliveries stay unacknowledged (peer)",
                200_000,
                Suite.HELD,
                ack=True,
                prefetch=0,
                held=held,
                peer=True,
            )
            for held in (10, 10_000, 1_000_000)
        ),
        Job(
            "large_publish",
            Kind.PUBLISH,
            "publish, no confirms (peer)",
            512,
            Suite.LARGE,
            peer=True,
            bodies=(MIB,),
            volume=512 * MIB,
        ),
        Job(
            "large_consume",
            Kind.CONSUME,
            "consume, no acks (peer)",
            512,
            Suite.LARGE,
            peer=True,
            bodies=(MIB,),
            volume=512 * MIB,
        ),
        Job(
            "large_confirm_one",
            Kind.CONFIRM,
            "publish, each confirm awaited: one message in hand (peer)",
            64,
            Suite.LARGE,
            in_flight=1,
            peer=True,
            bodies=(MIB,),
        ),
        Job(
            "large_consume_one",
            Kind.CONSUME,
            "consume and ack with a prefetch of 1: one message in hand (peer)",
            64,
            Suite.LARGE,
            ack=True,
            prefetch=1,
            peer=True,
            bodies=(MIB,),
        ),
    )
}
