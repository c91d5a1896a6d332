"""One connection, the broker's end: the protocol's events to a virtual host, and answers back.

A session has no socket and no clock: a `Transport` takes its bytes, and whoever owns the
transport calls `receive_data`, `receive_eof`, `tick`, `pause` and `resume`. It drives one
`protocol.Connection` in the server role, decides on credentials and virtual hosts, and has one
`BrokerChannel` for each open channel. An error that a channel raises becomes channel.close or
connection.close with RabbitMQ's words, by its class.

Two bounds keep the bytes of a slow client small. Past `DELIVERY_BYTES` waiting, or while the
transport says that it is full, its consumers get nothing; they go on when there is room. Past
`REPLY_BYTES` it is not read from either, since what it sends only makes more to answer; the
bound is high because a client with one thread may well send for a while before it reads again.
"""

from __future__ import annotations

import logging
from typing import Protocol

from .. import wire
from ..exceptions import (
    AuthenticationError,
    ChannelError,
    ConnectionForced,
    DecodeError,
    EncodeError,
    FrameError,
    InternalError,
    NotAllowed,
    PeerError,
)
from ..protocol import (
    AuthenticationRequested,
    ChannelClosed,
    ChannelState,
    Connection,
    ConnectionClosed,
    OpenRequested,
    ServerChannel,
    ServerSide,
    State,
)
from .channel import BrokerChannel
from .faults import fault, reply_text
from .node import MECHANISMS, Node
from .operations import METHODS
from .publisher import Publisher
from .vhost import VirtualHost

__all__ = ["DELIVERY_BYTES", "REPLY_BYTES", "Session", "Transport"]

logger = logging.getLogger("leveret.broker")

DELIVERY_BYTES = 256 * 1024
REPLY_BYTES = 16 * 1024 * 1024
HANDSHAKE_SECONDS = 10.0  # as RabbitMQ's handshake_timeout
CLOSING_SECONDS = 5.0  # for the client's close-ok

_PUBLISH = wire.BasicPublish


class Transport(Protocol):
    """What takes a session's bytes."""

    def write(self, data: bytes) -> None:
        """Send, some time."""

    def waiting(self) -> int:
        """How many written bytes were not sent yet."""

    def pause_reading(self) -> None:
        """Call `receive_data` no more."""

    def resume_reading(self) -> None:
        """Call it again."""

    def close(self, linger: bool) -> None:
        """End the transport when all is sent.

        Args:
            linger: whether the peer may still be sending: then what comes is read and dropped
                for a while, or the last words could be lost (RFC 1122, 4.2.2.13).
        """

    def abort(self) -> None:
        """End it now."""

    def later(self, session: Session) -> None:
        """Call `session.go_on()` soon, when others had their turn."""

    def deadlines_changed(self) -> None:
        """`session.next_deadline()` may be earlier than it was."""


class Session:
    """One connection.

    Args:
        node: the broker.
        transport: where bytes go.
        peer: names the client in the log.
    """

    def __init__(self, node: Node, transport: Transport, peer: str = "") -> None:
        self._node = node
        self._transport = transport
        self._peer = peer
        self._protocol = Connection.server(node.options.server_options())
        side = self._protocol.side
        assert isinstance(side, ServerSide)
        self._side = side
        self._host: VirtualHost | None = None
        self._user = ""
        self._channels: dict[int, BrokerChannel] = {}
        self._confirming: list[Publisher] = []
        self._writable = True  # whether deliveries may be written
        self._paused = False  # the transport is full
        self._is_dirty = False
        self._going_on = False
        self._held: set[str] = set()  # why nothing is read
        self._deadline: float | None = node.clock() + HANDSHAKE_SECONDS
        self._ended = False
        self._failure: EncodeError | None = None
        self._in_peace = True  # it ended, or may yet end, without an error
        self.replies = node.replies
        self.max_message = node.options.max_message_size
        node.sessions[self] = None

    def __repr__(self) -> str:
        return f"<Session {self._peer} {self._protocol.state.value} channels={len(self._channels)}>"

    # -- what the owner of the transport calls ---------------------------------------------

    def receive_data(self, data: bytes) -> None:
        """Bytes have come."""
        self._protocol.receive_data(data, self._node.clock())
        self._handle_events()

    def receive_eof(self) -> None:
        """The client has ended, with or without a closing handshake."""
        self._protocol.receive_eof(self._node.clock())
        self._handle_events()

    def next_deadline(self) -> float | None:
        """When `tick` wants to be called; None for never."""
        deadlines = [
            deadline
            for deadline in (self._deadline, self._protocol.next_deadline())
            if deadline is not None
        ]
        return min(deadlines, default=None)

    def tick(self) -> None:
        """A deadline may have come."""
        now = self._node.clock()
        if self._deadline is not None and now >= self._deadline:
            logger.info("%s: no answer in time, dropped", self._peer, extra={"peer": self._peer})
            self._transport.abort()
            self.receive_eof()
            return
        if self._held:
            self._protocol.heard(now)
        self._protocol.tick(now)
        self._handle_events()

    def pause(self) -> None:
        """The transport is full."""
        self._paused = True
        self._writable = False
        for channel in self._channels.values():
            channel.ready = False

    def resume(self) -> None:
        """The transport has room again."""
        self._paused = False
        self._release("output")
        self.go_on()

    def go_on(self) -> None:
        """Deliver again, unless the transport is full."""
        self._going_on = False
        if self._paused or self._writable or self._ended:
            return
        self._writable = True
        channels = list(self._channels.items())
        for _, channel in channels:
            channel.ready = True
        for number, channel in channels:
            channel.resume()
            if not self._writable:  # it has filled the room: next time the others go first
                self._channels[number] = self._channels.pop(number)
                break
        self._node.flush()

    def flush(self) -> None:
        """Hand to the transport what there is. For the node."""
        self._is_dirty = False
        failure, self._failure = self._failure, None
        if failure is not None:
            self._close(fault(FrameError, str(failure)), 0, 0)
        protocol, transport = self._protocol, self._transport
        while data := protocol.data_to_send():
            transport.write(data)
        if self._paused and transport.waiting() > REPLY_BYTES:
            self._hold("output")
        if not (self._writable or self._paused or self._going_on or self._ended):
            self._going_on = True
            transport.later(self)

    def shut_down(self, reason: str) -> None:
        """The broker closes the connection (320)."""
        if self._is_open():
            self._close(fault(ConnectionForced, reason), 0, 0)
            self._node.flush()
        else:
            self.drop()

    def drop(self) -> None:
        """The connection breaks, without a word."""
        self._transport.abort()
        self.receive_eof()

    # -- what channels call ----------------------------------------------------------------

    def delivered(self) -> None:
        """Bytes were queued, perhaps from another session's doing."""
        if not self._is_dirty:
            self._is_dirty = True
            self._node.dirty(self)
        protocol = self._protocol
        if protocol.bytes_queued - protocol.bytes_sent > DELIVERY_BYTES and self._writable:
            self._writable = False
            for channel in self._channels.values():
                channel.ready = False

    def fail_later(self, error: EncodeError) -> None:
        """Bytes for this client cannot be made: end its connection, once queues are at rest."""
        self._failure = error
        self.delivered()

    def confirm_later(self, channel: Publisher) -> None:
        """A channel has publishes to confirm once all that came is read."""
        self._confirming.append(channel)

    def has_capability(self, name: str) -> bool:
        """Whether the client announced a capability."""
        return self._side.has_capability(name)

    @property
    def user(self) -> str:
        """Who authenticated."""
        return self._user

    # -- events ----------------------------------------------------------------------------

    def _handle_events(self) -> None:
        published = False
        if self._protocol.state is State.CLOSED:
            self._stop_deliveries()
        while events := self._protocol.events():  # a verdict on the handshake brings further ones
            published |= self._handle_batch(events)
        if self._confirming:
            for channel in self._confirming:
                channel.send_confirms()
            self._confirming.clear()
        node = self._node
        node.check_memory()
        if published and node.alarm is not None:
            self._hold_back(node.alarm)
        self.flush()
        node.flush()
        if self._ended:
            self._transport.close(linger=not self._in_peace)

    def _handle_batch(self, events: list[object]) -> bool:
        """Handle events in order; whether there was a publish among them."""
        published = False
        event: object
        for event in events:
            try:
                try:
                    if event.__class__ is wire.Published:
                        message: wire.Published = event
                        channel = self._channels.get(message.channel)
                        if channel is not None:
                            published = True
                            channel.publish(message)
                    else:
                        self._handle(event)
                except (PeerError, DecodeError) as error:
                    self._refuse(error, event)
            except Exception:
                logger.exception("%s: %r failed", self._peer, event, extra={"peer": self._peer})
                self._close(fault(InternalError, "the embedded broker failed; see its log"), 0, 0)
        return published

    def _handle(self, event: object) -> None:
        if isinstance(event, wire.Method):
            channel = self._channels.get(event.channel)
            if channel is not None and event.__class__ in METHODS:
                METHODS[type(event)](channel, event)
            elif isinstance(event, wire.ChannelOpen):
                self._open_channel(event.channel)
            elif isinstance(event, wire.ConnectionUpdateSecret) and self._is_open():
                self._side.send_secret_ok()
        elif isinstance(event, ChannelClosed):
            self._channel_closed(event)
        elif isinstance(event, AuthenticationRequested):
            self._authenticate(event)
        elif isinstance(event, OpenRequested):
            self._open(event)
        elif isinstance(event, ConnectionClosed):
            self._connection_closed(event)

    def _open_channel(self, number: int) -> None:
        handle = self._protocol.channels.get(number)
        if isinstance(handle, ServerChannel) and self._host is not None:
            channel = self._channels[number] = BrokerChannel(self, handle, self._host)
            channel.ready = self._writable

    def _channel_closed(self, event: ChannelClosed) -> None:
        channel = self._channels.get(event.channel.number)
        if channel is not None and channel.handle is event.channel:
            del self._channels[event.channel.number]
            channel.end()

    # -- handshake -------------------------------------------------------------------------

    def _authenticate(self, event: AuthenticationRequested) -> None:
        mechanism = event.mechanism
        if mechanism not in MECHANISMS:
            logger.info("%s: unknown mechanism %r", self._peer, mechanism)
            self.drop()
            return
        user = self._node.authenticate(mechanism, event.response)
        if user is not None:
            self._user = user
            self._side.accept_authentication()
            return
        logger.info("%s: login refused", self._peer, extra={"peer": self._peer})
        if not self.has_capability("authentication_failure_close"):
            self.drop()
            return
        words = (
            f"Login was refused using authentication mechanism {mechanism}. "
            "For details see the broker logfile."
        )
        self._close(fault(AuthenticationError, words), 0, 0)

    def _open(self, event: OpenRequested) -> None:
        name = event.virtual_host
        self._host = self._node.hosts.get(name)
        if self._host is None:
            method = wire.ConnectionOpen
            error = fault(NotAllowed, f"vhost {name} not found")
            self._close(error, method.class_id, method.method_id)
            return
        self._deadline = None
        self._side.accept_open()
        self._transport.deadlines_changed()
        logger.debug("%s: user %s on %s", self._peer, self._user, name)

    def _is_open(self) -> bool:
        return self._protocol.state is State.OPEN

    # -- errors and the end ----------------------------------------------------------------

    def _refuse(self, error: PeerError | DecodeError, event: object) -> None:
        """Answer an error of the client's, on its channel or for the whole connection."""
        method = _PUBLISH if isinstance(event, wire.Published) else event
        class_id, method_id = getattr(method, "class_id", 0), getattr(method, "method_id", 0)
        number = getattr(event, "channel", 0)
        if not isinstance(error, ChannelError):
            self._close(error, class_id, method_id)
            return
        channel = self._channels.pop(number, None)
        if channel is None:
            return
        try:
            channel.send_confirms()
            handle = channel.handle
            if handle.state is ChannelState.OPEN:
                handle.send_close(
                    error.reply_code, error.reply_text, class_id=class_id, method_id=method_id
                )
        finally:
            channel.end()  # a fault of ours must not keep its messages
        logger.info("%s: channel %d: %s", self._peer, number, error, extra={"peer": self._peer})

    def _close(self, error: PeerError | DecodeError, class_id: int, method_id: int) -> None:
        """Close the connection with an error; the client has some time to agree."""
        if self._protocol.state in (State.CLOSING, State.CLOSED):
            return
        if isinstance(error, DecodeError):
            text = reply_text(error.reply_code, error.message)
        else:
            text = error.reply_text
        try:
            for channel in self._channels.values():
                channel.send_confirms()
            self._protocol.send_close(
                error.reply_code, text, class_id=class_id, method_id=method_id
            )
        finally:
            self._leave()
        self._deadline = self._node.clock() + CLOSING_SECONDS
        self._transport.deadlines_changed()
        self._release("output")
        self._release("alarm")
        if not self._is_dirty:
            self._is_dirty = True
            self._node.dirty(self)
        logger.info("%s: closed: %s", self._peer, text, extra={"peer": self._peer})

    def _connection_closed(self, event: ConnectionClosed) -> None:
        self._ended = True
        self._deadline = None
        self._leave()
        self._node.sessions.pop(self, None)
        if event.error is not None:
            self._in_peace = False
            logger.info("%s: %s", self._peer, event.error, extra={"peer": self._peer})

    def _stop_deliveries(self) -> None:
        self._writable = False
        for channel in self._channels.values():
            channel.ready = False

    def _leave(self) -> None:
        """Nothing of this connection stays in the virtual host."""
        self._stop_deliveries()
        channels = list(self._channels.values())
        self._channels.clear()
        for channel in channels:
            channel.end()
        if self._host is not None:
            self._host.remove_queues_of(self)

    # -- holding back ----------------------------------------------------------------------

    def _hold(self, reason: str) -> None:
        if not self._held:
            self._transport.pause_reading()
        self._held.add(reason)

    def _release(self, reason: str) -> None:
        if reason in self._held:
            self._held.discard(reason)
            if not self._held:
                self._transport.resume_reading()

    def _hold_back(self, reason: str) -> None:
        """Read no more from a publisher while there is an alarm."""
        if "alarm" not in self._held and self._is_open():
            self._hold("alarm")
            self._side.send_blocked(reason)

    def release(self) -> None:
        """The alarm is over. For the node, which flushes."""
        if "alarm" in self._held:
            if self._is_open():
                self._side.send_unblocked()
                self.delivered()
            self._release("alarm")
