"""The embedded broker with its sockets, in a running event loop.

`AsyncBroker` listens in the loop that starts it; each connection is an `asyncio.Protocol` that
hands bytes to a `Session` and sets a timer for its next deadline. One more timer is for the next
thing that a queue has to do by itself, unless a `VirtualClock` says when that is. A broker is a
context manager, and may be started again after it was stopped: everything in memory is gone then.
`threaded.Broker` is the same in a thread with a loop of its own, for callers without one.

No wait is without a deadline: stopping closes each connection (320), gives the clients a moment
to agree, and breaks what is left.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import logging
import ssl
from collections.abc import Callable, Iterable, Mapping
from types import TracebackType
from typing import TypeVar, cast
from urllib.parse import quote

from ..exceptions import ConfigurationError, DeadlineExceeded, LocalProtocolError
from .clock import VirtualClock
from .node import Node, NodeOptions
from .session import Session

__all__ = ["ANSWER_SECONDS", "AsyncBroker"]

logger = logging.getLogger("leveret.broker")

BACKLOG = 511
STOP_SECONDS = 2.0
LINGER_SECONDS = 2.0
TLS_SECONDS = 10.0
ANSWER_SECONDS = 10.0
WRITE_BUFFER = 256 * 1024
SHUTDOWN = "broker forced connection closure with reason 'shutdown'"

R = TypeVar("R")


class _Connection(asyncio.Protocol):
    """One socket; the `Transport` of its session."""

    def __init__(self, broker: AsyncBroker, node: Node) -> None:
        self._broker = broker
        self._node = node
        self._loop = asyncio.get_running_loop()
        self._timer: asyncio.TimerHandle | None = None
        self._linger: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See `asyncio`."""
        self._transport = cast(asyncio.Transport, transport)  # uvloop's are none by their class
        self._transport.set_write_buffer_limits(high=WRITE_BUFFER)
        peer = transport.get_extra_info("peername")
        self._session = Session(self._node, self, f"{peer[0]}:{peer[1]}" if peer else "client")
        self._broker.connection_made(self)
        self._set_timer()

    def data_received(self, data: bytes) -> None:
        """See `asyncio`."""
        self._session.receive_data(data)

    def eof_received(self) -> None:
        """See `asyncio`: None closes the transport."""
        self._session.receive_eof()

    def connection_lost(self, exc: Exception | None) -> None:
        """See `asyncio`."""
        for timer in (self._timer, self._linger):
            if timer is not None:
                timer.cancel()
        self._session.receive_eof()
        self._broker.connection_lost(self)

    def pause_writing(self) -> None:
        """See `asyncio`."""
        self._session.pause()

    def resume_writing(self) -> None:
        """See `asyncio`."""
        self._session.resume()

    # The timer runs to the deadline that was known when it was set, and looks again: deadlines
    # move on with every byte, a timer with none of them.

    def _set_timer(self) -> None:
        deadline = self._session.next_deadline()
        self._timer = None
        if deadline is not None:
            self._timer = self._loop.call_at(deadline, self._tick)

    def _tick(self) -> None:
        self._session.tick()
        if not self._transport.is_closing():
            self._set_timer()

    # -- Transport -------------------------------------------------------------------------

    def write(self, data: bytes) -> None:
        """See `Transport`."""
        if not self._transport.is_closing() and self._linger is None:
            self._transport.write(data)

    def waiting(self) -> int:
        """See `Transport`."""
        return self._transport.get_write_buffer_size()

    def pause_reading(self) -> None:
        """See `Transport`."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """See `Transport`."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def close(self, linger: bool) -> None:
        """See `Transport`."""
        transport = self._transport
        if transport.is_closing() or self._linger is not None:
            return
        if linger and transport.can_write_eof():
            transport.write_eof()
            self._linger = self._loop.call_later(LINGER_SECONDS, transport.abort)
        else:
            transport.close()

    def abort(self) -> None:
        """See `Transport`."""
        self._transport.abort()

    def later(self, session: Session) -> None:
        """See `Transport`."""
        self._loop.call_soon(session.go_on)

    def deadlines_changed(self) -> None:
        """See `Transport`."""
        if self._timer is not None:
            self._timer.cancel()
        self._set_timer()

    # -- for the broker --------------------------------------------------------------------

    @property
    def session(self) -> Session:
        """The broker's end of the connection."""
        return self._session


class AsyncBroker:
    """A broker in the running event loop.

        async with AsyncBroker() as broker:
            ...  # connect to broker.url

    Args:
        host: the address to listen on.
        port: the port; 0 takes a free one.
        users: passwords by user name; guest with password guest if not given. The first is the
            user of `url`.
        virtual_hosts: their names; the first is that of `url`.
        ssl_context: for TLS; a server context with a certificate.
        heartbeat: seconds proposed to clients; 0 for none.
        channel_max: channels a connection may have.
        frame_max: bytes of a frame.
        max_message_size: bytes of a message body.
        memory_limit: bytes that messages may take before publishers are held back; None for
            sixty per cent of the machine's memory, 0 for no limit.
        clock: the time that queues live by, if it is not to pass by itself.

    Raises:
        ConfigurationError: a number out of range, no user, no virtual host.
    """

    def __init__(
        self,
        host: str = "127.0.0.1",
        port: int = 0,
        *,
        users: Mapping[str, str] | None = None,
        virtual_hosts: Iterable[str] = ("/",),
        ssl_context: ssl.SSLContext | None = None,
        heartbeat: int = 60,
        channel_max: int = 2047,
        frame_max: int = 131072,
        max_message_size: int = 16 * 1024 * 1024,
        memory_limit: int | None = None,
        clock: VirtualClock | None = None,
    ) -> None:
        self._options = NodeOptions(
            users=users,
            virtual_hosts=virtual_hosts,
            heartbeat=heartbeat,
            channel_max=channel_max,
            frame_max=frame_max,
            max_message_size=max_message_size,
            memory_limit=memory_limit,
        )
        if not 0 <= port <= 65535:
            raise ConfigurationError(f"port is {port}: expected 0 to 65535")
        self._host = host
        self._wanted_port = port
        self._ssl_context = ssl_context
        self._clock = clock
        self._node: Node | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._timer: asyncio.Handle | None = None
        self._server: asyncio.Server | None = None
        self._port = port
        self._none_left: asyncio.Event | None = None
        self._connections: set[_Connection] = set()

    def __repr__(self) -> str:
        state = f"at {self._host}:{self._port}" if self._server is not None else "stopped"
        return f"<{type(self).__name__} {state}, {len(self._connections)} connections>"

    async def __aenter__(self) -> AsyncBroker:
        await self.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- start and stop --------------------------------------------------------------------

    async def start(self) -> None:
        """Listen.

        Raises:
            OSError: the address cannot be had.
            LocalProtocolError: the broker was started already.
        """
        if self._server is not None:
            raise LocalProtocolError("the broker was started already")
        loop = asyncio.get_running_loop()
        node = Node(self._options, loop.time, self._clock)
        self._server = await loop.create_server(
            lambda: _Connection(self, node),
            self._host,
            self._wanted_port,
            ssl=self._ssl_context,
            backlog=BACKLOG,
            ssl_handshake_timeout=None if self._ssl_context is None else TLS_SECONDS,
            ssl_shutdown_timeout=None if self._ssl_context is None else STOP_SECONDS,
        )
        self._node, self._loop = node, loop
        node.timers.on_earlier = self._set_timer
        if self._clock is not None:
            self._clock.attach(self)
        self._port = self._server.sockets[0].getsockname()[1]
        logger.info("listening at %s:%d", self._host, self._port)

    async def stop(self, timeout: float = STOP_SECONDS) -> None:
        """Close every connection (320) and listen no more.

        Args:
            timeout: seconds that clients have to agree.
        """
        server, self._server = self._server, None
        if server is None:
            return
        server.close()
        self._none_left = asyncio.Event()  # of this loop: the next start may be in another
        self.close_connections(SHUTDOWN)
        if self._connections:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._none_left.wait(), timeout)
        self.drop_connections()
        await asyncio.sleep(0)  # their transports end in the next turn of the loop
        if self._clock is not None:
            self._clock.detach(self)
        if self._timer is not None:
            self._timer.cancel()
        self._node = self._timer = None
        logger.info("stopped")

    def connection_made(self, connection: _Connection) -> None:
        """For the connections."""
        self._connections.add(connection)

    def connection_lost(self, connection: _Connection) -> None:
        """For the connections."""
        self._connections.discard(connection)
        if not self._connections and self._none_left is not None:
            self._none_left.set()

    # -- time ------------------------------------------------------------------------------

    def _set_timer(self) -> None:
        """Wait for what queues have to do next; by a clock that stands, only for what is due."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        node, loop = self._node, self._loop
        if node is None or loop is None:
            return
        deadline = node.timers.next_deadline()
        if deadline is None:
            return
        if self._clock is None:
            self._timer = loop.call_at(deadline, self._tick)
        elif deadline <= self._clock():
            self._timer = loop.call_soon(self._tick)

    def _tick(self) -> None:
        self._timer = None
        self._running().run_timers()
        self._set_timer()

    def call(self, function: Callable[[], R]) -> R:
        """Run something in the broker's loop, from any thread.

        Raises:
            LocalProtocolError: the broker is not running.
            DeadlineExceeded: it did not answer in `ANSWER_SECONDS`.
        """
        loop = self._loop
        if loop is None or self._node is None:
            raise LocalProtocolError("the broker is not running")
        try:
            here = asyncio.get_running_loop()
        except RuntimeError:
            here = None
        if here is loop:
            return function()

        async def run() -> R:
            return function()

        future = asyncio.run_coroutine_threadsafe(run(), loop)
        try:
            return future.result(ANSWER_SECONDS)
        except concurrent.futures.TimeoutError:
            raise DeadlineExceeded(f"the broker did not answer within {ANSWER_SECONDS} s") from None

    def next_deadline(self) -> float | None:
        """For a `VirtualClock`: when a queue has something to do."""
        return self.call(self._running().timers.next_deadline)

    def run_timers(self) -> None:
        """For a `VirtualClock`: do what is due."""
        self.call(self._tick)

    # -- connections -----------------------------------------------------------------------

    @property
    def connection_count(self) -> int:
        """How many clients are connected, handshakes included."""
        return len(self._connections)

    # -- where it is -----------------------------------------------------------------------

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._host

    @property
    def port(self) -> int:
        """The port it listens on; the one asked for before it has started."""
        return self._port

    @property
    def url(self) -> str:
        """A URL to connect to, with the first user and the first virtual host."""
        return self.url_for()

    def url_for(self, user: str | None = None, virtual_host: str | None = None) -> str:
        """A URL to connect to.

        Args:
            user: one of the users; None for the first.
            virtual_host: None for the first.
        """
        users = self._options.users
        user = next(iter(users)) if user is None else user
        name = self._options.virtual_hosts[0] if virtual_host is None else virtual_host
        scheme = "amqp" if self._ssl_context is None else "amqps"
        host = f"[{self._host}]" if ":" in self._host else self._host
        path = "" if name == "/" else "/" + quote(name, safe="")
        password = quote(users.get(user, ""), safe="")
        return f"{scheme}://{quote(user, safe='')}:{password}@{host}:{self._port}{path}"

    # -- for tests of clients --------------------------------------------------------------

    def block(self, reason: str = "low on memory") -> None:
        """Hold publishers back, as RabbitMQ does when it is short of memory.

        A connection is told (connection.blocked), and no longer read, once it publishes.
        """
        self._running().block(reason)

    def unblock(self) -> None:
        """The end of `block`."""
        self._running().unblock()

    def close_connections(self, reason: str = "closed by an operator") -> None:
        """Close every connection in good form (320), as an operator does."""
        for connection in list(self._connections):
            connection.session.shut_down(reason)

    def drop_connections(self) -> None:
        """Break every connection without a word, as a network does."""
        for connection in list(self._connections):
            connection.session.drop()

    def _running(self) -> Node:
        if self._node is None:
            raise LocalProtocolError("the broker is not running")
        return self._node
