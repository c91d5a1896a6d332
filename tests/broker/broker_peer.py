"""A client of a broker without sockets: raw frames, nothing to wait for, a clock by hand."""

from __future__ import annotations

from typing import Any, TypeVar

from leveret import wire
from leveret.broker.node import Node
from leveret.broker.session import Session

CAPABILITIES = {
    "authentication_failure_close": True,
    "basic.nack": True,
    "connection.blocked": True,
    "consumer_cancel_notify": True,
    "publisher_confirms": True,
}

I = TypeVar("I")  # noqa: E741


class Clock:
    """Seconds, moved by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class Peer:
    """A client: sends methods, looks at what came back. It is also the session's transport."""

    def __init__(self, node: Node) -> None:
        self.node = node
        self.reading = True
        self.closed = False
        self.lingering = False
        self.aborted = False
        self.unsent = 0  # bytes that the network does not take
        self._output = bytearray()
        self._soon: list[Session] = []
        self.session = Session(node, self, "peer")

    # -- Transport

    def write(self, data: bytes) -> None:
        assert not self.closed
        self._output += data

    def waiting(self) -> int:
        return self.unsent

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def close(self, linger: bool) -> None:
        self.closed = True
        self.lingering = linger

    def abort(self) -> None:
        self.closed = self.aborted = True

    def later(self, session: Session) -> None:
        self._soon.append(session)

    def deadlines_changed(self) -> None:
        pass

    # -- the client

    def raw(self, data: bytes) -> None:
        """Bytes for the broker."""
        self.session.receive_data(data)

    def send(self, *methods: wire.Method, channel: int = 1) -> None:
        """Methods, in one packet."""
        self.raw(b"".join(method.encode(channel) for method in methods))

    def publish(
        self,
        routing_key: str = "q",
        body: bytes = b"x",
        *,
        exchange: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        channel: int = 1,
        **properties: object,
    ) -> None:
        """A message, with properties by name."""
        raw = wire.Properties(**properties).encode()  # type: ignore[arg-type]
        encoded = wire.encode_publish(
            channel, exchange, routing_key, mandatory, immediate, raw, body, 131072
        )
        self.raw(encoded if isinstance(encoded, bytes) else b"".join(encoded))

    @property
    def size(self) -> int:
        """How many bytes wait to be read."""
        return len(self._output)

    def turn(self) -> None:
        """What was put off to the next turn of the loop."""
        soon, self._soon = self._soon, []
        for session in soon:
            session.go_on()

    def read(self) -> list[wire.Item]:
        """All that has come."""
        data = bytes(self._output)
        self._output.clear()
        items: list[wire.Item] = []
        position = 0
        while position < len(data):
            found, position, needed = wire.decode_frames(data, position, 131072)
            assert found
            assert not needed or position == len(data)
            items += found
        return items

    def one(self, kind: type[I]) -> I:
        """The only thing that has come."""
        items = self.read()
        assert len(items) == 1, items[:5]
        assert isinstance(items[0], kind), items
        return items[0]

    def ask(self, method: wire.Method, kind: type[I], channel: int = 1) -> I:
        """A method and its answer."""
        self.send(method, channel=channel)
        return self.one(kind)

    def deliveries(self) -> list[wire.Delivery]:
        """All that has come, which are deliveries."""
        items = self.read()
        assert all(isinstance(item, wire.Delivery) for item in items), items[:5]
        return [item for item in items if isinstance(item, wire.Delivery)]

    def handshake(
        self,
        response: bytes = b"\0guest\0guest",
        *,
        mechanism: str = "PLAIN",
        virtual_host: str = "/",
        capabilities: dict[str, bool] | None = None,
        heartbeat: int = 60,
        frame_max: int = 131072,
    ) -> list[wire.Item]:
        """Up to connection.open; what came back last."""
        self.raw(wire.PROTOCOL_HEADER)
        self.one(wire.ConnectionStart)
        given = CAPABILITIES if capabilities is None else capabilities
        start_ok = wire.ConnectionStartOk({"capabilities": given}, mechanism, response, "en_US")
        self.send(start_ok, channel=0)
        if self.closed:
            return []
        answers = self.read()
        if not isinstance(answers[-1], wire.ConnectionTune):
            return answers
        tune_ok = wire.ConnectionTuneOk(2047, frame_max, heartbeat)
        self.send(tune_ok, wire.ConnectionOpen(virtual_host), channel=0)
        return self.read()

    def open(self, **options: object) -> Peer:
        """Handshake, and channel 1."""
        answers = self.handshake(**options)  # type: ignore[arg-type]
        assert isinstance(answers[0], wire.ConnectionOpenOk), answers
        self.ask(wire.ChannelOpen(), wire.ChannelOpenOk)
        return self


def declare(peer: Peer, name: str = "q", **options: bool) -> str:
    answer = peer.ask(wire.QueueDeclare(name, **options), wire.QueueDeclareOk)
    return str(answer.queue)


def bodies(items: list[Any]) -> list[bytes]:
    return [item.body for item in items]


def refused(peer: Peer, code: int, text: str, class_id: int, method_id: int) -> None:
    """The channel was closed, the connection lives."""
    close = peer.one(wire.ChannelClose)
    assert (close.reply_code, close.reply_text) == (code, text)
    assert (close.class_id, close.method_id) == (class_id, method_id)
    peer.send(wire.ChannelCloseOk())
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk)


def ended(peer: Peer, code: int, text: str, class_id: int, method_id: int) -> None:
    """The connection was closed."""
    close = peer.one(wire.ConnectionClose)
    assert (close.reply_code, close.reply_text) == (code, text)
    assert (close.class_id, close.method_id) == (class_id, method_id)
    peer.send(wire.ConnectionCloseOk(), channel=0)
    assert peer.closed
    assert peer.session not in peer.node.sessions


def consume(peer: Peer, tag: str = "t", queue: str = "q", **options: Any) -> None:
    peer.ask(wire.BasicConsume(queue, tag, **options), wire.BasicConsumeOk)
