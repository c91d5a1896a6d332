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
from collections.abc import Sequence
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
from .events import ConnectionClosed
from .handshake import ClientOptions, Limits, ServerOptions
from .heartbeat import Heartbeat
from .replies import CONNECTION_CLASS, misplaced, unexpected_heartbeat, unimplemented
from .replies import reply_text as cut
from .roles import ClientSide, ServerSide, Side
from .server_channel import ServerChannel
from .states import ChannelState, Role, State

__all__ = ["Connection"]

HANDSHAKE_FRAME_MAX = 131072
SEND_CHUNK = 262144  # bytes that one data_to_send() joins: a large body is never copied whole


class Connection:
    """One connection, in one role. Made by `client` or `server`.

    Attributes:
        role, state: see `states`.
        limits: what tune agreed on.
        channels: the open channels by number.
        blocked: the broker's reason while it has the connection blocked, else None.
        error: why the connection ended, None before and after an ordinary close.
        close_token: of the close that this side asked for.
        bytes_queued: how many bytes were queued for sending since the start.
        bytes_sent: how many of them were taken by `data_to_send`.
        bytes_leaving: how many of them still leave although the connection has ended here.
        side: what belongs to one role alone: `ClientSide` or `ServerSide`.
    """

    def __init__(self, role: Role, side: Side, delivery_class: type[wire.Delivery]) -> None:
        self.role = role
        self.state = State.IDLE
        self.limits = Limits(frame_max=HANDSHAKE_FRAME_MAX)
        self.channels: dict[int, Channel] = {}
        self.blocked: str | None = None
        self.error: LeveretError | None = None
        self.bytes_queued = 0
        self.bytes_sent = 0
        self.side = side
        self._delivery_class = delivery_class
        self._heartbeat: Heartbeat | None = None
        self._out: list[bytes | memoryview] = []
        self._out_start = 0
        self._acking: list[ClientChannel] = []
        self._events: list[object] = []
        self._chunks: list[bytes] = []  # received, not yet decoded
        self._chunk_bytes = 0
        self._needed = 0  # bytes without which decoding the chunks gives nothing
        self.bytes_leaving = 0
        self._deaf = False  # after a fault: what is received no longer counts
        self._closed_emitted = False
        self.close_token: object = None
        self._next_channel = 1
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
        if self._heartbeat is not None:
            self._heartbeat.last_received = now
        if self._deaf:
            return
        if self._chunks:
            self._chunks.append(data)
            self._chunk_bytes += len(data)
            if self._chunk_bytes < self._needed:
                return
            data = b"".join(self._chunks)
            self._chunks.clear()
        try:
            rest = self._decode(data, now)
        except RemoteProtocolError as error:
            self._fault(error)
            return
        if rest and not self._deaf:
            self._chunks.append(rest)
            self._chunk_bytes = len(rest)

    def _decode(self, data: bytes, now: float) -> bytes:
        """Handle all that is whole in `data`; give back the rest."""
        position = 0
        while True:
            if self.state is State.IDLE or self.state is State.START:
                header = self.side.receive_header(data[position:], now)
                if header is None:
                    self._needed = 8
                    return data[position:]
                position += header
                if self._deaf:
                    return b""
            before = self.state
            items, position, self._needed = wire.decode_frames(
                data, position, self.limits.frame_max, self._delivery_class
            )
            if items:
                self._receive_items(items, now)
                if self._deaf:
                    return b""
            if self._needed and (before is self.state or not items):
                return data[position:] if position else data

    def _receive_items(self, items: Sequence[wire.Item], now: float) -> None:
        """The hot loop: whole deliveries to open consumers go the short way."""
        channels = self.channels
        delivery_class = self._delivery_class
        append = self._events.append
        for item in items:
            channel: Any = channels.get(item.channel)
            if (
                item.__class__ is delivery_class
                and channel.__class__ is ClientChannel
                and channel.state is ChannelState.OPEN
                and channel.assembly is None
            ):
                delivery: Any = item
                entry = channel.consumers.get(delivery.consumer_tag)
                if entry is not None:
                    if not entry.no_ack:
                        channel.unsettled.delivered(delivery.delivery_tag)
                    delivery.owner = entry.owner
                    append(item)
                    continue
            if channel is not None:
                if isinstance(item, wire.Method) and item.key >> 16 == CONNECTION_CLASS:
                    raise unimplemented(item)
                if isinstance(item, wire.ChannelOpen):
                    raise misplaced(item, "second 'channel.open' seen")
                if isinstance(item, wire.Heartbeat):
                    raise unexpected_heartbeat(item)
                channel.receive(item)
            elif item.channel == 0:
                self._receive_on_channel_0(item, now)
            else:
                self._receive_on_closed_channel(item)
            if self._deaf:
                return

    def _receive_on_channel_0(self, item: wire.Item, now: float) -> None:
        if isinstance(item, wire.Heartbeat):
            return
        if not isinstance(item, wire.Method):
            raise RemoteProtocolError(
                "content on channel 0", reply_code=wire.ReplyCode.UNEXPECTED_FRAME, channel=0
            )
        if isinstance(item, wire.ConnectionClose):
            self._receive_close(item)
        elif isinstance(item, wire.ConnectionCloseOk) and self.state is State.CLOSING:
            self._end(self.error)
        elif self.state is State.CLOSING:
            return
        elif type(item) in self.side.receives.get(self.state, ()):
            self.side.receive_method(item, now)
        else:
            raise misplaced(item, f"unexpected method in connection state {self._running()}")

    def _running(self) -> str:
        return "running" if self.state is State.OPEN else self.state.value

    def _receive_on_closed_channel(self, item: wire.Item) -> None:
        """A channel number that is not in use."""
        if self.state is State.CLOSING:
            return
        if isinstance(item, wire.Heartbeat):
            raise unexpected_heartbeat(item)
        if isinstance(item, wire.ChannelOpen) and self.role is Role.SERVER:
            self._accept_channel(item)
            return
        if isinstance(item, wire.Method) and item.key >> 16 == CONNECTION_CLASS:
            raise unimplemented(item)
        if isinstance(item, wire.ChannelCloseOk):
            raise unimplemented(item)
        raise misplaced(item, "expected 'channel.open'")

    def _accept_channel(self, item: wire.ChannelOpen) -> None:
        if self.state is not State.OPEN:
            raise misplaced(item, f"unexpected method in connection state {self._running()}")
        if len(self.channels) >= self.limits.channel_max:
            raise RemoteProtocolError(
                f"number of channels opened ({len(self.channels)}) has reached the negotiated "
                f"channel_max ({self.limits.channel_max})",
                reply_code=wire.ReplyCode.NOT_ALLOWED,
            )
        self.channels[item.channel] = ServerChannel(self, item.channel, ChannelState.OPEN)
        self.write(wire.ChannelOpenOk().encode(item.channel))
        self.emit(item)

    def receive_eof(self, now: float) -> None:
        """The peer has ended its side of the transport. Next: `events()`."""
        words = "the peer closed the connection without a closing handshake"
        if self.state is State.SECURE:
            words += " after the credentials: they were probably refused"
        self.connection_lost(ConnectionLost(words))

    def connection_lost(self, error: LeveretError, unsent: int = 0) -> None:
        """The transport is gone. Next: `events()`.

        Args:
            error: why, as the channels and their waiters will see it.
            unsent: bytes taken from `data_to_send` that did not reach the network.
        """
        self.bytes_sent -= unsent
        self._out.clear()
        if self.state is State.CLOSING:
            error = self.error  # type: ignore[assignment]  # None after our own ordinary close
        self._end(error)

    # -- bytes out -------------------------------------------------------------------------

    def write(self, piece: bytes) -> None:
        """Queue bytes. For the parts of this layer."""
        self._out.append(piece)
        self.bytes_queued += len(piece)

    def write_content(self, content: bytes | list[bytes | memoryview]) -> None:
        """Queue a whole content. For the parts of this layer."""
        if isinstance(content, bytes):
            self._out.append(content)
            self.bytes_queued += len(content)
        else:
            self._out += content
            self.bytes_queued += sum(len(piece) for piece in content)

    def acks_waiting(self, channel: ClientChannel) -> None:
        """A channel keeps acks back until the next bytes are asked for."""
        acking = self._acking
        if not acking or acking[-1] is not channel:
            acking.append(channel)

    def data_to_send(self) -> bytes:
        """The next bytes for the transport, in order; empty when there are none.

        At most about 256 KiB at a time: call again until it gives nothing.
        """
        if self._acking:
            for channel in self._acking:
                channel.write_acks()
            self._acking.clear()
        out = self._out
        if not out:
            return b""
        waiting = self.bytes_queued - self.bytes_sent
        if waiting <= SEND_CHUNK:
            pieces = out[self._out_start :] if self._out_start else out
            data = pieces[0] if len(pieces) == 1 else b"".join(pieces)
            out.clear()
            self._out_start = 0
            self.bytes_sent += len(data)
            return bytes(data)
        size, stop = 0, self._out_start
        while stop < len(out) and size < SEND_CHUNK:
            size += len(out[stop])
            stop += 1
        data = b"".join(out[self._out_start : stop])
        self._out_start = stop
        if (stop > 4096 and stop * 2 > len(out)) or stop == len(out):
            del out[:stop]
            self._out_start = 0
        self.bytes_sent += size
        return data

    def has_data_to_send(self) -> bool:
        """Whether `data_to_send()` would give something."""
        return bool(self._out) or bool(self._acking)

    def bytes_waiting(self) -> int:
        """How many queued bytes were not taken yet."""
        return self.bytes_queued - self.bytes_sent

    # -- time ------------------------------------------------------------------------------

    def start_heartbeat(self, now: float) -> None:
        """tune-ok was sent or received. For the parts of this layer."""
        if self.limits.heartbeat:
            self._heartbeat = Heartbeat(self.limits.heartbeat, now)

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called, on the clock of `now`; None for never."""
        return None if self._heartbeat is None else self._heartbeat.next_deadline()

    def heard(self, now: float) -> None:
        """Count the peer as alive: for a caller that has stopped reading on purpose."""
        if self._heartbeat is not None:
            self._heartbeat.last_received = now

    def tick(self, now: float) -> None:
        """The time is `now`. Receive first what has come. Next: `events()`, `data_to_send()`."""
        heartbeat = self._heartbeat
        if heartbeat is None:
            return
        if heartbeat.has_expired(now):
            silent = now - heartbeat.last_received
            self.connection_lost(
                HeartbeatTimeout(
                    f"nothing was received from the peer for {silent:.1f} s "
                    f"(heartbeat interval {heartbeat.interval} s)"
                )
            )
        elif heartbeat.is_due(now, self.bytes_sent):
            self.write(wire.HEARTBEAT_FRAME)

    # -- events ----------------------------------------------------------------------------

    def emit(self, event: object) -> None:
        """Add an event. For the parts of this layer."""
        self._events.append(event)

    def emit_all(self, events: Sequence[object]) -> None:
        """Add events. For the parts of this layer."""
        self._events += events

    def events(self) -> list[object]:
        """What has happened since the last call; see `events`."""
        events = self._events
        self._events = []
        return events

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
        """
        if self.state in (State.CLOSING, State.CLOSED):
            raise ConnectionClosedError("the connection is closed", self.error)
        self.data_to_send_acks()
        close = wire.ConnectionClose(reply_code, cut(reply_text), class_id, method_id)
        self.write(close.encode(0))
        self.state = State.CLOSING
        self.error = error
        self.close_token = token

    def data_to_send_acks(self) -> None:
        """Queue the acknowledgements kept back, before something that ends them."""
        for channel in self._acking:
            channel.write_acks()
        self._acking.clear()

    def _receive_close(self, close: wire.ConnectionClose) -> None:
        self.data_to_send_acks()
        self.write(wire.ConnectionCloseOk().encode(0))
        if self.state is State.CLOSING:
            self._end(self.error)
        else:
            self._end(self.side.peer_error(close))

    def _fault(self, error: RemoteProtocolError) -> None:
        """The peer has broken the protocol: say so, and end."""
        if self.state is State.CLOSED:
            return
        if self.state is not State.CLOSING and self.side.answers_faults(self.state):
            try:
                name = wire.ReplyCode(error.reply_code).name
            except ValueError:
                name = "INTERNAL_ERROR"
            self.send_close(
                error.reply_code,
                f"{name} - {error.message}",
                class_id=error.class_id,
                method_id=error.method_id,
            )
            self.bytes_leaving = self.bytes_queued  # before the close, and the peer may act on it
        elif isinstance(error, DecodeError) and self.state is State.CLOSING:
            error = self.error or error  # type: ignore[assignment]
        self._end(error)

    def _end(self, error: LeveretError | None) -> None:
        """All is over: every channel ends, then the connection; once."""
        self.state = State.CLOSED
        self._deaf = True
        self._chunks.clear()
        self._heartbeat = None
        if self._closed_emitted:
            return
        self._closed_emitted = True
        self.error = error
        for channel in list(self.channels.values()):
            channel.abandon(error, self.bytes_sent)
        tokens = self.side.take_tokens()
        if self.close_token is not None:
            tokens.append(self.close_token)
        self.emit(ConnectionClosed(error, tokens))

