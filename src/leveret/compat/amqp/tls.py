"""A TLS socket whose kernel buffer tells the truth.

`ssl.SSLSocket` takes a whole record from the kernel and keeps what was not asked for: a program
that waits on the socket does not see it. Here the records are looked at in the kernel's buffer
(MSG_PEEK) and decrypted from there, and the caller says when they are done with: until then the
socket stays readable. The handshake and the records are `ssl`'s, over memory.
"""

from __future__ import annotations

import socket
import ssl
from typing import Any

from leveret.sync.locks import reentrant_lock

__all__ = ["TLSSocket"]

CHUNK = 65536
FAREWELL_SECONDS = 1.0
_PEEK = int(socket.MSG_PEEK)


class TLSSocket:
    """A connected TCP socket with TLS on it, for one reader at a time.

    What was decrypted cannot be decrypted again. So where a signal handler raises between that and
    the moment at which it is noted, reading ends there (`torn`).

    What is not here is looked for at the TLS object (`version`, `cipher`, `getpeercert`) and then
    at the TCP socket (`fileno`, `settimeout`, `setsockopt`, `getpeername`).

    Args:
        sock: the TCP socket.
        context: how to speak TLS.
        suppress_ragged_eofs: whether an end without a farewell is an ordinary end.

    Attributes:
        torn: what `peek` has given is not noted yet; who notes it says so here.
    """

    def __init__(
        self,
        sock: Any,
        context: ssl.SSLContext,
        *,
        server_side: bool = False,
        server_hostname: str | None = None,
        suppress_ragged_eofs: bool = True,
    ) -> None:
        self.tcp = sock
        self.context = context
        self._incoming = ssl.MemoryBIO()
        self._outgoing = ssl.MemoryBIO()
        self._tls = context.wrap_bio(
            self._incoming, self._outgoing, server_side=server_side, server_hostname=server_hostname
        )
        self._ragged = suppress_ragged_eofs
        self._lock = reentrant_lock()  # one TLS object is for one thread at a time
        self.torn = False
        self._plain = b""  # decrypted for read(), not yet given out

    def __getattr__(self, name: str) -> Any:
        if name.startswith("_") or name == "tcp":
            raise AttributeError(name)
        try:
            return getattr(self._tls, name)
        except AttributeError:
            return getattr(self.tcp, name)

    def fileno(self) -> int:
        """The file descriptor of the TCP socket."""
        number: int = self.tcp.fileno()
        return number

    def do_handshake(self) -> None:
        """Shake hands, within the timeout of the socket.

        Raises:
            OSError: the peer went away; ssl.SSLError: it is not the one, or does not speak TLS.
        """
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._flush()
                data = self.tcp.recv(CHUNK)
                if not data:
                    raise ssl.SSLEOFError(
                        ssl.SSL_ERROR_EOF, "the peer closed the connection in the TLS handshake"
                    ) from None
                self._incoming.write(data)
            except ssl.SSLError:
                try:
                    self._flush()  # the alert that tells the peer
                except OSError:
                    pass
                raise
            else:
                self._flush()
                return

    def _flush(self) -> None:
        if self._outgoing.pending:
            self.tcp.sendall(self._outgoing.read())

    def _decrypt(self) -> tuple[bytes, bool]:
        """What the records at hand hold, and whether the peer has said farewell."""
        parts = []
        ended = False
        with self._lock:
            try:
                while part := self._tls.read(CHUNK):
                    parts.append(part)
                ended = True
            except ssl.SSLWantReadError:
                pass
            except ssl.SSLZeroReturnError:
                ended = True
            if self._outgoing.pending:  # a key update wants an answer
                self.tcp.sendall(self._outgoing.read())
        return b"".join(parts), ended

    def peek(self) -> tuple[bytes, int]:
        """Wait for data, and leave it in the kernel.

        Returns:
            The plain bytes, empty at the end of the stream; and how many bytes in the kernel
            they were made of. Take these before the next call, and set `torn` to False.

        Raises:
            OSError: a signal handler has raised in the middle of reading.
        """
        if self.torn:
            raise OSError("a signal handler has raised in the middle of reading")
        self.torn = True
        plain, ended = self._decrypt()  # what came along with the handshake
        while not plain and not ended:
            self.torn = False
            data = self.tcp.recv(CHUNK, _PEEK)
            if not data:
                if not self._ragged:
                    raise ssl.SSLEOFError(ssl.SSL_ERROR_EOF, "the peer ended without a farewell")
                return b"", 0
            self.torn = True
            self._incoming.write(data)
            plain, ended = self._decrypt()
            if plain:
                return plain, len(data)
            self.consume(len(data))
        self.torn = bool(plain)
        return plain, 0

    def consume(self, size: int) -> None:
        """Take bytes from the kernel that `peek` has shown."""
        while size:
            size -= len(self.tcp.recv(size))

    def read(self, size: int = CHUNK, buffer: Any = None) -> bytes:
        """Up to `size` plain bytes; empty at the end of the stream."""
        if not self._plain:
            self._plain, behind = self.peek()
            self.consume(behind)
            self.torn = False
        data, self._plain = self._plain[:size], self._plain[size:]
        return data

    recv = read

    def pending(self) -> int:
        """How many plain bytes `read` gives without waiting."""
        return len(self._plain) + self._tls.pending()

    def write(self, data: Any) -> int:
        """Send all of `data`; how many bytes that was."""
        with self._lock:
            size = self._tls.write(data) if data else 0
            self._flush()
        return size

    send = write

    def sendall(self, data: Any) -> None:
        """Send all of `data`."""
        self.write(data)

    def unwrap(self) -> Any:
        """Say farewell, without waiting for the peer's; the TCP socket."""
        self.tcp.settimeout(FAREWELL_SECONDS)
        with self._lock:
            try:
                self._tls.unwrap()
            except (ssl.SSLError, ValueError):
                pass
            self._flush()
        return self.tcp

    def shutdown(self, how: int) -> None:
        """As of a TCP socket."""
        self.tcp.shutdown(how)

    def close(self) -> None:
        """Close the TCP socket."""
        self.tcp.close()
