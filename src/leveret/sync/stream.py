"""Sockets of the blocking client: resolving, connecting, TLS, and a non-blocking stream.

TLS runs over memory buffers (`ssl.MemoryBIO`), so that the socket itself stays an ordinary
non-blocking one that a thread may write while another reads; the TLS object has a lock of its
own. Every function that waits takes a deadline.
"""

from __future__ import annotations

import contextlib
import ipaddress
import socket
import ssl
import threading
from collections.abc import Callable
from typing import Any

from ..client.deadline import Deadline
from ..client.parameters import Parameters
from ..exceptions import ConnectFailed
from ..protocol import Pieces
from .handlers import is_of_handler
from .locks import reentrant_lock

__all__ = ["Stream", "open_stream"]

RECEIVE_SIZE = 131072  # bytes a read may bring

_Address = tuple[Any, ...]


class Stream:
    """A connected byte stream that never blocks.

    `send` and `flush` want one caller at a time, `receive` wants one caller at a time; the two
    may be different threads.

    Attributes:
        unsent: what the socket did not take, in pieces.
        takes_pieces: whether `send` does.
        has_early: whether `receive` has something that no selector will tell of.
    """

    __slots__ = (
        "_early",
        "_ended",
        "_socket",
        "_tls",
        "has_early",
        "receive",
        "send_some",
        "takes_pieces",
        "unsent",
    )

    def __init__(self, sock: socket.socket, tls: _Tls | None) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._tls = tls
        self.unsent: Pieces = []
        self.takes_pieces = tls is None and hasattr(sock, "sendmsg")
        self._early = tls.pending() if tls is not None else b""
        self.has_early = bool(self._early)
        self._ended = False
        #: What has come, at most so many bytes; empty at the end of the stream. Raises
        #: `BlockingIOError` where nothing is there now, `OSError` where the connection is broken.
        self.receive: Callable[[int], bytes] = sock.recv if tls is None else self._receive
        #: Not for TLS: send what the socket takes now, and say how many bytes. Raises as `receive`.
        self.send_some: Callable[[bytes], int] = sock.send

    def fileno(self) -> int:
        """The socket's file descriptor."""
        return self._socket.fileno()

    @property
    def encrypted(self) -> bool:
        """Whether this is TLS."""
        return self._tls is not None

    def has_come(self) -> bool:
        """Whether there is something to receive, the end or an error included."""
        try:
            self._socket.recv(1, socket.MSG_PEEK)
        except (BlockingIOError, InterruptedError):
            return False
        except OSError:
            return True
        return True

    def receive_into(self, space: memoryview) -> int | None:
        """As `receive`, into a buffer: how many bytes, 0 at the end. Not for TLS."""
        try:
            return self._socket.recv_into(space)
        except (BlockingIOError, InterruptedError) as error:
            if is_of_handler(error):
                raise
            return None

    def _receive(self, size: int) -> bytes:
        """`receive` of TLS; `OSError` is an `ssl.SSLError`, too."""
        assert self._tls is not None
        if self._early:
            data, self._early = self._early, b""
            self.has_early = self._ended
            return data
        if self._ended:
            return b""
        data = self._socket.recv(size)
        if not data:
            return data
        plain, ended = self._tls.decrypt(data)
        self._ended = self.has_early = ended
        # what TLS itself has to say now leaves with the next `flush`, whose caller may write
        if not plain and not ended:
            raise BlockingIOError  # a part of a record
        return plain

    def send(self, data: bytes | Pieces) -> bool:
        """Send; what the socket does not take now is `unsent`. True if all is sent.

        Args:
            data: one piece, or, where this is not TLS, several.
        """
        if self._tls is None and not self.unsent and data.__class__ is bytes:
            try:  # the usual case, without another call
                count = self._socket.send(data)
            except (BlockingIOError, InterruptedError) as error:
                if is_of_handler(error):
                    raise
                count = 0
            if count == len(data):
                return True
            self.unsent = [memoryview(data)[count:]]
            return False
        if self._tls is not None:
            assert isinstance(data, bytes)
            self._tls.encrypt(data)
            return self.flush()
        if self.unsent:
            self.unsent += [data] if isinstance(data, bytes) else data
            return self.flush()
        assert not isinstance(data, bytes)
        return self._send_pieces(data)

    def flush(self) -> bool:
        """Send what is unsent; True if nothing is left."""
        if self._tls is not None and self._tls.has_output():
            self.unsent.append(self._tls.output())
        while self.unsent:
            pieces, self.unsent = self.unsent, []
            if not self._send_pieces(pieces):
                return False
        return True

    def _send_pieces(self, pieces: Pieces) -> bool:
        try:
            if len(pieces) == 1:
                count = self._socket.send(pieces[0])
            else:
                count = self._socket.sendmsg(pieces)
        except (BlockingIOError, InterruptedError) as error:
            if is_of_handler(error):
                raise
            count = 0
        self.unsent = _rest(pieces, count)
        return not self.unsent

    @property
    def unsent_bytes(self) -> int:
        """How many bytes the socket did not take."""
        return sum(map(len, self.unsent))

    def has_output(self) -> bool:
        """Whether `flush` has something to send."""
        return bool(self.unsent) or (self._tls is not None and self._tls.has_output())

    def close(self) -> None:
        """Close the socket in good order."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        self._socket.close()

    def abandon(self) -> None:
        """Close the file descriptor only: the connection is another process's."""
        self._socket.close()


def _rest(pieces: Pieces, count: int) -> Pieces:
    """What is left of the pieces when so many bytes of them are sent."""
    for at, piece in enumerate(pieces):
        if count < len(piece):
            return [memoryview(piece)[count:], *pieces[at + 1 :]]
        count -= len(piece)
    return []


class _Tls:
    """TLS over memory: bytes of the socket on one side, plain bytes on the other."""

    def __init__(self, context: ssl.SSLContext, server_hostname: str) -> None:
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._lock = reentrant_lock()
        self._object = context.wrap_bio(
            self._incoming, self._outgoing, server_hostname=server_hostname
        )

    def handshake(self, sock: socket.socket, deadline: Deadline) -> None:
        """Shake hands over a socket that is used by nobody else yet."""
        while True:
            try:
                self._object.do_handshake()
            except ssl.SSLWantReadError:
                self._send(sock, deadline)
                sock.settimeout(max(deadline.remaining(), 0.001))
                data = sock.recv(RECEIVE_SIZE)
                if data:
                    self._incoming.write(data)
                else:
                    self._incoming.write_eof()
            except ssl.SSLError:
                self._send(sock, deadline)  # the alert
                raise
            else:
                self._send(sock, deadline)
                return

    def _send(self, sock: socket.socket, deadline: Deadline) -> None:
        data = self._outgoing.read()
        if data:
            sock.settimeout(max(deadline.remaining(), 0.001))
            sock.sendall(data)

    def pending(self) -> bytes:
        """Plain bytes that came together with the end of the handshake."""
        return self._read()[0]

    def decrypt(self, data: bytes) -> tuple[bytes, bool]:
        """Plain bytes, and whether the peer has ended the stream."""
        with self._lock:
            self._incoming.write(data)
            return self._read()

    def _read(self) -> tuple[bytes, bool]:
        pieces: list[bytes] = []
        try:
            while True:
                piece = self._object.read(RECEIVE_SIZE)
                if not piece:
                    return b"".join(pieces), True
                pieces.append(piece)
        except ssl.SSLWantReadError:
            return b"".join(pieces), False
        except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
            return b"".join(pieces), True

    def encrypt(self, data: bytes) -> None:
        """Take plain bytes; `output` has them encrypted."""
        with self._lock:
            self._object.write(data)

    def has_output(self) -> bool:
        """Whether `output` has something."""
        return bool(self._outgoing.pending)

    def output(self) -> bytes:
        """Bytes for the socket."""
        with self._lock:
            return self._outgoing.read()


def open_stream(parameters: Parameters, deadline: Deadline) -> Stream:
    """Connect to the first address of the host that answers; TLS included.

    Raises:
        ConnectFailed: none did; says what each said.
        DeadlineExceeded: not in time.
    """
    context = parameters.make_ssl_context()
    where = f"{parameters.host}:{parameters.port}"
    failures: list[str] = []
    addresses = _resolve(parameters.host, parameters.port, deadline)
    for index, (family, address) in enumerate(addresses):
        try:
            sock = _connect(family, address, deadline.remaining() / (len(addresses) - index))
        except OSError as error:
            failures.append(f"{address[0]}: {error.strerror or error}")
            if not deadline.remaining():
                break
            continue
        try:
            tls = None
            if context is not None:
                tls = _Tls(context, parameters.server_hostname or parameters.host)
                tls.handshake(sock, deadline)
            return Stream(sock, tls)
        except (OSError, ValueError) as error:
            sock.close()
            if isinstance(error, TimeoutError) and not deadline.remaining():
                break
            raise ConnectFailed(f"TLS with {where} failed: {error}") from error
        except BaseException:
            sock.close()
            raise
    if not deadline.remaining():
        raise deadline.exceeded(f"connecting to {where}")
    raise ConnectFailed(f"cannot connect to {where}: {'; '.join(failures)}")


def _connect(family: int, address: _Address, timeout: float) -> socket.socket:
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.settimeout(max(timeout, 0.001))
        sock.connect(address)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    except BaseException:
        sock.close()
        raise
    return sock


def _resolve(host: str, port: int, deadline: Deadline) -> list[tuple[int, _Address]]:
    """All addresses of a host. The resolver has no deadline, so a thread asks it."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        if address.version == 4:
            return [(socket.AF_INET, (host, port))]
        return [(socket.AF_INET6, (host, port, 0, 0))]
    found: list[tuple[int, _Address]] = []
    failure: list[OSError] = []

    def ask() -> None:
        try:
            for family, _, _, _, resolved in socket.getaddrinfo(host, port, 0, socket.SOCK_STREAM):
                found.append((family, resolved))
        except (OSError, UnicodeError) as error:
            failure.append(OSError(str(error)))

    thread = threading.Thread(target=ask, name="leveret resolver", daemon=True)
    thread.start()
    thread.join(deadline.remaining())
    if thread.is_alive():
        raise deadline.exceeded(f"resolving {host!r}")
    if failure:
        raise ConnectFailed(f"cannot resolve {host!r}: {failure[0]}") from failure[0]
    return found
