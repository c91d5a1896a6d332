"""The socket: connecting, TCP and TLS, bytes out. How bytes come in stands in `reading`."""

from __future__ import annotations

import _socket
import os
import re
import select
import socket
import ssl
from ssl import SSLError
from struct import pack
from typing import Any

from leveret import wire

from .platform import KNOWN_TCP_OPTS, SOL_TCP
from .reading import EMPTY_BUFFER, SIGNED_INT_MAX, UNAVAILABLE, Reader
from .tls import CHUNK, TLSSocket
from .utils import set_cloexec

__all__ = [
    "SIGNED_INT_MAX",
    "SSLError",
    "SSLTransport",
    "TCPTransport",
    "Transport",
    "to_host_port",
]

AMQP_PORT = wire.DEFAULT_PORT
AMQP_PROTOCOL_HEADER = wire.PROTOCOL_HEADER
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



def to_host_port(host: str, default: int = AMQP_PORT) -> tuple[str, int]:
    """`host`, `host:port`, `[address]` or `[address]:port` as host and port."""
    literal = IPV6_LITERAL.match(host)
    if literal:
        return literal[1], int(literal[2] or default)
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon else (host, default)


class _AbstractTransport(Reader):
    """What TCP and TLS have in common.

    Args:
        host: `host[:port]`.
        connect_timeout: seconds, for each address and for the TLS handshake.
        read_timeout, write_timeout: seconds, as SO_RCVTIMEO and SO_SNDTIMEO.
        socket_settings: TCP options by their numbers.
        raise_on_initial_eintr: whether nothing there is socket.timeout, where a frame begins.
    """

    __slots__ = (
        "_pid",
        "connect_timeout",
        "connection",
        "host",
        "port",
        "read_timeout",
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
        super().__init__(raise_on_initial_eintr)
        self.host, self.port = to_host_port(host)
        self.connect_timeout = connect_timeout
        self.read_timeout = read_timeout
        self.write_timeout = write_timeout
        self.socket_settings = socket_settings
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
            self._init_socket(self.socket_settings, self.read_timeout, self.write_timeout)
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
        self._items = []
        self._left = 0
        self._owed = 0
        self._paid = []
        self._arrived = []

    # -- writing ---------------------------------------------------------------------------

    def write(self, s: Any) -> None:
        """Send all of `s`.

        Raises:
            OSError: it was not sent, or not all of it: the connection is of no more use.
        """
        try:
            self._write(s)
        except BaseException as error:
            self.failed_to_write(error)
            raise

    def failed_to_write(self, error: BaseException) -> None:
        """What an error of `_write`, or of a signal handler in it, means for the connection."""
        half_sent = isinstance(error, TimeoutError) or self.write_timeout is not None
        if half_sent or not isinstance(error, OSError) or error.errno not in UNAVAILABLE:
            self.connected = False

    def _write(self, s: Any) -> None:
        raise NotImplementedError


def _poller(sock: Any) -> Any:
    """What tells in half a microsecond whether a socket is readable; None for sockets of gevent
    and eventlet, which want to be asked themselves.
    """
    plain = getattr(type(sock), "recv", None) is _socket.socket.recv  # no patch reaches this one
    if not plain or not hasattr(select, "poll"):
        return None
    poller = select.poll()
    poller.register(sock.fileno(), select.POLLIN)
    return poller


class TCPTransport(_AbstractTransport):
    """Plain TCP. The arguments are `_AbstractTransport`'s."""

    _polls_alone = True

    def _setup_transport(self) -> None:
        self._poll = _poller(self.sock)
        self._write = self.sock.sendall  # type: ignore[method-assign]
        self._kernel_recv = self._quick_recv = self.sock.recv  # type: ignore[method-assign]
        self._read_buffer = EMPTY_BUFFER

    def _receive(self, missing: int) -> tuple[bytes, int]:
        if missing:
            arrived = self._arrived
            arrived.extend(map(self._kernel_recv, (min(missing, 1 << 20),)))
            return arrived[0], 0
        data = self._kernel_recv(CHUNK, _PEEK)
        return data, len(data)


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
        self._poll = _poller(self.sock)
        self._kernel_recv = self.sock.recv
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

    def _decode(self, data: bytes, behind: int) -> bool:
        found = super()._decode(data, behind)
        self.sock.torn = False
        return found

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
