"""A TCP proxy between a client and a broker that holds bytes back and cuts connections.

It runs in threads of its own, so that it serves blocking and asyncio tests alike. Bytes that are
held stay in the kernel's buffers: whoever sends them meets a full socket, as on a slow network.
"""

from __future__ import annotations

import contextlib
import select
import socket
import struct
import threading
from types import TracebackType
from typing import Self
from urllib.parse import urlsplit, urlunsplit

__all__ = ["Proxy"]

PIECE = 65536


class Proxy:
    """Listens on loopback, and connects on to `host:port`.

        with Proxy(url) as proxy:
            ...  # connect to proxy.url

    Args:
        url: where the broker is; `Proxy.url` is the same with the proxy's address.
    """

    def __init__(self, url: str) -> None:
        parts = urlsplit(url)
        assert parts.hostname is not None
        assert parts.port is not None
        self._target = (parts.hostname, parts.port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        userinfo = parts.netloc.rpartition("@")[0]
        self.port = self._listener.getsockname()[1]
        self.url = urlunsplit(parts._replace(netloc=f"{userinfo}@127.0.0.1:{self.port}"))
        self._to_broker = threading.Event()
        self._to_client = threading.Event()
        self._to_broker.set()
        self._to_client.set()
        self._holds = threading.Event()
        self._lock = threading.Lock()
        self._sockets: list[socket.socket] = []
        self._closing = False
        self._threads = [threading.Thread(target=self._accept, name="proxy", daemon=True)]
        self._threads[0].start()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._closing = True
        self.release()
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.cut()
        for thread in self._threads:
            thread.join(5)

    # -- what a test does ------------------------------------------------------------------

    def hold_to_broker(self) -> None:
        """Pass nothing more on to the broker."""
        self._holds.clear()
        self._to_broker.clear()

    def wait_for_held(self, timeout: float) -> bool:
        """Wait until something for the broker is held back; whether it is."""
        return self._holds.wait(timeout)

    def hold_to_client(self) -> None:
        """Pass nothing more on to the client."""
        self._to_client.clear()

    def release(self) -> None:
        """Pass everything on again."""
        self._to_broker.set()
        self._to_client.set()

    def cut(self, *, reset: bool = False) -> None:
        """Break all connections; `reset` with RST, else with FIN."""
        with self._lock:
            sockets, self._sockets = self._sockets, []
        for sock in sockets:
            with contextlib.suppress(OSError):
                if reset:
                    sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                    sock.shutdown(socket.SHUT_RD)  # a pump in select() would keep it open
                else:
                    sock.shutdown(socket.SHUT_RDWR)
        for sock in sockets:
            with contextlib.suppress(OSError):
                sock.close()

    # -- threads ---------------------------------------------------------------------------

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            try:
                broker = socket.create_connection(self._target)
            except OSError:  # it is not there just now: nor is the proxy
                client.close()
                continue
            for sock in (client, broker):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self._lock:
                self._sockets += [client, broker]
            for source, target, gate in (
                (client, broker, self._to_broker),
                (broker, client, self._to_client),
            ):
                thread = threading.Thread(
                    target=self._pump, args=(source, target, gate), name="proxy", daemon=True
                )
                self._threads.append(thread)
                thread.start()

    def _pump(
        self, source: socket.socket, target: socket.socket, gate: threading.Event
    ) -> None:
        """Pass bytes on while the gate is open; a closed one leaves them in the socket."""
        try:
            while True:
                if not select.select([source], [], [], 0.5)[0]:
                    continue
                if gate is self._to_broker and not gate.is_set():
                    self._holds.set()
                gate.wait()
                data = source.recv(PIECE)
                if not data:
                    break
                target.sendall(data)
        except (OSError, ValueError):
            pass
        with self._lock:
            was_cut = source not in self._sockets
        if was_cut and not self._closing:
            return  # a farewell would come before the reset
        with contextlib.suppress(OSError):
            target.shutdown(socket.SHUT_RDWR if self._closing else socket.SHUT_WR)
