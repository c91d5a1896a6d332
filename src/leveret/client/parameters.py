"""How to connect: RabbitMQ's URIs, keyword arguments, and their defaults.

The grammar is RabbitMQ's "URI Specification" and "URI Query Parameters": `amqp` or `amqps`,
percent-encoding in user, password, host and virtual host, IPv6 addresses in brackets. A missing
path leaves the virtual host to the default, `/`; a path of a single slash names the virtual host
with the empty name. Hardly a broker has that one, and most who write `amqp://host/` mean `/`:
where the broker answers that there is no virtual host ``, connecting goes on with `/`.

Keyword arguments win over the query, the query over the defaults.
"""

from __future__ import annotations

import re
import ssl
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from os import PathLike
from typing import TypeAlias, TypedDict, cast
from urllib.parse import parse_qsl, unquote_to_bytes, urlsplit

from ..exceptions import ConfigurationError
from ..protocol import ClientOptions, Credentials
from ..wire import DEFAULT_PORT, TLS_PORT

__all__ = ["CredentialsSource", "Options", "Parameters", "parse_url"]

CredentialsSource: TypeAlias = (
    Credentials
    | tuple[str, str]
    | Callable[[], "Credentials | tuple[str, str] | Awaitable[Credentials | tuple[str, str]]"]
)
"""Credentials, a (user, password) pair, or a callable that gives one, called at each connect;
for the asyncio client it may be a coroutine function."""

DEFAULT_URL = "amqp://guest:guest@localhost:5672/%2F"


class Options(TypedDict, total=False):
    """The keyword arguments of `connect`; see `Parameters`."""

    virtual_host: str
    credentials: CredentialsSource
    mechanisms: tuple[str, ...]
    heartbeat: int | None
    channel_max: int
    frame_max: int
    connect_timeout: float
    timeout: float
    name: str
    client_properties: Mapping[str, object]
    ssl_context: ssl.SSLContext | None
    cacertfile: str | None
    certfile: str | None
    keyfile: str | None
    verify: bool
    server_hostname: str | None


_NONE = type(None)
_KINDS: dict[str, tuple[tuple[type, ...], str]] = {
    "host": ((str,), "str"),
    "port": ((int,), "int"),
    "virtual_host": ((str,), "str"),
    "heartbeat": ((int, _NONE), "int (seconds) or None"),
    "channel_max": ((int,), "int"),
    "frame_max": ((int,), "int"),
    "connect_timeout": ((int, float), "int or float (seconds)"),
    "timeout": ((int, float), "int or float (seconds)"),
    "name": ((str,), "str"),
    "client_properties": ((Mapping,), "a mapping"),
    "ssl_context": ((ssl.SSLContext, _NONE), "ssl.SSLContext or None"),
    "cacertfile": ((str, PathLike, _NONE), "str or None"),
    "certfile": ((str, PathLike, _NONE), "str or None"),
    "keyfile": ((str, PathLike, _NONE), "str or None"),
    "verify": ((bool,), "bool"),
    "server_hostname": ((str, _NONE), "str or None"),
}


@dataclass(frozen=True, slots=True)
class Parameters:
    """Everything that a connection needs to know.

    Attributes:
        host, port: where; port 5672, with TLS 5671.
        tls: whether to speak TLS.
        virtual_host: its name, not percent-encoded.
        credentials: see `CredentialsSource`.
        mechanisms: SASL mechanisms to try, best first.
        heartbeat: seconds; None takes the broker's proposal, 0 switches heartbeats off.
        channel_max, frame_max: limits to ask for; 0 takes the broker's.
        connect_timeout: seconds for the whole of connecting, all addresses together.
        timeout: seconds, the default of every operation that waits.
        name: the connection's name in the broker's lists (`connection_name`).
        client_properties: more of what the broker shows.
        ssl_context: how to speak TLS; the files and `verify` are not looked at then.
        cacertfile: PEM file of the authorities to trust; None trusts the system's.
        certfile, keyfile: PEM files of the client's certificate and key.
        verify: whether the chain and the host name must be right.
        server_hostname: the name that the certificate must have; None means the host.
    """

    host: str = "localhost"
    port: int = DEFAULT_PORT
    tls: bool = False
    virtual_host: str = "/"
    credentials: CredentialsSource = field(default_factory=Credentials, repr=False)
    mechanisms: tuple[str, ...] = ("PLAIN", "AMQPLAIN")
    heartbeat: int | None = None
    channel_max: int = 0
    frame_max: int = 0
    connect_timeout: float = 15.0
    timeout: float = 30.0
    name: str = ""
    client_properties: Mapping[str, object] = field(default_factory=dict, repr=False)
    ssl_context: ssl.SSLContext | None = field(default=None, repr=False)
    cacertfile: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    verify: bool = True
    server_hostname: str | None = None

    def __post_init__(self) -> None:
        for name, (kinds, expected) in _KINDS.items():
            value = getattr(self, name)
            if not isinstance(value, kinds) or (isinstance(value, bool) and bool not in kinds):
                raise ConfigurationError(
                    f"{name} is of type {type(value).__name__}: expected {expected}"
                )
        for name in ("connect_timeout", "timeout"):
            value = getattr(self, name)
            if not value > 0:
                raise ConfigurationError(f"{name} is {value!r}: expected seconds, more than 0")
        if not 0 < self.port < 65536:
            raise ConfigurationError(f"port is {self.port}: expected 1 to 65535")
        if self.keyfile and not self.certfile:
            raise ConfigurationError("keyfile is given without certfile")
        self.client_options(Credentials(mechanisms=self.mechanisms))  # its own checks

    def client_options(self, credentials: Credentials) -> ClientOptions:
        """What the protocol needs to know, with the credentials of this connect."""
        properties: dict[str, object] = {
            "product": "Leveret",
            "platform": "Python",
            **self.client_properties,
        }
        if self.name:
            properties["connection_name"] = self.name
        return ClientOptions(
            credentials=credentials,
            virtual_host=self.virtual_host,
            heartbeat=self.heartbeat,
            channel_max=self.channel_max,
            frame_max=self.frame_max,
            client_properties=properties,
        )

    def with_mechanisms(self, credentials: Credentials | tuple[str, str]) -> Credentials:
        """Credentials as a source gave them, with these parameters' mechanisms."""
        if isinstance(credentials, Credentials):
            return credentials
        if isinstance(credentials, tuple) and len(credentials) == 2:
            return Credentials(*credentials, mechanisms=self.mechanisms)
        raise ConfigurationError(
            f"credentials are a {type(credentials).__name__}: "
            "expected Credentials or a pair (user, password)"
        )

    def make_ssl_context(self) -> ssl.SSLContext | None:
        """How to speak TLS: None where it is not wanted. Reads the certificate files.

        Raises:
            ConfigurationError: a file cannot be read or is no certificate or key.
        """
        if not self.tls:
            return None
        if self.ssl_context is not None:
            return self.ssl_context
        try:
            context = ssl.create_default_context(cafile=self.cacertfile)
            if self.certfile:
                context.load_cert_chain(self.certfile, self.keyfile)
        except (OSError, ssl.SSLError) as error:
            files = ", ".join(
                f"{name}={getattr(self, name)!r}"
                for name in ("cacertfile", "certfile", "keyfile")
                if getattr(self, name)
            )
            raise ConfigurationError(f"cannot use {files}: {error}") from error
        if not self.verify:
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE
        return context


def parse_url(url: str = DEFAULT_URL, **options: object) -> Parameters:
    """Parameters from a URL and keyword arguments.

    Args:
        url: `amqp[s]://[user[:password]@][host][:port][/vhost][?key=value&...]` with the keys
            heartbeat (s), connection_timeout (ms), channel_max, frame_max, cacertfile, certfile,
            keyfile, verify (verify_peer or verify_none), server_name_indication and
            auth_mechanism (may be repeated).
        options: the fields of `Parameters`, by name; they win over the URL.

    Raises:
        ConfigurationError: not such a URL, or a value out of its range; says which part. The
            message never holds the password.
    """
    fields = _parse(url)
    for name, value in options.items():
        if name not in Options.__annotations__:
            raise ConfigurationError(
                f"unknown option {name!r}: expected one of {', '.join(Options.__annotations__)}"
            )
        fields[name] = value
    mechanisms = fields.get("mechanisms")
    if mechanisms is not None:
        names: tuple[object, ...] = ()
        is_iterable = isinstance(mechanisms, Iterable) and not isinstance(mechanisms, str)
        if is_iterable:
            names = tuple(cast("Iterable[object]", mechanisms))
        if not is_iterable or not all(isinstance(name, str) for name in names):
            raise ConfigurationError(
                f"mechanisms is of type {type(mechanisms).__name__}: expected a tuple of str"
            )
        fields["mechanisms"] = names
    if fields.get("ssl_context") is not None and not fields["tls"]:
        raise ConfigurationError("ssl_context is given, but the URL is amqp://: expected amqps://")
    user_password = fields.pop("user_password")
    if "credentials" not in fields:
        fields["credentials"] = user_password
    return Parameters(**fields)  # type: ignore[arg-type]


def _shown(url: str) -> str:
    """What is not a URL, for an error: as it is only where it cannot hold a password."""
    return repr(url) if re.fullmatch(r"[\w.-]*(:\d{1,5})?(/[\w.-]*)?", url) else "something else"


def _parse(url: str) -> dict[str, object]:
    if not isinstance(url, str):
        raise ConfigurationError(f"URL is of type {type(url).__name__}: expected str")
    if "://" not in url:
        raise ConfigurationError(
            f"URL: expected amqp://[user:password@]host[:port][/vhost], got {_shown(url)}"
        )
    try:
        parts = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"not a usable URL: {error}") from None
    try:
        port = parts.port
    except ValueError:  # whose words may hold a password, of a URL without a host
        raise ConfigurationError(
            "not a usable URL: the port is not a number from 0 to 65535"
        ) from None
    if parts.scheme not in ("amqp", "amqps"):
        raise ConfigurationError(f"URL scheme is {parts.scheme!r}: expected 'amqp' or 'amqps'")
    if parts.fragment:
        raise ConfigurationError("URL has a fragment (#...): write '#' in a password as %23")
    if "/" in parts.path[1:]:
        raise ConfigurationError(
            "URL path has more than one segment: write '/' in a virtual host's name as %2F"
        )
    tls = parts.scheme == "amqps"
    userinfo, _, address = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    host = address[: address.index("]") + 1] if "]" in address else address.partition(":")[0]
    fields: dict[str, object] = {
        "host": _unquote("host", host.strip("[]")) or "localhost",
        "port": (TLS_PORT if tls else DEFAULT_PORT) if port is None else port,
        "tls": tls,
        "user_password": (
            _unquote("user", user) if userinfo else "guest",
            _unquote("password", password) if colon or userinfo else "guest",
        ),
    }
    if parts.path:
        fields["virtual_host"] = _unquote("virtual host", parts.path[1:])
    fields.update(_parse_query(parts.query))
    return fields


def _unquote(what: str, text: str) -> str:
    try:
        return unquote_to_bytes(text).decode("utf-8")
    except UnicodeDecodeError:
        raise ConfigurationError(f"the URL's {what} is not UTF-8 after percent-decoding") from None


def _integer(name: str, text: str) -> int:
    if not (text.isascii() and text.isdigit()):
        raise ConfigurationError(f"URL parameter {name} is {text!r}: expected a whole number")
    return int(text)


def _milliseconds(name: str, text: str) -> float:
    return _integer(name, text) / 1000


def _text(name: str, text: str) -> str:
    return text


def _verify(name: str, text: str) -> bool:
    if text not in ("verify_peer", "verify_none"):
        raise ConfigurationError(
            f"URL parameter {name} is {text!r}: expected verify_peer or verify_none"
        )
    return text == "verify_peer"


_QUERY: dict[str, tuple[str, Callable[[str, str], object]]] = {
    "cacertfile": ("cacertfile", _text),
    "certfile": ("certfile", _text),
    "channel_max": ("channel_max", _integer),
    "connection_timeout": ("connect_timeout", _milliseconds),
    "frame_max": ("frame_max", _integer),
    "heartbeat": ("heartbeat", _integer),
    "keyfile": ("keyfile", _text),
    "server_name_indication": ("server_hostname", _text),
    "verify": ("verify", _verify),
}


def _parse_query(query: str) -> dict[str, object]:
    fields: dict[str, object] = {}
    mechanisms: list[str] = []
    for key, value in parse_qsl(query, keep_blank_values=True):
        if key == "auth_mechanism":
            mechanisms.append(value.upper())
        elif key in _QUERY:
            name, convert = _QUERY[key]
            fields[name] = convert(key, value)
        else:
            known = ", ".join([*_QUERY, "auth_mechanism"])
            raise ConfigurationError(f"unknown URL parameter {key!r}: expected one of {known}")
    if mechanisms:
        fields["mechanisms"] = tuple(mechanisms)
    return fields

