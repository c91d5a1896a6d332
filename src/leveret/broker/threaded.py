"""The embedded broker in a thread of its own, for callers without an event loop."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ssl
import threading
from collections.abc import Iterable, Mapping
from types import TracebackType

from ..exceptions import DeadlineExceeded, LocalProtocolError
from .clock import VirtualClock
from .server import ANSWER_SECONDS, AsyncBroker

__all__ = ["Broker"]


class Broker:
    """A broker in a thread of its own.

        with Broker() as broker:
            ...  # connect to broker.url

    The arguments are those of `AsyncBroker`. Every method may be called from any thread.
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
        self._broker = AsyncBroker(
            host,
            port,
            users=users,
            virtual_hosts=virtual_hosts,
            ssl_context=ssl_context,
            heartbeat=heartbeat,
            channel_max=channel_max,
            frame_max=frame_max,
            max_message_size=max_message_size,
            memory_limit=memory_limit,
            clock=clock,
        )
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping: asyncio.Event | None = None

    def __repr__(self) -> str:
        return repr(self._broker).replace("AsyncBroker", type(self).__name__)

    def __enter__(self) -> Broker:
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def start(self, timeout: float = ANSWER_SECONDS) -> None:
        """Listen; back when clients can connect.

        Args:
            timeout: seconds.

        Raises:
            OSError: the address cannot be had.
            LocalProtocolError: the broker was started already.
            DeadlineExceeded: it did not come up in time.
        """
        if self._thread is not None:
            raise LocalProtocolError("the broker was started already")
        started: concurrent.futures.Future[None] = concurrent.futures.Future()
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run(started)), name="leveret-broker", daemon=True
        )
        self._thread.start()
        try:
            started.result(timeout)
        except concurrent.futures.TimeoutError:
            raise DeadlineExceeded(f"the broker did not start within {timeout} s") from None
        except BaseException:
            self._thread.join(timeout)
            self._thread = None
            raise

    async def _run(self, started: concurrent.futures.Future[None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._stopping = asyncio.Event()
        try:
            await self._broker.start()
        except Exception as error:
            started.set_exception(error)
            return
        started.set_result(None)
        await self._stopping.wait()
        await self._broker.stop()

    def stop(self, timeout: float = ANSWER_SECONDS) -> None:
        """Close every connection (320), listen no more, end the thread.

        Args:
            timeout: seconds.

        Raises:
            DeadlineExceeded: the thread did not end in time.
        """
        thread, self._thread = self._thread, None
        if thread is None:
            return
        assert self._loop is not None
        assert self._stopping is not None
        with contextlib.suppress(RuntimeError):  # the loop has ended by itself
            self._loop.call_soon_threadsafe(self._stopping.set)
        thread.join(timeout)
        if thread.is_alive():
            raise DeadlineExceeded(f"the broker did not stop within {timeout} s")

    @property
    def host(self) -> str:
        """The address it listens on."""
        return self._broker.host

    @property
    def port(self) -> int:
        """The port it listens on; the one asked for before it has started."""
        return self._broker.port

    @property
    def url(self) -> str:
        """A URL to connect to, with the first user and the first virtual host."""
        return self._broker.url

    def url_for(self, user: str | None = None, virtual_host: str | None = None) -> str:
        """A URL to connect to; see `AsyncBroker.url_for`."""
        return self._broker.url_for(user, virtual_host)

    @property
    def connection_count(self) -> int:
        """How many clients are connected, handshakes included."""
        return self._broker.connection_count

    def block(self, reason: str = "low on memory") -> None:
        """Hold publishers back; see `AsyncBroker.block`."""
        self._broker.call(lambda: self._broker.block(reason))

    def unblock(self) -> None:
        """The end of `block`."""
        self._broker.call(self._broker.unblock)

    def close_connections(self, reason: str = "closed by an operator") -> None:
        """Close every connection in good form (320), as an operator does."""
        self._broker.call(lambda: self._broker.close_connections(reason))

    def drop_connections(self) -> None:
        """Break every connection without a word, as a network does."""
        self._broker.call(self._broker.drop_connections)
