"""A broker that says what a test wants, byte by byte, once a client consumes."""

from __future__ import annotations

import contextlib
import socket
import ssl
import struct
import threading
from collections.abc import Iterator, Sequence
from pathlib import Path

from leveret import wire

__all__ = ["CONSUMER", "LIMITED_STEPS", "STEPS", "ScriptedBroker", "scripted_broker"]

CONSUMER = "tag"
FRAME_MAX = 131072
SECONDS = 20.0
START = wire.ConnectionStart(0, 9, {}, b"PLAIN", b"en_US").encode(0)
TUNE = wire.ConnectionTune(2047, FRAME_MAX, 0).encode(0)
STEPS = [  # what is read, and what is answered
    (8, START),
    (None, TUNE),
    (None, b""),  # tune-ok
    (None, wire.ConnectionOpenOk().encode(0)),
    (None, wire.ChannelOpenOk().encode(1)),
    (None, wire.BasicConsumeOk(CONSUMER).encode(1)),
]
LIMITED_STEPS = [*STEPS[:-1], (None, wire.BasicQosOk().encode(1)), STEPS[-1]]
"""The same for a client that sets a prefetch, too."""

Step = tuple[int | None, bytes]


class ScriptedBroker:
    """Made by `scripted_broker`.

    Attributes:
        address: `host:port`.
        peer: the socket to the client, once it consumes.
    """

    def __init__(
        self, context: ssl.SSLContext | None, script: Sequence[Step], steps: int | None
    ) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self._context = context
        self._steps = script[:steps]
        self._stays = len(self._steps) == len(script)
        self._peer: socket.socket | None = None
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="scripted", daemon=True)
        self._thread.start()

    def _serve(self) -> None:
        with contextlib.suppress(OSError):
            peer, _ = self._listener.accept()
            peer.settimeout(SECONDS)
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._context is not None:
                peer = self._context.wrap_socket(peer, server_side=True)
            self._peer = peer
            for size, answer in self._steps:
                self.read(size)
                peer.sendall(answer)
            if not self._stays:
                peer.close()
        self._ready.set()

    @property
    def peer(self) -> socket.socket:
        assert self._ready.wait(SECONDS), "the client has not come so far"
        assert self._peer is not None
        return self._peer

    def read(self, size: int | None = None) -> bytes:
        """So many bytes of the client, or one frame."""
        assert self._peer is not None
        if size is not None:
            data = b""
            while len(data) < size:
                part = self._peer.recv(size - len(data))
                if not part:
                    raise ConnectionError("the client has gone")
                data += part
            return data
        header = self.read(7)
        return header + self.read(struct.unpack(">BHI", header)[2] + 1)

    def reset(self) -> None:
        """End the connection with RST."""
        self.peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.peer.close()

    def close(self) -> None:
        """End everything."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(SECONDS)
        if self._peer is not None:
            self._peer.close()


@contextlib.contextmanager
def scripted_broker(
    certificates: Path | None = None, steps: int | None = None, script: Sequence[Step] = STEPS
) -> Iterator[ScriptedBroker]:
    """A broker for one client.

    Args:
        certificates: for TLS, the folder with those of `tools/rabbitmq certs`.
        steps: how many of the script's it takes before it goes away, if not all.
        script: what it reads and answers until the client consumes.
    """
    context = None
    if certificates is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificates / "server.pem", certificates / "server.key")
    broker = ScriptedBroker(context, script, steps)
    try:
        yield broker
    finally:
        broker.close()
