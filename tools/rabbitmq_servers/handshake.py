"""Does AMQP answer? A connection opened and dropped, in raw frames.

The port of a node listens before its users and vhosts are there. So readiness is a whole
`connection.open` as guest, not a connect. It is written out here, without the library, so that
a broken library cannot make a good server look dead.
"""

from __future__ import annotations

import socket
import struct

PROTOCOL_HEADER = b"AMQP\x00\x00\x09\x01"
FRAME_METHOD, FRAME_END = 1, 0xCE
START, START_OK, TUNE, TUNE_OK, OPEN, OPEN_OK = (
    struct.pack("!HH", 10, method) for method in (10, 11, 30, 31, 40, 41)
)


def answers(port: int, vhost: str, timeout: float = 2.0) -> bool:
    """True when guest can open `vhost` on 127.0.0.1:`port`; `timeout` in seconds a read."""
    try:
        with socket.create_connection(("127.0.0.1", port), timeout) as connection:
            connection.sendall(PROTOCOL_HEADER)
            if not _receive(connection).startswith(START):
                return False
            start_ok = struct.pack("!I", 0) + _short("PLAIN")
            _send(connection, START_OK + start_ok + _long("\0guest\0guest") + _short("en_US"))
            tune = _receive(connection)
            if not tune.startswith(TUNE):
                return False
            _send(connection, TUNE_OK + tune[4:12])
            _send(connection, OPEN + _short(vhost) + _short("") + b"\0")
            return _receive(connection).startswith(OPEN_OK)
    except (OSError, EOFError, struct.error):
        return False


def _short(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!B", len(data)) + data


def _long(text: str) -> bytes:
    data = text.encode()
    return struct.pack("!I", len(data)) + data


def _send(connection: socket.socket, payload: bytes) -> None:
    header = struct.pack("!BHI", FRAME_METHOD, 0, len(payload))
    connection.sendall(header + payload + bytes([FRAME_END]))


def _receive(connection: socket.socket) -> bytes:
    _, _, size = struct.unpack("!BHI", _exactly(connection, 7))
    return _exactly(connection, min(size, 131072) + 1)[:-1]


def _exactly(connection: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        more = connection.recv(count - len(data))
        if not more:
            raise EOFError
        data += more
    return data
