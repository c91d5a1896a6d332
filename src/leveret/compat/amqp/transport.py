"""The socket: connecting, whole frames in, bytes out.

Reading is buffered, and yet a program that waits on the socket sees every frame: what has come is
looked at where it lies, in the kernel (MSG_PEEK), and decoded from there. It is taken from the
kernel at once but for its last byte, which stays until the last frame decoded is handed out: so
the socket is readable for as long as there is something to hand out, at the cost of two small
reads a batch. Only the beginning of an unfinished frame is kept here.

`next_item` is this buffered way, and gives what `wire` decodes; `read_frame` is py-amqp's, a frame
at a time as bytes, for who wants these. One connection uses one of them.
"""

from __future__ import annotations

import errno
import os
import re
import select
import socket
import ssl
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from ssl import SSLError
from struct import pack, unpack
from typing import Any

from leveret import wire
from leveret.exceptions import DecodeError

from .exceptions import ERROR_MAP, FrameError, UnexpectedFrame
from .platform import KNOWN_TCP_OPTS, SOL_TCP
from .tls import CHUNK, TLSSocket
from .utils import set_cloexec

__all__ = ["SSLTransport", "TCPTransport", "Transport", "to_host_port"]

AMQP_PORT = wire.DEFAULT_PORT
AMQP_PROTOCOL_HEADER = wire.PROTOCOL_HEADER
EMPTY_BUFFER = b""
SIGNED_INT_MAX = 0x7FFFFFFF
IPV6_LITERAL = re.compile(r"\[([\.0-9a-f:]+)\](?::(\d+))?")

DEFAULT_SOCKET_SETTINGS = {
    "TCP_NODELAY": 1,
    "TCP_USER_TIMEOUT": 1000,
    "TCP_KEEPIDLE": 60,
    "TCP_KEEPINTVL": 10,
    "TCP_KEEPCNT": 9,
}
_LINUX_USER_TIMEOUT = 18
_PEEK = int(socket.MSG_PEEK)

#: Not the end of a connection: nothing there, or interrupted.
_UNAVAIL = frozenset({errno.EAGAIN, errno.EINTR, errno.ENOENT, errno.EWOULDBLOCK})
_ENDED = "Server unexpectedly closed connection"  # oslo.messaging looks for these words


def to_host_port(host: str, default: int = AMQP_PORT) -> tuple[str, int]:
    """`host`, `host:port`, `[address]` or `[address]:port` as host and port."""
    literal = IPV6_LITERAL.match(host)
    if literal:
        return literal[1], int(literal[2] or default)
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon else (host, default)


class _AbstractTransport:
    """What TCP and TLS have in common.

    Args:
        host: `host[:port]`.
        connect_timeout: seconds, for each address and for the TLS handshake.
        read_timeout, write_timeout: seconds, as SO_RCVTIMEO and SO_SNDTIMEO.
        socket_settings: TCP options by their numbers.
        raise_on_initial_eintr: whether nothing there is socket.timeout, where a frame begins.
    """

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_items",
        "_needed",
        "_owed",
        "_pid",
        "_poll",
        "_read_buffer",
        "connect_timeout",
        "connected",
        "connection",
        "frame_max",
        "host",
        "port",
        "raise_on_initial_eintr",
        "read_timeout",
        "sock",
        "socket_settings",
        "write_timeout",
    )

    def __init__(
        self,
        host: str,
        connect_timeout: float | None = None,
        read_timeout: float | None = None,
        write_timeout: float | None = None,
        socket_settings: dict[int, Any] | None = None,
        raise_on_initial_eintr: bool = True,
        **kwargs: Any,
    ) -> None:
        self.connected = False
        self.sock: Any = None
        self.raise_on_initial_eintr = raise_on_initial_eintr
        self.host, self.port = to_host_port(host)
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.socket_settings = socket_settings
        self.frame_max = 0  # of frames received; 0 until the connection has agreed on one
        self._read_buffer = EMPTY_BUFFER  # the beginning of a frame
        self._needed = 8  # bytes without which decoding it gives nothing
        self._items: deque[wire.Item] = deque()  # decoded, not yet handed out
        self._owed = 0  # bytes of these that are still in the kernel
        self._poll: Any = None
        self._pid = os.getpid()

    def __repr__(self) -> str:
        name = type(self).__name__
        if not self.sock:
            return f"<{name}: (disconnected) at {id(self):#x}>"
        ends = f"{self._name('getsockname')} -> {self._name('getpeername')}"
        return f"<{name}: {ends} at {id(self):#x}>"

    def _name(self, which: str) -> str:
        try:
            host, port = getattr(self.sock, which)()[:2]
        except OSError as error:
            return f"ERROR: {error}"
        return f"{host}:{port}"

    # -- connecting ------------------------------------------------------------------------

    def connect(self) -> None:
        """Connect, and send the protocol header.

        Raises:
            OSError, ssl.SSLError: it did not work; nothing is left open.
        """
        if self.connected:
            return
        try:
            self._connect(self.host, self.port, self.connect_timeout)
            tcp = self.sock
            self._init_socket(self.socket_settings, self.read_timeout, self.write_timeout)
            self._poll = _poller(tcp)
            self.connected = True
        except OSError:
            if self.sock and not self.connected:
                self.sock.close()
                self.sock = None
            raise

    def _connect(self, host: str, port: int, timeout: float | None) -> None:
        addresses = socket.getaddrinfo(host, port, socket.AF_UNSPEC, socket.SOCK_STREAM, SOL_TCP)
        error: OSError | None = None
        for family, kind, protocol, _, address in addresses:
            self.sock = None
            try:
                self.sock = socket.socket(family, kind, protocol)
                try:
                    set_cloexec(self.sock, True)
                except NotImplementedError:
                    pass
                self.sock.settimeout(timeout)
                self.sock.connect(address)
            except OSError as failed:
                error = failed
                if self.sock is not None:
                    self.sock.close()
                self.sock = None
            else:
                self._pid = os.getpid()
                return
        raise error or OSError(f"no address for {host}")

    def _init_socket(
        self,
        socket_settings: dict[int, Any] | None,
        read_timeout: float | None,
        write_timeout: float | None,
    ) -> None:
        self.sock.settimeout(None)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        self._set_socket_options(socket_settings)
        for option, seconds in (
            (socket.SO_SNDTIMEO, write_timeout),
            (socket.SO_RCVTIMEO, read_timeout),
        ):
            if seconds is not None:
                whole = int(seconds)
                micros = int((seconds - whole) * 1_000_000)
                self.sock.setsockopt(socket.SOL_SOCKET, option, pack("ll", whole, micros))
        self._setup_transport()
        self._write(AMQP_PROTOCOL_HEADER)

    def _get_tcp_socket_defaults(self, sock: Any) -> dict[int, Any]:
        """The options set on every connection, by number; those that this system has."""
        options = {}
        for name in KNOWN_TCP_OPTS & DEFAULT_SOCKET_SETTINGS.keys():
            number = getattr(socket, name, None)
            if number is None and name == "TCP_USER_TIMEOUT":
                number = _LINUX_USER_TIMEOUT
            if number is not None:
                options[number] = DEFAULT_SOCKET_SETTINGS[name]
        return options

    def _set_socket_options(self, socket_settings: dict[int, Any] | None) -> None:
        options = self._get_tcp_socket_defaults(self.sock) | dict(socket_settings or {})
        for option, value in options.items():
            self.sock.setsockopt(SOL_TCP, option, value)

    def _setup_transport(self) -> None:
        """What a kind of transport does with a new socket."""

    def _shutdown_transport(self) -> None:
        """What a kind of transport does before its socket closes."""

    def close(self) -> None:
        """Close the socket. A child of fork() closes its copy alone, not the connection."""
        if self.sock is not None:
            if os.getpid() == self._pid:
                try:
                    self._shutdown_transport()
                except (OSError, ValueError):
                    pass
                try:  # what is on its way still arrives
                    self.sock.shutdown(socket.SHUT_RDWR)
                except OSError:
                    pass
            try:
                self.sock.close()
            except OSError:
                pass
            self.sock = None
        self._poll = None
        self.connected = False
        self._items.clear()
        self._owed = 0

    # -- reading ---------------------------------------------------------------------------

    @contextmanager
    def having_timeout(self, timeout: float | None) -> Iterator[Any]:
        """Other than the socket's own timeout for a while, in seconds; None leaves it.

        Raises:
            socket.timeout: whatever the socket or TLS calls it.
        """
        sock = self.sock
        if timeout is None:
            yield sock
            return
        previous = sock.gettimeout()
        if previous != timeout:
            sock.settimeout(timeout)
        try:
            yield sock
        except SSLError as error:
            words = str(error)
            if "timed out" in words or "The operation did not complete" in words:
                raise TimeoutError(words) from None
            raise
        except OSError as error:
            if error.errno == errno.EWOULDBLOCK:
                raise TimeoutError(str(error)) from None
            raise
        finally:
            if previous != timeout:
                sock.settimeout(previous)

    def next_item(self, timeout: float | None = None) -> wire.Item:
        """The next message, method or frame.

        Args:
            timeout: seconds; None for the socket's own.

        Raises:
            socket.timeout: it did not come; what has come of it is kept.
            OSError: the connection has ended.
            UnexpectedFrame, FrameError: malformed bytes.
        """
        items = self._items
        if not items:
            if timeout is None:
                self._fill()
            elif timeout == 0 and self.is_idle():
                raise TimeoutError("nothing has come")
            else:
                with self.having_timeout(timeout):
                    self._fill()
        item = items.popleft()
        if not items and self._owed:
            self._pay()
        return item

    def is_idle(self) -> bool:
        """Whether nothing has come, not even the end; False where that is not cheap to know."""
        return self._poll is not None and not self._items and not self._poll.poll(0)

    def _pay(self) -> None:
        owed, self._owed = self._owed, 0
        try:
            self._consume(owed)
        except OSError:  # reset since: the next read says so
            pass

    def _fill(self) -> None:
        """Wait until there is an item, at least."""
        while True:
            held = self._read_buffer
            if self._needed <= len(held):
                if self._decode(held, 0):
                    return
                held = self._read_buffer
            try:
                data, behind = self._receive(self._needed - len(held) if held else 0)
            except OSError as error:
                if error.errno in (errno.EAGAIN, errno.EINTR):
                    if held or self.raise_on_initial_eintr or self.sock.gettimeout() == 0:
                        raise TimeoutError(str(error)) from None
                    continue
                if not isinstance(error, TimeoutError):
                    self.connected = False
                raise
            if not data:
                self.connected = False
                raise OSError(_ENDED)
            if self._decode(held + data if held else data, behind):
                return

    def _decode(self, data: bytes, behind: int) -> bool:
        """Decode what is whole in `data`, of which the last `behind` bytes are in the kernel too.

        Returns:
            Whether there are items now.
        """
        try:
            items, position, self._needed = wire.decode_frames(data, 0, self.frame_max)
        except DecodeError as error:
            self._keep(data, behind)
            raise _peer_error(error) from error
        if len(items) > 1 and behind:
            self._owed = 1
            behind -= 1
        self._items.extend(items)
        self._keep(data[position:] if position else data, behind)
        return bool(items)

    def _keep(self, rest: bytes, behind: int) -> None:
        self._read_buffer = rest
        if behind:
            try:
                self._consume(behind)
            except OSError:
                pass  # as in _pay

    def _receive(self, missing: int) -> tuple[bytes, int]:
        """Wait for bytes.

        Args:
            missing: to the end of the frame that has begun, as far as is known; 0 for none.

        Returns:
            The bytes, and how many of them are still in the kernel, to be taken by `_consume`.
        """
        raise NotImplementedError

    def _consume(self, size: int) -> None:
        raise NotImplementedError

    def read_frame(self, unpack: Any = unpack) -> tuple[int, int, bytes]:
        """One frame: type, channel, payload.

        Raises:
            socket.timeout: it did not come; what has come of it is kept.
            OSError: the connection has ended.
            UnexpectedFrame: it does not end as a frame ends.
        """
        if self._items:
            raise RuntimeError("read_frame() where messages were read already: use one of the two")
        taken = EMPTY_BUFFER
        try:
            header = self._read(7, True)
            taken += header
            kind, channel, size = unpack(">BHI", header)
            payload = EMPTY_BUFFER
            while size > SIGNED_INT_MAX:  # what one recv() can be asked for
                part = self._read(SIGNED_INT_MAX)
                taken += part
                payload += part
                size -= SIGNED_INT_MAX
            rest = self._read(size)
            taken += rest
            payload = payload + rest if payload else rest
            end = ord(self._read(1))
        except TimeoutError:
            self._read_buffer = taken + self._read_buffer
            raise
        except OSError as error:
            windows = os.name == "nt" and error.errno == errno.EWOULDBLOCK
            if windows or (isinstance(error, SSLError) and "timed out" in str(error)):
                self._read_buffer = taken + self._read_buffer
                raise TimeoutError(str(error)) from None
            if error.errno not in _UNAVAIL:
                self.connected = False
            raise
        if end != wire.FRAME_END:
            raise UnexpectedFrame(f"Received frame_end {end:#04x} while expecting 0xce")
        return kind, channel, payload

    def _read(self, n: int, initial: bool = False) -> bytes:
        """Exactly `n` bytes, for `read_frame`; what came before an error is kept."""
        parts = [self._read_buffer]
        have = len(self._read_buffer)
        try:
            while have < n:
                try:
                    data = self._quick_recv(n - have)
                except OSError as error:
                    if error.errno not in (errno.EAGAIN, errno.EINTR, errno.ENOENT):
                        raise
                    if initial and self.raise_on_initial_eintr:
                        raise TimeoutError(str(error)) from None
                    continue
                if not data:
                    raise OSError(_ENDED)
                parts.append(data)
                have += len(data)
        except BaseException:
            self._read_buffer = b"".join(parts)
            raise
        whole = b"".join(parts)
        self._read_buffer = whole[n:]
        return whole[:n]

    def _quick_recv(self, n: int) -> bytes:
        raise NotImplementedError

    # -- writing ---------------------------------------------------------------------------

    def write(self, s: Any) -> None:
        """Send all of `s`.

        Raises:
            OSError: it was not sent, or not all of it: the connection is of no more use.
        """
        try:
            self._write(s)
        except TimeoutError:
            self.connected = False  # half a frame may have left
            raise
        except OSError as error:
            if error.errno not in _UNAVAIL or self.write_timeout is not None:
                self.connected = False
            raise

    def _write(self, s: Any) -> None:
        raise NotImplementedError


def _poller(sock: Any) -> Any:
    """What tells in half a microsecond whether a socket is readable; None for sockets of gevent
    and eventlet, which want to be asked themselves.
    """
    if getattr(type(sock), "recv", None) is not socket.SocketType.recv or not hasattr(
        select, "poll"
    ):
        return None
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return poller


def _peer_error(error: DecodeError) -> Exception:
    if "end of the frame" in error.message:
        return UnexpectedFrame(
            f"Received frame_end {error.message.split()[0]} while expecting 0xce"
        )
    if "frame type" in error.message:
        return UnexpectedFrame(str(error))
    kind = ERROR_MAP.get(error.reply_code, FrameError)
    return kind(str(error), (error.class_id, error.method_id), reply_code=error.reply_code)


class TCPTransport(_AbstractTransport):
    """Plain TCP. The arguments are `_AbstractTransport`'s."""

    def _setup_transport(self) -> None:
        self._write = self.sock.sendall  # type: ignore[method-assign]
        self._quick_recv = self.sock.recv  # type: ignore[method-assign]
        self._read_buffer = EMPTY_BUFFER

    def _receive(self, missing: int) -> tuple[bytes, int]:
        if missing:
            return self.sock.recv(min(missing, 1 << 20)), 0
        data = self.sock.recv(CHUNK, _PEEK)
        return data, len(data)

    def _consume(self, size: int) -> None:
        recv = self.sock.recv
        while size:
            taken = len(recv(size))
            if not taken:
                return
            size -= taken


class SSLTransport(_AbstractTransport):
    """TLS over TCP.

    Args:
        ssl: a dictionary of options, those of `_wrap_socket_sni`, or `{"context": {...}}` with
            those of `_wrap_context`; anything else for none. Certificates and host names are
            checked as py-amqp does: only where the options say so.
        kwargs: `_AbstractTransport`'s.
    """

    __slots__ = ("sslopts",)

    def __init__(
        self, host: str, connect_timeout: float | None = None, ssl: Any = None, **kwargs: Any
    ) -> None:
        self.sslopts = ssl if isinstance(ssl, dict) else {}
        super().__init__(host, connect_timeout=connect_timeout, **kwargs)

    def _setup_transport(self) -> None:
        self.sock = self._wrap_socket(self.sock, **self.sslopts)
        self.sock.settimeout(self.connect_timeout)
        self.sock.do_handshake()
        self.sock.settimeout(None)
        self._quick_recv = self.sock.read  # type: ignore[method-assign]
        self._read_buffer = EMPTY_BUFFER

    def _wrap_socket(self, sock: Any, context: Any = None, **sslopts: Any) -> Any:
        if context:
            return self._wrap_context(sock, sslopts, **context)
        return self._wrap_socket_sni(sock, **sslopts)

    def _wrap_context(
        self, sock: Any, sslopts: dict[str, Any], check_hostname: Any = None, **ctx_options: Any
    ) -> Any:
        """TLS by `ssl.create_default_context(**ctx_options)`."""
        context = ssl.create_default_context(**ctx_options)
        context.check_hostname = bool(check_hostname)
        sslopts.pop("do_handshake_on_connect", None)
        return TLSSocket(sock, context, **sslopts)

    def _wrap_socket_sni(
        self,
        sock: Any,
        keyfile: str | None = None,
        certfile: str | None = None,
        server_side: bool = False,
        cert_reqs: ssl.VerifyMode | None = None,
        ca_certs: str | None = None,
        do_handshake_on_connect: bool = False,
        suppress_ragged_eofs: bool = True,
        server_hostname: str | None = None,
        ciphers: str | None = None,
        ssl_version: Any = None,
        tls_maximum_version: ssl.TLSVersion | None = None,
        tls_minimum_version: ssl.TLSVersion | None = None,
    ) -> Any:
        """TLS by single options; the host name is checked where `server_hostname` is given."""
        if ssl_version is None:
            ssl_version = ssl.PROTOCOL_TLS_SERVER if server_side else ssl.PROTOCOL_TLS_CLIENT
        context = ssl.SSLContext(ssl_version)
        if tls_maximum_version is not None:
            context.maximum_version = tls_maximum_version
        if tls_minimum_version is not None:
            context.minimum_version = tls_minimum_version
        if certfile is not None:
            context.load_cert_chain(certfile, keyfile)
        if ca_certs is not None:
            context.load_verify_locations(ca_certs)
        if ciphers is not None:
            context.set_ciphers(ciphers)
        context.check_hostname = ssl.HAS_SNI and server_hostname is not None
        if cert_reqs is not None:
            context.verify_mode = cert_reqs
        if ca_certs is None and context.verify_mode != ssl.CERT_NONE:
            purpose = ssl.Purpose.CLIENT_AUTH if server_side else ssl.Purpose.SERVER_AUTH
            context.load_default_certs(purpose)
        return TLSSocket(
            sock,
            context,
            server_side=server_side,
            server_hostname=server_hostname,
            suppress_ragged_eofs=suppress_ragged_eofs,
        )

    def _shutdown_transport(self) -> None:
        if self.sock is not None:
            self.sock = self.sock.unwrap()

    def _receive(self, missing: int) -> tuple[bytes, int]:
        data, behind = self.sock.peek()
        return data, behind

    def _consume(self, size: int) -> None:
        self.sock.consume(size)

    def _write(self, s: Any) -> None:
        while s:
            try:
                sent = self.sock.write(s)
            except ValueError:
                sent = 0
            if not sent:
                raise OSError("Socket closed")  # oslo.messaging looks for these words
            s = s[sent:]


def Transport(
    host: str, connect_timeout: float | None = None, ssl: Any = False, **kwargs: Any
) -> _AbstractTransport:
    """A TLS transport where `ssl` is true, else a TCP one; the arguments are theirs."""
    kind = SSLTransport if ssl else TCPTransport
    return kind(host, connect_timeout=connect_timeout, ssl=ssl, **kwargs)
