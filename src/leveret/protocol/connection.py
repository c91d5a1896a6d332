"""One AMQP connection without I/O: bytes and the time go in, bytes and events come out.

The facade of the layer, for both roles. It opens no socket, reads no clock, starts no thread and
never blocks; the caller is the blocking client, the asyncio client, the embedded broker, a test
or a simulation. It is not thread-safe: a caller with threads holds one lock around every call.

    connection = Connection.client(options)     # or Connection.server(options)
    connection.initiate(now)                    # client: queues the protocol header
    loop:
        send data_to_send()                     # after every call that may have queued bytes
        receive_data(bytes, now)                # or receive_eof(now), connection_lost(...)
        for event in events(): ...              # after every receive_* and tick
        tick(now)                               # when next_deadline() has come

The peer's faults never raise here: they close the connection and come as `ConnectionClosed`
with a `RemoteProtocolError`. What raises is the caller's fault, a `LocalProtocolError`; nothing
has been sent then.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

from .. import wire
from ..exceptions import (
    ConnectionClosedError,
    ConnectionLost,
    DecodeError,
    HeartbeatTimeout,
    LeveretError,
    LocalProtocolError,
    RemoteProtocolError,
)
from .channel import Channel
from .client_channel import ClientChannel
from .content import ContentAssembly
from .events import ConnectionClosed, Deliveries, make_deliveries
from .handshake import ClientOptions, Limits, ServerOptions
from .heartbeat import Heartbeat
from .incoming import HANDSHAKE_FRAME_MAX, Incoming
from .outgoing import Outgoing
from .replies import (
    CONNECTION_CLASS,
    check_text,
    closing,
    malformed,
    misplaced,
    too_many_channels,
    unexpected_frame,
    unimplemented,
    untimely,
)
from .replies import reply_text as cut
from .roles import ClientSide, ServerSide, Side
from .server_channel import ServerChannel
from .settle import UNLIMITED
from .states import ChannelState, Role, State

__all__ = ["Connection"]


class Connection(Outgoing):
    """One connection, in one role. Made by `client` or `server`.

    Attributes, beside those of `Outgoing`:
        role: see `states`.
        limits: what tune agreed on.
        channels: the open channels by number.
        blocked: the broker's reason while it has the connection blocked, else None.
        error: why the connection ended, None before and after an ordinary close.
        close_token: of the close that this side asked for.
        bytes_leaving: how many queued bytes still leave although the connection has ended here.
        deaf: after a fault or the end: what is received no longer counts.
        side: what belongs to one role alone: `ClientSide` or `ServerSide`.
        pending: what `events` will give, for a caller that saves the call and clears it.
        emit: adds an event. For the parts of this layer.
        lanes: client role: by channel number, see `wire.claim`. For the parts of this layer: None
            where a delivery may be in pieces, or not wanted.
        strays: client role: the numbers of channels that both sides have closed at once, as long as
            close-ok has not come. For the parts of this layer.
        least_prefetch: client role: no channel has had a smaller one, as far as that is known.
        incoming: where `receive_data` brings its bytes.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_delivery_class",
        "_free_channels",
        "_heartbeat",
        "_next_channel",
        "blocked",
        "bytes_leaving",
        "channels",
        "close_token",
        "deaf",
        "emit",
        "error",
        "incoming",
        "lanes",
        "least_prefetch",
        "limits",
        "pending",
        "role",
        "side",
        "strays",
    )

    def __init__(self, role: Role, side: Side, delivery_class: type[wire.Delivery]) -> None:
        super().__init__()
        self.role = role
        self.limits = Limits(frame_max=HANDSHAKE_FRAME_MAX)
        self.channels: dict[int, Channel] = {}
        self.blocked: str | None = None
        self.error: LeveretError | None = None
        self.side = side
        self._delivery_class = delivery_class
        self._heartbeat: Heartbeat | None = None
        self.lanes: list[wire.Lane | None] = []
        self.least_prefetch = UNLIMITED
        self.pending: list[Any] = []
        self.emit: Callable[[Any], None] = self.pending.append
        self.incoming = Incoming(self, delivery_class)
        self.bytes_leaving = 0
        self.deaf = False
        self.close_token: object = None
        self._next_channel = 1
        self.strays: set[int] = set()
        self._free_channels: deque[int] = deque()
        side.attach(self)

    @classmethod
    def client(
        cls, options: ClientOptions, delivery_class: type[wire.Delivery] = wire.Delivery
    ) -> Connection:
        """A connection in the client role.

        Args:
            options: the client's side of the handshake.
            delivery_class: what deliveries become; a subclass of `wire.Delivery` with the same
                constructor.
        """
        return cls(Role.CLIENT, ClientSide(options), delivery_class)

    @classmethod
    def server(cls, options: ServerOptions) -> Connection:
        """A connection in the server role; the client's protocol header comes first."""
        return cls(Role.SERVER, ServerSide(options), wire.Delivery)

    def __repr__(self) -> str:
        return (
            f"<{type(self).__name__} {self.role.value} {self.state.value} "
            f"channels={len(self.channels)}>"
        )

    # -- bytes in --------------------------------------------------------------------------

    def initiate(self, now: float) -> None:
        """Client role: queue the protocol header. Next: send it, receive."""
        if self.role is not Role.CLIENT or self.state is not State.IDLE:
            raise LocalProtocolError("initiate() is the client's first call, made once")
        self.write(wire.PROTOCOL_HEADER)
        self.state = State.START

    def receive_data(self, data: bytes, now: float) -> None:
        """Bytes have come from the peer. Next: `events()`, `data_to_send()`."""
        self.incoming.receive(data, now)

    def body_space(self) -> memoryview | None:
        """Where the next bytes belong, if it is in a large body under way, so that the transport
        may receive them there. Next: `body_filled`, or `receive_data` as always.
        """
        return self.incoming.space()

    def body_filled(self, count: int, now: float) -> None:
        """So many bytes, at least one, were received into `body_space()`. Next: as after
        `receive_data`.
        """
        self.incoming.filled(count, now)

    @property
    def in_body(self) -> bool:
        """Whether a large body is under way: more is there soon, and a short read is enough where
        `body_space` gives nothing.
        """
        return self.incoming.in_body

    def go_on(self) -> None:
        """A verdict was given: read what the client has sent ahead. For the parts of this layer."""
        self.incoming.go_on()

    def receive_items(self, items: Sequence[wire.Item], now: float) -> None:
        """Hand the items to their channels, in order; what comes in runs goes the short way.

        For the parts of this layer.
        """
        channels, lanes = self.channels, self.lanes
        position = 0
        while position < len(items):
            item = items[position]
            if item.__class__ is self._delivery_class:
                stop, owner = wire.claim(items, position, lanes)
                if stop > position:
                    whole = stop - position == len(items)
                    self.emit_deliveries(owner, items if whole else items[position:stop])
                    if stop == len(items):
                        return
                    position = stop
                    continue
            channel = channels.get(item.channel)
            if channel.__class__ is ClientChannel:
                position = channel.receive_run(items, position)
                if position == len(items):
                    return
                if items[position] is not item:
                    continue
            self._receive_item(item, channel, now)
            if self.deaf:
                return
            position += 1

    def _receive_item(self, item: wire.Item, channel: Channel | None, now: float) -> None:
        if (
            self.role is Role.SERVER
            and isinstance(item, wire.Method)
            and not item.has_content  # RabbitMQ takes any bytes in basic.publish
            and wire.malformed_text(item) is not None
        ):
            raise malformed(item)
        if channel is not None:
            if isinstance(item, wire.Method) and item.key >> 16 == CONNECTION_CLASS:
                raise unimplemented(item)
            if isinstance(item, wire.ChannelOpen):
                raise misplaced(item, "second 'channel.open' seen")
            if isinstance(item, wire.Heartbeat):
                raise unexpected_frame(item, f"heartbeat on channel {item.channel}")
            if self.lanes:
                self.lanes[item.channel] = None
            channel.receive(item)
        elif item.channel == 0:
            self._receive_on_channel_0(item, now)
        else:
            self._receive_on_closed_channel(item)

    def _receive_on_channel_0(self, item: wire.Item, now: float) -> None:
        if isinstance(item, wire.Heartbeat):
            return
        if not isinstance(item, wire.Method):
            raise unexpected_frame(item, "content on channel 0")
        if isinstance(item, wire.ConnectionClose):
            self._receive_close(item)
        elif isinstance(item, wire.ConnectionCloseOk) and self.state is State.CLOSING:
            self._end(self.error)
        elif self.state is State.CLOSING:
            return
        elif type(item) in self.side.receives.get(self.state, ()):
            self.side.receive_method(item, now)
        else:
            raise untimely(item, self.state)

    def _receive_on_closed_channel(self, item: wire.Item) -> None:
        """A channel number that is not in use."""
        if self.state is State.CLOSING:
            return
        if isinstance(item, wire.ChannelCloseOk) and item.channel in self.strays:
            self.strays.remove(item.channel)
            return
        if isinstance(item, wire.Heartbeat):
            raise unexpected_frame(item, f"heartbeat on channel {item.channel}")
        if isinstance(item, wire.ChannelOpen) and self.role is Role.SERVER:
            self._accept_channel(item)
            return
        raise misplaced(item, "expected 'channel.open'")

    def _accept_channel(self, item: wire.ChannelOpen) -> None:
        if self.state is not State.OPEN:
            raise untimely(item, self.state)
        if len(self.channels) >= self.limits.channel_max:
            raise too_many_channels(len(self.channels), self.limits.channel_max)
        self.channels[item.channel] = ServerChannel(self, item.channel, ChannelState.OPEN)
        self.write(wire.ChannelOpenOk().encode(item.channel))
        self.emit(item)

    def receive_eof(self, now: float) -> None:
        """The peer has ended its side of the transport. Next: `events()`."""
        words = "the peer closed the connection without a closing handshake"
        if self.state is State.START:
            words = "the peer closed the connection before the handshake"
        elif self.state is State.SECURE:
            words += " after the credentials: they were probably refused"
        self.connection_lost(ConnectionLost(words))

    def connection_lost(self, error: LeveretError, unsent: int = 0) -> None:
        """The transport is gone. Next: `events()`.

        Args:
            error: why, as the channels and their waiters will see it.
            unsent: bytes taken from `data_to_send` that did not reach the network.
        """
        self.bytes_sent -= unsent
        self._clear_out(0)
        if self.state is State.CLOSING:
            error = self.error  # type: ignore[assignment]  # None after our own ordinary close
        self._end(error)

    # -- time ------------------------------------------------------------------------------

    def start_heartbeat(self, now: float) -> None:
        """tune-ok was sent or received. For the parts of this layer."""
        if self.limits.heartbeat:
            self._heartbeat = Heartbeat(self.limits.heartbeat, now)

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called, on the clock of `now`; None for never."""
        heartbeat = self._heartbeat
        return None if heartbeat is None else heartbeat.next_deadline(self.incoming.last_received)

    def heard(self, now: float) -> None:
        """Count the peer as alive: for a caller that has stopped reading on purpose."""
        self.incoming.last_received = now

    def tick(self, now: float) -> None:
        """The time is `now`. Receive first what has come. Next: `events()`, `data_to_send()`."""
        heartbeat = self._heartbeat
        if heartbeat is None:
            return
        silent = now - self.incoming.last_received
        if heartbeat.has_expired(silent):
            self.connection_lost(
                HeartbeatTimeout(
                    f"nothing was received from the peer for {silent:.1f} s "
                    f"(heartbeat interval {heartbeat.interval} s)"
                )
            )
        elif heartbeat.is_due(now, self.bytes_sent) and not self.bytes_waiting():
            self.write(wire.HEARTBEAT_FRAME)

    # -- events ----------------------------------------------------------------------------

    def emit_deliveries(self, owner: object, deliveries: Any) -> None:
        """Add deliveries, their owners known; `owner` is that of all, or None. For the parts of
        this layer.
        """
        events = self.pending
        if owner is None and events:
            last = events[-1]
            if last.__class__ is Deliveries and last.owner is None:
                last.deliveries += deliveries
                return
        events.append(make_deliveries(owner, deliveries))

    def events(self) -> list[object]:
        """What has happened since the last call; see `events`."""
        events = self.pending.copy()
        self.pending.clear()
        return events

    def put_back(self, events: list[object]) -> None:
        """These of the last `events()` were not looked at: they come again, first."""
        self.pending[:0] = events

    # -- channels --------------------------------------------------------------------------

    def open_channel(self, token: object) -> ClientChannel:
        """Client role: open a channel; its `Reply` with `token` says when it is open.

        Raises:
            ConnectionClosedError: the connection has ended.
            LocalProtocolError: all channel numbers are in use, or the handshake is not done.
        """
        self.check_open()
        if self._free_channels:
            number = self._free_channels.popleft()
        elif self._next_channel <= self.limits.channel_max:
            number = self._next_channel
            self._next_channel += 1
        else:
            raise LocalProtocolError(
                f"all {self.limits.channel_max} channels of the connection are open"
            )
        lanes = self.lanes
        lanes += [None] * (number + 1 - len(lanes))
        channel = ClientChannel(self, number, token)
        self.channels[number] = channel
        return channel

    def channel_ended(self, channel: Channel) -> None:
        """A channel's number is free again. For the parts of this layer."""
        if self.channels.pop(channel.number, None) is not None and self.role is Role.CLIENT:
            self._free_channels.append(channel.number)

    def new_assembly(self, method: wire.Method) -> ContentAssembly:
        """A place to put a content together. For the parts of this layer."""
        return ContentAssembly(method, self._delivery_class, self.side.max_body)

    # -- the end ---------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise unless the connection is open.

        Raises:
            ConnectionClosedError: it has ended or is closing.
            LocalProtocolError: the handshake is not done.
        """
        if self.state is State.OPEN:
            return
        if self.state in (State.CLOSING, State.CLOSED):
            raise ConnectionClosedError("the connection is closed", self.error)
        raise LocalProtocolError("the connection is not open yet")

    def send_close(
        self,
        reply_code: int = 200,
        reply_text: str = "",
        *,
        class_id: int = 0,
        method_id: int = 0,
        token: object = None,
        error: LeveretError | None = None,
    ) -> None:
        """Close the connection. Next: send, and receive until `ConnectionClosed`.

        Args:
            reply_code, reply_text: why; 200 for an ordinary end.
            class_id, method_id: the method at fault, if one is.
            token: comes back in `ConnectionClosed.tokens`.
            error: becomes `ConnectionClosed.error`.

        Raises:
            ConnectionClosedError: it is closing or closed already.
            EncodeError: client role: the text is not one that UTF-8 can hold.
        """
        if self.state in (State.CLOSING, State.CLOSED):
            raise ConnectionClosedError("the connection is closed", self.error)
        if self.role is Role.CLIENT:
            check_text(wire.ConnectionClose(reply_code, reply_text))
        self.data_to_send_acks()
        close = wire.ConnectionClose(reply_code, cut(reply_text), class_id, method_id)
        self.write(close.encode(0))
        self.state = State.CLOSING
        self.error = error
        self.close_token = token
        self.incoming.needed = 0  # what was held back is read with the next bytes, and dropped
        for channel in self.channels.values():
            channel.connection_closes()

    def _receive_close(self, close: wire.ConnectionClose) -> None:
        error = self.error if self.state is State.CLOSING else self.side.peer_error(close)
        if self.role is Role.CLIENT:
            self.acks.clear()
            self._drop_unsent()
            self.bytes_leaving = self.bytes_queued
        self._end(error, wire.ConnectionCloseOk().encode(0))

    def fault(self, error: RemoteProtocolError) -> None:
        """The peer has broken the protocol: say so, and end. For the parts of this layer."""
        farewell = b""
        if self.state is not State.CLOSING and self.side.answers_faults(self.state):
            farewell = closing(error).encode(0)
            self.data_to_send_acks()
            self.bytes_leaving = self.bytes_queued  # before the close, and the peer may act on it
        elif isinstance(error, DecodeError) and self.state is State.CLOSING:
            error = self.error or error  # type: ignore[assignment]
        self._end(error, farewell)

    def _end(self, error: LeveretError | None, farewell: bytes = b"") -> None:
        """All is over: every channel ends, then the connection; once.

        Args:
            farewell: to send at the end; a server's follows its answers to what came before.
        """
        if self.state is State.CLOSED:
            return
        self.state = State.CLOSED
        self.deaf = True
        self.incoming.clear()
        self._heartbeat = None
        self.error = error
        for channel in list(self.channels.values()):
            channel.abandon(error)
        tokens = self.side.take_tokens()
        if self.close_token is not None:
            tokens.append(self.close_token)
        self.emit(ConnectionClosed(error, tokens))
        if farewell:
            self.write_last(None, farewell)
        if self.role is Role.CLIENT or not farewell:
            self._write_farewells()
