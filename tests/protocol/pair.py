"""A client and a server in memory, and a peer that speaks raw frames to either.

Nothing waits and nothing sleeps: bytes move when `pump` is called, time when `now` is changed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from leveret import wire
from leveret.protocol import (
    AuthenticationRequested,
    ChannelClosed,
    ClientChannel,
    ClientOptions,
    ClientSide,
    Connection,
    ConnectionClosed,
    Deliveries,
    OpenRequested,
    Outcomes,
    Publication,
    Reply,
    SecureResponse,
    ServerChannel,
    ServerOptions,
    ServerSide,
    State,
)

E = TypeVar("E")

NO_PROPERTIES = b"\0\0"

Answer = Callable[[ServerChannel, wire.Method], None]


def decode(data: bytes) -> list[wire.Item]:
    """All the frames in `data`, which must be whole."""
    if data.startswith(b"AMQP"):
        data = data[8:]
    items: list[wire.Item] = []
    position = 0
    while position < len(data):
        found, position, needed = wire.decode_frames(data, position, 0)
        assert found, f"{needed} bytes needed, {len(data) - position} there"
        items += found
    return items


def frame(kind: int, channel: int, payload: bytes = b"", end: int = wire.FRAME_END) -> bytes:
    """One frame, right or wrong."""
    size = len(payload).to_bytes(4, "big")
    return bytes([kind]) + channel.to_bytes(2, "big") + size + payload + bytes([end])


def header(channel: int, body_size: int, class_id: int = 60) -> bytes:
    """A content header without properties."""
    start = class_id.to_bytes(2, "big") + b"\0\0" + body_size.to_bytes(8, "big")
    return frame(2, channel, start + NO_PROPERTIES)


def joined(content: bytes | Sequence[bytes | memoryview]) -> bytes:
    """An encoded content as one piece."""
    return content if isinstance(content, bytes) else b"".join(content)


def publish(
    body: bytes = b"x", channel: int = 1, exchange: str = "", routing_key: str = "q"
) -> bytes:
    return joined(
        wire.encode_publish(channel, exchange, routing_key, False, False, NO_PROPERTIES, body, 0)
    )


def deliver(
    tag: int, body: bytes = b"x", channel: int = 1, consumer_tag: str = "t", frame_max: int = 0
) -> bytes:
    return joined(
        wire.encode_deliver(
            channel, consumer_tag, tag, False, "", "q", NO_PROPERTIES, body, frame_max
        )
    )


def drain(connection: Connection) -> bytes:
    """All that a connection has to send."""
    data = b""
    while piece := connection.data_to_send():
        data += piece
    assert not connection.has_data_to_send()
    assert connection.bytes_waiting() == 0
    return data


def flat(events: Iterable[object]) -> list[Any]:
    """Events, with deliveries and publications one by one, whatever came together."""
    found: list[object] = []
    for event in events:
        if isinstance(event, Deliveries):
            if event.owner is not None:
                assert all(delivery.owner is event.owner for delivery in event.deliveries)
            found += event.deliveries
        elif isinstance(event, Outcomes):
            found += event.publications
        else:
            found.append(event)
    return found


def of(kind: type[E], events: Iterable[object]) -> list[E]:
    """The events of one kind."""
    return [event for event in flat(events) if isinstance(event, kind)]


def one(kind: type[E], events: Iterable[object]) -> E:
    """The only event of one kind."""
    found = of(kind, events)
    assert len(found) == 1, found
    return found[0]


class Pair:
    """Two connections back to back. The server says yes to everything.

    Attributes:
        now: the time, in seconds.
        client_events, server_events: everything until now.
        client_sent, server_sent: every byte until now.
        answers: what the server does on a method, instead of answering with the plain reply.
    """

    def __init__(
        self,
        client_options: ClientOptions | None = None,
        server_options: ServerOptions | None = None,
    ) -> None:
        self.client = Connection.client(client_options or ClientOptions())
        self.server = Connection.server(server_options or ServerOptions())
        self.now = 0.0
        self.client_events: list[object] = []
        self.server_events: list[object] = []
        self.client_sent = b""
        self.server_sent = b""
        self.answers: dict[type[wire.Method], Answer | None] = {}
        self.client.initiate(self.now)

    @property
    def client_side(self) -> ClientSide:
        assert isinstance(self.client.side, ClientSide)
        return self.client.side

    @property
    def server_side(self) -> ServerSide:
        assert isinstance(self.server.side, ServerSide)
        return self.server.side

    # -- moving ----------------------------------------------------------------------------

    def to_server(self) -> bytes:
        """What the client has to say goes to the server, and is handled there."""
        data = drain(self.client)
        self.client_sent += data
        self.server.receive_data(data, self.now)
        self.serve()
        return data

    def to_client(self) -> bytes:
        """What the server has to say goes to the client."""
        data = drain(self.server)
        self.server_sent += data
        self.client.receive_data(data, self.now)
        self.client_events += flat(self.client.events())
        return data

    def pump(self) -> None:
        """Until both are silent."""
        while self.to_server() or self.to_client():
            pass

    def serve(self) -> None:
        """The server's events, answered."""
        while events := self.server.events():
            for event in events:
                self.server_events.append(event)
                self._answer(event)

    def _answer(self, event: object) -> None:
        side = self.server_side
        if isinstance(event, AuthenticationRequested | SecureResponse):
            if self.server.state is State.DECIDING:
                side.accept_authentication()
        elif isinstance(event, OpenRequested):
            side.accept_open()
        elif isinstance(event, wire.ConnectionUpdateSecret):
            if self.server.state is State.OPEN:
                side.send_secret_ok()
        elif isinstance(event, wire.Method) and type(event) in self.answers:
            answer = self.answers[type(event)]
            if answer is not None:
                answer(self.at_server(event.channel), event)
        elif (
            isinstance(event, wire.Method)
            and not isinstance(event, wire.ChannelOpen)
            and event.replies
            and not getattr(event, "nowait", False)
        ):
            self.at_server(event.channel).send_method(plain_reply(event))

    # -- short words -----------------------------------------------------------------------

    def open(self) -> Pair:
        self.pump()
        assert self.client.state is State.OPEN, self.client_events
        assert self.server.state is State.OPEN
        return self

    def channel(self, token: object = None) -> ClientChannel:
        """A channel that is open on both sides."""
        channel = self.client.open_channel(token)
        self.pump()
        return channel

    def at_server(self, number: int) -> ServerChannel:
        channel = self.server.channels[number]
        assert isinstance(channel, ServerChannel)
        return channel

    def confirming(self) -> ClientChannel:
        """A channel in confirm mode."""
        channel = self.channel()
        channel.send_request(wire.ConfirmSelect(), None)
        self.pump()
        return channel

    def consuming(self, no_ack: bool = False, tag: str = "t") -> ClientChannel:
        """A channel with a consumer whose owner is `"owner"`."""
        channel = self.channel()
        channel.send_request(wire.BasicConsume("q", tag, no_ack=no_ack), None, "owner")
        self.pump()
        return channel

    def deliver(self, channel: ClientChannel, *tags: int, consumer_tag: str = "t") -> None:
        """Deliveries, from the server."""
        at_server = self.at_server(channel.number)
        for tag in tags:
            at_server.send_deliver(consumer_tag, tag, False, "", "q", NO_PROPERTIES, b"%d" % tag)
        self.to_client()

    def replies(self) -> list[Reply]:
        return of(Reply, self.client_events)

    def published(self) -> list[wire.Published]:
        return of(wire.Published, self.server_events)

    def channel_closed(self) -> ChannelClosed:
        """The client's only one."""
        return one(ChannelClosed, self.client_events)

    def closed(self) -> ConnectionClosed:
        """The client's, which is its last event."""
        event = self.client_events[-1]
        assert isinstance(event, ConnectionClosed)
        assert of(ConnectionClosed, self.client_events) == [event]
        return event


def plain_reply(method: wire.Method) -> wire.Method:
    """The reply that says yes."""
    if isinstance(method, wire.QueueDeclare):
        return wire.QueueDeclareOk(method.queue or "amq.gen-1")
    if isinstance(method, wire.BasicConsume):
        return wire.BasicConsumeOk(method.consumer_tag or "amq.ctag-1")
    if isinstance(method, wire.BasicCancel):
        return wire.BasicCancelOk(method.consumer_tag)
    if isinstance(method, wire.BasicGet):
        return wire.BasicGetEmpty()
    return method.replies[0]()


def send(
    channel: ClientChannel,
    body: bytes | bytearray = b"x",
    *,
    exchange: str = "",
    routing_key: str = "q",
    mandatory: bool = False,
    tracked: bool = True,
    raw_properties: bytes = NO_PROPERTIES,
) -> Publication:
    """Publish; with `tracked`, the outcome is asked for."""
    publication = Publication(exchange, routing_key, body, mandatory)
    channel.send_publish(
        exchange, routing_key, raw_properties, body, mandatory, publication if tracked else None
    )
    return publication
