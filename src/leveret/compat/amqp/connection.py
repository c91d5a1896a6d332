"""A connection: it connects, and its channels live by what it reads when it is asked to.

What is agreed on in the handshake is `protocol`'s decision; the words are sent as py-amqp sends
them, through `send_method`, so that everything that listens there hears them.
"""

from __future__ import annotations

import logging
import socket
import uuid
import warnings
from array import array
from ssl import SSLError
from time import monotonic
from typing import Any, ClassVar

from vine import ensure_promise

from leveret.wire import Delivery

from .. import notice
from . import spec
from .channel import Channel
from .exceptions import (
    AMQPDeprecationWarning,
    ChannelError,
    ChannelNotOpen,
    ConnectionError,
    ConnectionForced,
    MessageNacked,
    RecoverableChannelError,
    RecoverableConnectionError,
    ResourceError,
    error_for_code,
)
from .handshake import Handshake, mechanisms
from .method_framing import BEGINNINGS, FrameHandler, frame_handler, frame_writer
from .reading import OtherGreenletRead, Reader
from .transport import Transport
from .version import VERSION_TEXT

__all__ = ["Connection"]

AMQP_LOGGER = logging.getLogger("amqp")
AMQP_HEARTBEAT_LOGGER = logging.getLogger("amqp.connection.Connection.heartbeat_tick")

W_FORCE_CONNECT = (
    "Connection.{attr} was used before connect(); connecting now. Call connect() first."
)
BLOCKED = "connection blocked, see broker logs"

#: Told to the server; brokers and their tools may know py-amqp by it.
LIBRARY_PROPERTIES = {"product": "py-amqp", "product_version": VERSION_TEXT}

#: What is announced where the server announces it too.
NEGOTIATE_CAPABILITIES = {
    "consumer_cancel_notify": True,
    "connection.blocked": True,
    "authentication_failure_close": True,
}


class Connection(Handshake):
    """A connection to a broker.

    Args:
        host: `host[:port]`.
        userid, password: the credentials.
        login_method: GSSAPI, EXTERNAL, AMQPLAIN or PLAIN; by default the first of these that the
            server offers.
        login_response: the response, with a `login_method` of another name.
        authentication: a SASL object, or several, best first.
        virtual_host, locale: as the server wants them.
        client_properties: told to the server.
        ssl: True, or the options of `transport.SSLTransport`.
        connect_timeout: seconds, for each step of connecting.
        channel_max, frame_max, heartbeat: what to propose; 0 for no heartbeats.
        on_open: called with the connection when it is open; may be a promise.
        on_blocked: called with the broker's reason when it stops taking publishes.
        on_unblocked: called when that is over.
        confirm_publish: have every basic_publish wait for the broker's confirm.
        read_timeout, write_timeout: seconds, set on the socket itself.
        socket_settings: TCP options by number.
        frame_handler, frame_writer: hooks; see `method_framing`.
    """

    Channel: Any = Channel
    negotiate_capabilities: ClassVar[dict[str, Any]] = NEGOTIATE_CAPABILITIES
    library_properties: ClassVar[dict[str, Any]] = LIBRARY_PROPERTIES

    #: Seconds: as agreed on, as asked for, as the server proposed.
    heartbeat: Any = None
    client_heartbeat: Any = None
    server_heartbeat: Any = None
    #: When the last sign of life left and came, as far as heartbeat_tick() has seen.
    last_heartbeat_sent: float = 0
    last_heartbeat_received: float = 0
    #: How many writes and frames there were, and how many at the last heartbeat_tick().
    bytes_sent = 0
    bytes_recv = 0
    prev_sent: int | None = None
    prev_recv: int | None = None

    _METHODS = {  # noqa: RUF012
        entry.method_sig: entry
        for entry in (
            spec.method(spec.Connection.Start, "ooFSS"),
            spec.method(spec.Connection.OpenOk),
            spec.method(spec.Connection.Secure, "s"),
            spec.method(spec.Connection.Tune, "BlB"),
            spec.method(spec.Connection.Close, "BsBB"),
            spec.method(spec.Connection.Blocked, "s"),
            spec.method(spec.Connection.Unblocked),
            spec.method(spec.Connection.CloseOk),
        )
    }
    _ALLOWED_METHODS_WHEN_CLOSING = (spec.Connection.Close, spec.Connection.CloseOk)

    connection_errors = (ConnectionError, socket.error, IOError, OSError)
    channel_errors = (ChannelError,)
    recoverable_connection_errors = (
        RecoverableConnectionError,
        MessageNacked,
        socket.error,
        IOError,
        OSError,
    )
    recoverable_channel_errors = (RecoverableChannelError,)

    def __init__(
        self,
        host: str = "localhost:5672",
        userid: Any = "guest",
        password: Any = "guest",
        login_method: Any = None,
        login_response: Any = None,
        authentication: Any = (),
        virtual_host: str = "/",
        locale: str = "en_US",
        client_properties: Any = None,
        ssl: Any = False,
        connect_timeout: float | None = None,
        channel_max: int | None = None,
        frame_max: int | None = None,
        heartbeat: Any = 0,
        on_open: Any = None,
        on_blocked: Any = None,
        on_unblocked: Any = None,
        confirm_publish: bool = False,
        on_tune_ok: Any = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Any = None,
        frame_handler: Any = frame_handler,
        frame_writer: Any = frame_writer,
        **kwargs: Any,
    ) -> None:
        self._connection_id = uuid.uuid4().hex
        self.authentication = mechanisms(
            authentication, login_method, login_response, userid, password
        )
        self.client_properties = {**self.library_properties, **(client_properties or {})}
        self.locale = locale
        self.host = host
        self.virtual_host = virtual_host
        self.on_tune_ok = ensure_promise(on_tune_ok)
        self.frame_handler_cls = frame_handler
        self.frame_writer_cls = frame_writer
        self._handshake_complete = False
        self._ended = False  # collected after it was connected
        self.channels: Any = {}
        super().__init__(self, 0)
        self._frame_writer: Any = None
        self._on_inbound_frame: Any = None
        self._transport: Any = None
        self._reader: Reader | None = None  # see `_find_reader`
        self.channel_max = channel_max or 65535
        self.frame_max = frame_max or 131072
        self.client_heartbeat = heartbeat
        self.confirm_publish = confirm_publish
        self.ssl = ssl
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.socket_settings = socket_settings
        self.on_blocked = on_blocked
        self.on_unblocked = on_unblocked
        self.on_open = ensure_promise(on_open)
        self._used_channel_ids = array("H")
        self.strays: set[int] = set()  # channels closed from both sides, still owed a close-ok
        self.version_major = 0
        self.version_minor = 0
        self.server_properties: dict[Any, Any] = {}
        self.mechanisms: list[bytes] = []
        self.locales: list[str] = []
        self.connect_timeout = connect_timeout

    def __repr__(self) -> str:
        how = f"using {self._transport}" if self._transport else "(disconnected)"
        return f"<AMQP Connection: {self.host}/{self.virtual_host} {how} at {id(self):#x}>"

    def __enter__(self) -> Any:
        self.connect()
        return self

    def __exit__(self, *eargs: object) -> None:
        self.close()

    def then(self, on_success: Any, on_error: Any = None) -> Any:
        """Have `on_success` called with the connection when it is open."""
        return self.on_open.then(on_success, on_error)

    def _setup_listeners(self) -> None:
        self._callbacks.update(
            {
                spec.Connection.Start: self._on_start,
                spec.Connection.OpenOk: self._on_open_ok,
                spec.Connection.Secure: self._on_secure,
                spec.Connection.Tune: self._on_tune,
                spec.Connection.Close: self._on_close,
                spec.Connection.Blocked: self._on_blocked,
                spec.Connection.Unblocked: self._on_unblocked,
                spec.Connection.CloseOk: self._on_close_ok,
            }
        )

    # -- connecting ------------------------------------------------------------------------

    def connect(self, callback: Any = None) -> Any:
        """Connect and shake hands.

        Raises:
            OSError: no connection, or it ended; ssl.SSLError: TLS failed.
            AccessRefused: wrong credentials; NotAllowed: no such virtual host.
            RecoverableConnectionError: it has been closed; make another one.
        """
        if self.connected:
            return callback() if callback else None
        self._check_not_ended()
        notice.repeat()
        try:
            self.transport = self.Transport(
                self.host,
                self.connect_timeout,
                self.ssl,
                self.read_timeout,
                self.write_timeout,
                socket_settings=self.socket_settings,
            )
            self.transport.connect()
            self.on_inbound_frame = self.frame_handler_cls(self, self.on_inbound_method)
            self.frame_writer = self.frame_writer_cls(self, self.transport)
            self._find_reader()
            while not self._handshake_complete:
                self.drain_events(timeout=self.connect_timeout)
        except (OSError, SSLError):
            self.collect()
            raise
        return None

    def _find_reader(self) -> None:
        """See whether what comes may go to its channel directly: nobody looks at it on the way."""
        self._reader = None
        if self._on_inbound_frame.__class__ is FrameHandler and isinstance(self._transport, Reader):
            hooks = type(self).blocking_read, type(self).on_inbound_method
            if hooks == (Connection.blocking_read, Connection.on_inbound_method):
                self._reader = self._transport

    def Transport(
        self,
        host: str,
        connect_timeout: float | None,
        ssl: Any = False,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: Any = None,
        **kwargs: Any,
    ) -> Any:
        """The transport to connect with."""
        return Transport(
            host,
            connect_timeout=connect_timeout,
            ssl=ssl,
            read_timeout=read_timeout,
            write_timeout=write_timeout,
            socket_settings=socket_settings,
            **kwargs,
        )

    def _check_not_ended(self) -> None:
        if self._ended:
            raise RecoverableConnectionError("connection already closed")

    def _warn_force_connect(self, attr: str) -> None:
        warnings.warn(AMQPDeprecationWarning(W_FORCE_CONNECT.format(attr=attr)), stacklevel=3)

    def _force_connect(self, attr: str) -> None:
        self._check_not_ended()
        self._warn_force_connect(attr)
        self.connect()

    @property
    def transport(self) -> Any:
        """The transport; using it before connect() connects, with a warning."""
        if self._transport is None:
            self._force_connect("transport")
        return self._transport

    @transport.setter
    def transport(self, transport: Any) -> None:
        self._transport = transport
        self._reader = None

    @property
    def on_inbound_frame(self) -> Any:
        """What takes the frames that come."""
        if self._on_inbound_frame is None:
            self._force_connect("on_inbound_frame")
        return self._on_inbound_frame

    @on_inbound_frame.setter
    def on_inbound_frame(self, on_inbound_frame: Any) -> None:
        self._on_inbound_frame = on_inbound_frame
        self._reader = None

    @property
    def frame_writer(self) -> Any:
        """What takes the frames that go."""
        if self._frame_writer is None:
            self._force_connect("frame_writer")
        return self._frame_writer

    @frame_writer.setter
    def frame_writer(self, frame_writer: Any) -> None:
        self._frame_writer = frame_writer

    @property
    def connected(self) -> Any:
        """Whether there is a connection, as far as is known; None after its end."""
        return self._transport and self._transport.connected

    @property
    def sock(self) -> Any:
        """The socket."""
        return self.transport.sock

    # -- channels --------------------------------------------------------------------------

    def _get_free_channel_id(self) -> int:
        """Take the lowest channel number that is free.

        Raises:
            ResourceError: there is none.
        """
        used = set(self._used_channel_ids)
        number = next((n for n in range(1, self.channel_max + 1) if n not in used), None)
        if number is None:
            raise ResourceError(
                f"No free channel ids, current={len(self.channels)}, "
                f"channel_max={self.channel_max}",
                spec.Channel.Open,
            )
        self._used_channel_ids.append(number)
        return number

    def _claim_channel_id(self, channel_id: int) -> int:
        """Take a channel number.

        Raises:
            ConnectionError: it is taken.
        """
        if channel_id in self._used_channel_ids:
            raise ConnectionError(f"Channel {channel_id!r} already open")
        self._used_channel_ids.append(channel_id)
        return channel_id

    def channel(self, channel_id: int | None = None, callback: Any = None) -> Any:
        """The channel of that number, opened if it is not open; without a number a new one.

        Raises:
            RecoverableConnectionError: the connection is closed.
            ResourceError: no channel number is free.
        """
        if self.channels is None:
            raise RecoverableConnectionError("Connection already closed.")
        if channel_id in self.channels:
            return self.channels[channel_id]
        channel = self.Channel(self, channel_id, on_open=callback)
        channel.open()
        return channel

    # -- receiving -------------------------------------------------------------------------

    def is_alive(self) -> bool:
        """Not to be had: ask heartbeats."""
        raise NotImplementedError("Use AMQP heartbeats")

    def drain_events(self, timeout: float | None = None) -> None:
        """Wait for one method, whatever it is, and dispatch it.

        Args:
            timeout: seconds; 0 to take what is there; None for the socket's own.

        Raises:
            socket.timeout: none came in time; what has come of one is kept.
            OSError: the connection has ended.
            Exception: what a callback raises, the broker's errors among them.
        """
        deadline = monotonic() + timeout if timeout else None
        left = timeout
        while True:
            reader = self._reader
            if reader is None:
                complete = self.blocking_read(left)
            else:  # a shorter way to the same
                try:
                    item = reader.next_item(left)
                except OtherGreenletRead:
                    return  # whoever waits looks again
                handler = self._on_inbound_frame
                callback = None
                try:
                    if handler.assemblies or item.__class__ in BEGINNINGS:
                        item = handler.assembled(item)
                    if item.__class__ is Delivery:
                        channels = self.channels
                        channel = channels.get(item.channel) if channels else None
                        if (
                            channel is not None
                            and channel.direct
                            and not channel.is_closing
                            and item.consumer_tag is not None
                        ):
                            callback, message = channel.delivered(item)
                except BaseException as error:
                    reader.put_back(item, error)
                    raise
                self.bytes_recv += 1
                if callback is not None:
                    callback(message)
                    return
                complete = item is not None and handler.dispatch(item)
            if complete:
                return
            if deadline is not None:
                left = max(deadline - monotonic(), 0)

    def blocking_read(self, timeout: float | None = None) -> Any:
        """Wait for one frame; whether a method is complete with it. As `drain_events`."""
        handler = self._on_inbound_frame
        transport = self._transport
        if handler.__class__ is FrameHandler and isinstance(transport, Reader):
            try:
                item = transport.next_item(timeout)
            except OtherGreenletRead:
                return True  # whoever waits looks again
            return handler.receive(item)
        with self.transport.having_timeout(timeout):
            frame = self.transport.read_frame()
        return self.on_inbound_frame(frame)

    def on_inbound_method(
        self, channel_id: int, method_sig: tuple[int, int], payload: Any, content: Any
    ) -> Any:
        """A method has come, with its message."""
        channels = self.channels
        if channels is None:
            raise RecoverableConnectionError("Connection already closed")
        if self.strays and method_sig == spec.Channel.CloseOk and self._is_stray(channel_id):
            return None
        try:
            channel = channels[channel_id]
        except KeyError:
            raise ChannelNotOpen(
                f"a method came for channel {channel_id}, which is not open", method_sig
            ) from None
        return channel.dispatch_method(method_sig, payload, content)

    def _is_stray(self, channel_id: int) -> bool:
        """Whether close-ok is the one that a channel has not waited for which has ended."""
        channel = self.channels.get(channel_id)
        if channel_id not in self.strays or (channel is not None and channel.is_closing):
            return False
        self.strays.remove(channel_id)
        return True

    def _on_blocked(self, reason: str = "") -> Any:
        if self.on_blocked:
            return self.on_blocked(reason or BLOCKED)
        return None

    def _on_unblocked(self) -> Any:
        if self.on_unblocked:
            return self.on_unblocked()
        return None

    # -- heartbeats ------------------------------------------------------------------------

    def send_heartbeat(self) -> None:
        """Send a heartbeat frame."""
        self.frame_writer(8, 0, None, None, None)

    def heartbeat_tick(self, rate: int = 2) -> None:
        """Send a heartbeat if it is time, and see whether the peer is alive.

        Call it about once a second. Any traffic counts as a heartbeat.

        Args:
            rate: how many heartbeats to send in an interval.

        Raises:
            ConnectionForced: nothing has come for two intervals.
        """
        AMQP_HEARTBEAT_LOGGER.debug("heartbeat_tick : for connection %s", self._connection_id)
        if not self.heartbeat:
            return
        now = monotonic()
        sent, received = self.bytes_sent, self.bytes_recv
        if self.prev_sent is None or self.prev_sent != sent:
            self.last_heartbeat_sent = now
        if self.prev_recv is None or self.prev_recv != received:
            self.last_heartbeat_received = now
        self.prev_sent, self.prev_recv = sent, received
        if now > self.last_heartbeat_sent + self.heartbeat / (rate if rate > 0 else 2):
            self.send_heartbeat()
            self.last_heartbeat_sent = monotonic()
        if self.last_heartbeat_received and now > self.last_heartbeat_received + 2 * self.heartbeat:
            raise ConnectionForced("Too many heartbeats missed")

    # -- the end ---------------------------------------------------------------------------

    def close(
        self,
        reply_code: int = 0,
        reply_text: str = "",
        method_sig: tuple[int, int] = (0, 0),
        argsig: str = "BsBB",
    ) -> Any:
        """Close the connection, with its channels.

        Raises:
            OSError: it ended before the broker had answered, or the broker did not answer.
        """
        if self._transport is None:
            return None
        try:
            self.is_closing = True
            return self.send_method(
                spec.Connection.Close,
                argsig,
                (reply_code, reply_text, method_sig[0], method_sig[1]),
                wait=spec.Connection.CloseOk,
            )
        except (OSError, SSLError):
            self.collect()
            raise
        finally:
            self.is_closing = False

    def _on_close(self, reply_code: int, reply_text: str, class_id: int, method_id: int) -> None:
        self._x_close_ok()
        raise error_for_code(reply_code, reply_text, (class_id, method_id), ConnectionError)

    def _x_close_ok(self) -> None:
        self.send_method(spec.Connection.CloseOk, callback=self._on_close_ok)

    def _on_close_ok(self) -> None:
        self.collect()

    def collect(self) -> None:
        """Close the socket and forget the channels, without a word to the broker."""
        if self._transport:
            self._ended = True
            self._transport.close()
        for channel in list((self.channels or {}).values()):
            if channel is not self:
                channel.collect()
        self._transport = self._reader = self.connection = self.channels = None

    @property
    def server_capabilities(self) -> Any:
        """What the server has announced."""
        return self.server_properties.get("capabilities") or {}
