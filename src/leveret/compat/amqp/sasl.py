"""How a client says who it is. A mechanism is an object with a name and a first response.

The responses of PLAIN and AMQPLAIN are `protocol.Credentials`'.
"""

from __future__ import annotations

import socket
import warnings
from typing import Any

from leveret.protocol import Credentials

__all__ = ["AMQPLAIN", "EXTERNAL", "GSSAPI", "PLAIN", "RAW", "SASL"]


class SASL:
    """The base of all mechanisms."""

    @property
    def mechanism(self) -> Any:
        """The name, as bytes; None for one that cannot be used."""
        raise NotImplementedError

    def start(self, connection: Any) -> Any:
        """The first response, as bytes; NotImplemented to have another mechanism tried."""
        raise NotImplementedError


class _Password(SASL):
    """What needs a user name and a password."""

    __slots__ = ("password", "username")

    def __init__(self, username: Any, password: Any) -> None:
        self.username, self.password = username, password

    def start(self, connection: Any) -> Any:
        if self.username is None or self.password is None:
            return NotImplemented
        return Credentials(self.username, self.password).response(self.mechanism.decode())


class PLAIN(_Password):
    """RFC 4616."""

    __slots__ = ()
    mechanism = b"PLAIN"


class AMQPLAIN(_Password):
    """The same in a field table."""

    __slots__ = ()
    mechanism = b"AMQPLAIN"


class EXTERNAL(SASL):
    """Someone else has asked already: the certificate of a TLS connection."""

    mechanism = b"EXTERNAL"

    def start(self, connection: Any) -> bytes:
        return b""


class RAW(SASL):
    """A name and a response as they are given."""

    mechanism: Any = None

    def __init__(self, mechanism: bytes, response: bytes) -> None:
        for value in (mechanism, response):
            if not isinstance(value, bytes):
                raise AssertionError(f"expected bytes, not {type(value).__name__}")
        self.mechanism, self.response = mechanism, response
        warnings.warn(
            "login_method with login_response is deprecated: pass a SASL object as authentication",
            DeprecationWarning,
            stacklevel=2,
        )

    def start(self, connection: Any) -> bytes:
        return self.response


class _NoGSSAPI(SASL):
    """In the place of GSSAPI where the `gssapi` module is missing."""

    mechanism = None

    def __init__(
        self,
        client_name: Any = None,
        service: bytes = b"amqp",
        rdns: bool = False,
        fail_soft: bool = False,
    ) -> None:
        if not fail_soft:
            raise NotImplementedError("GSSAPI needs the module `gssapi`: pip install gssapi")

    def start(self, connection: Any = None) -> Any:
        return NotImplemented


def _get_gssapi_mechanism() -> type[SASL]:
    try:
        import gssapi
        import gssapi.raw.misc
    except ImportError:
        return _NoGSSAPI

    class GSSAPI(SASL):
        """RFC 4752.

        Args:
            client_name: whose credentials; the default ones without it.
            service: of the broker.
            rdns: ask the name service for the broker's name.
            fail_soft: let another mechanism be tried where this one fails.
        """

        __slots__ = ("client_name", "fail_soft", "rdns", "service")
        mechanism = b"GSSAPI"

        def __init__(
            self,
            client_name: Any = None,
            service: bytes = b"amqp",
            rdns: bool = False,
            fail_soft: bool = False,
        ) -> None:
            self.client_name = _ascii(client_name) if client_name else client_name
            self.service = service
            self.rdns = rdns
            self.fail_soft = fail_soft

        def get_hostname(self, connection: Any) -> bytes:
            """The broker's name, as the service ticket has it."""
            sock = connection.transport.sock
            if self.rdns and sock.family in (socket.AF_INET, socket.AF_INET6):
                return _ascii(socket.gethostbyaddr(sock.getpeername()[0])[0])
            return _ascii(connection.transport.host)

        def start(self, connection: Any) -> Any:
            try:
                credentials = None
                if self.client_name:
                    credentials = gssapi.Credentials(name=gssapi.Name(self.client_name))
                service = b"@".join([self.service, self.get_hostname(connection)])
                name = gssapi.Name(service, gssapi.NameType.hostbased_service)
                return gssapi.SecurityContext(name=name, creds=credentials).step(None)
            except gssapi.raw.misc.GSSError:
                if self.fail_soft:
                    return NotImplemented
                raise

    return GSSAPI


def _ascii(text: Any) -> bytes:
    return text if isinstance(text, bytes) else text.encode("ascii")


GSSAPI: Any = _get_gssapi_mechanism()
