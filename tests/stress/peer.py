"""A broker's side of the handshake in a process of its own, which then sends heartbeats only.

    python -m tests.stress.peer deaf|patient     # prints its port, ends with its stdin

After the handshake `deaf` reads nothing any more; `patient` reads all and never finds the client
too quiet.
"""

from __future__ import annotations

import contextlib
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from leveret import protocol, wire

from .served import END_SECONDS, ROOT

__all__ = ["run_peer"]

BEAT_SECONDS = 0.2


@contextlib.contextmanager
def run_peer(habit: str) -> Iterator[str]:
    """Run the peer; gives a URL."""
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.stress.peer", habit],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        yield f"amqp://127.0.0.1:{process.stdout.readline().strip()}"
    finally:
        process.stdin.close()
        try:
            process.wait(END_SECONDS)
        finally:
            process.kill()
            process.wait()
            process.stdout.close()


def _shake_hands(sock: socket.socket) -> None:
    """Serve until the client has a channel."""
    server = protocol.Connection.server(protocol.ServerOptions(heartbeat=1))
    side = server.side
    assert isinstance(side, protocol.ServerSide)
    while True:
        server.receive_data(sock.recv(65536), time.monotonic())
        done = False
        for event in server.events():
            if isinstance(event, protocol.AuthenticationRequested):
                side.accept_authentication()
            elif isinstance(event, protocol.OpenRequested):
                side.accept_open()
            done = isinstance(event, wire.ChannelOpen)
        sock.sendall(server.data_to_send())
        if done:
            return


def _serve(sock: socket.socket, habit: str) -> None:
    with contextlib.suppress(OSError):
        _shake_hands(sock)
        sock.settimeout(BEAT_SECONDS)
        never = threading.Event()
        while True:
            if habit == "deaf":
                never.wait(BEAT_SECONDS)
            else:
                with contextlib.suppress(TimeoutError):
                    if not sock.recv(65536):
                        return
            sock.sendall(wire.HEARTBEAT_FRAME)


def main() -> None:
    """Serve until stdin ends."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        print(listener.getsockname()[1], flush=True)

        def accept() -> None:
            while True:
                sock, _ = listener.accept()
                threading.Thread(target=_serve, args=(sock, sys.argv[1]), daemon=True).start()

        threading.Thread(target=accept, daemon=True).start()
        sys.stdin.read()


if __name__ == "__main__":
    main()
