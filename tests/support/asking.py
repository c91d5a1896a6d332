"""A client of a scripted broker that asks and publishes, and the answers that it gets."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, ItemsView, Iterable
from typing import Any

import leveret
from leveret import wire
from leveret.sync.leading import IO_THREAD, NOBODY
from leveret.sync.transport import Core

from .scripted import CONSUMER, ScriptedBroker
from .threads import eventually, start

__all__ = ["NO_PROPERTIES", "SECONDS", "Arguments", "Asking", "delivery"]

SECONDS = 10.0
AT_ONCE = {
    wire.ConfirmSelect.key: wire.ConfirmSelectOk().encode(1),
    wire.ChannelClose.key: wire.ChannelCloseOk().encode(1),
    wire.ConnectionClose.key: wire.ConnectionCloseOk().encode(0),
}
NO_PROPERTIES = wire.Properties().encode()


def delivery(tag: int) -> bytes:
    content = wire.encode_deliver(1, CONSUMER, tag, False, "", "q", NO_PROPERTIES, b"body", 0)
    assert isinstance(content, bytes)
    return content


class Answers:
    """Answers a client: its n-th request with n as the message count, its n-th publish with n as
    the tag.

    Attributes:
        count: how many requests have come.
        published, acked: how many publishes and acks have come.
        held: how many of both have to come before they are answered, all at once.
        pieces: makes the pieces of an answer out of the ordinary one; the client waits for each
            before it is sent.
    """

    def __init__(self, broker: ScriptedBroker, core: Core) -> None:
        self.count = self.published = self.acked = 0
        self.held = 1
        self.pieces: Callable[[bytes], Iterable[bytes]] = lambda answer: [answer]
        self._broker = broker
        self._core = core
        start(self._serve)

    def _serve(self) -> None:
        waiting: list[bytes] = []
        with contextlib.suppress(OSError):
            while True:
                frame = self._broker.read()
                key = int.from_bytes(frame[7:11], "big")
                if frame[0] != wire.FrameType.METHOD:
                    continue
                if key in AT_ONCE:
                    self._broker.peer.sendall(AT_ONCE[key])
                elif key == wire.QueueDeclare.key:
                    self.count += 1
                    waiting.append(wire.QueueDeclareOk("q", self.count, 0).encode(1))
                elif key == wire.BasicPublish.key:
                    self.published += 1
                    waiting.append(wire.BasicAck(self.published, False).encode(1))
                elif key == wire.BasicAck.key:
                    self.acked += 1
                if not waiting or len(waiting) < self.held:
                    continue
                pieces, waiting = self.pieces(b"".join(waiting)), []
                for piece in pieces:
                    eventually(lambda: self._core._resting or self._core.reading == IO_THREAD)
                    self._broker.peer.sendall(piece)


class Asking:
    """A client of a scripted broker.

    Attributes:
        answers: the broker's part.
        broker, channel, consumer, core: the client's.
    """

    def __init__(self, broker: ScriptedBroker, connection: leveret.Connection) -> None:
        self.broker = broker
        self.channel = connection.channel(timeout=SECONDS)
        self.core: Core = self.channel.core
        self.consumer = self.channel.consume("q", timeout=SECONDS)
        self.answers = Answers(broker, self.core)

    def ask(self, timeout: float = SECONDS) -> int:
        """The number of the request, as its answer says it."""
        return self.channel.queue_declare("q", passive=True, timeout=timeout).message_count

    def publish(self, timeout: float = SECONDS) -> None:
        """A publish that is confirmed."""
        self.channel.publish(b"body", routing_key="q", timeout=timeout)

    def lead(self) -> None:
        """Have this thread read what it asks for."""

        def stands_by() -> bool:
            assert self.ask() == self.answers.count
            return self.core.reading == NOBODY

        eventually(stands_by)


class Arguments(dict[str, Any]):
    """What is called when they are encoded."""

    called: Callable[[], object]

    def items(self) -> ItemsView[str, Any]:
        self.called()
        return super().items()
