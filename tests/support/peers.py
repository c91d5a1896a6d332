"""Peers that are no brokers."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator

__all__ = ["answering"]


@contextlib.contextmanager
def answering(answer: bytes) -> Iterator[str]:
    """A URL at which a connection is accepted, answered with these bytes, and ended."""
    done = threading.Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            with contextlib.suppress(OSError):
                connection, _ = server.accept()
                with connection:
                    connection.settimeout(5)
                    connection.recv(4096)
                    connection.sendall(answer)
                    connection.shutdown(socket.SHUT_WR)
                    done.wait(5)

        thread = threading.Thread(target=serve, name="peer", daemon=True)
        thread.start()
        try:
            yield f"amqp://guest:guest@127.0.0.1:{server.getsockname()[1]}/"
        finally:
            done.set()
        thread.join(5)
