"""SASL mechanisms of RabbitMQ, both roles (RabbitMQ, "Access Control": "Authentication").

The client offers mechanisms in its own order of preference and takes the first that the server
lists. A mechanism here is one answer, for none of RabbitMQ's needs a second round; a challenge
is answered with the same response.
"""

from __future__ import annotations

from collections.abc import Sequence

from .. import wire
from ..exceptions import ConfigurationError, DecodeError, RemoteProtocolError

__all__ = ["MECHANISMS", "Credentials", "choose_mechanism", "parse_response"]

MECHANISMS = ("EXTERNAL", "PLAIN", "AMQPLAIN", "ANONYMOUS")


class Credentials:
    """A user name and a password; the password is in no repr.

    Args:
        username: the user; empty for EXTERNAL, where the certificate names it.
        password: the password or token.
        mechanisms: the SASL mechanisms to try, best first; out of `MECHANISMS`.

    Raises:
        ConfigurationError: an unknown mechanism.
    """

    __slots__ = ("mechanisms", "password", "username")

    def __init__(
        self,
        username: str = "guest",
        password: str = "guest",
        mechanisms: Sequence[str] = ("PLAIN", "AMQPLAIN"),
    ) -> None:
        chosen = tuple(name.upper() for name in mechanisms)
        for name in chosen:
            if name not in MECHANISMS:
                raise ConfigurationError(
                    f"unknown authentication mechanism {name!r}: "
                    f"expected one of {', '.join(MECHANISMS)}"
                )
        if not chosen:
            raise ConfigurationError("no authentication mechanism given")
        for what, value in (("user name", username), ("password", password)):
            if "PLAIN" in chosen and "\0" in value:
                raise ConfigurationError(f"the {what} has a NUL, which PLAIN cannot send")
            try:
                value.encode()
            except UnicodeEncodeError:
                raise ConfigurationError(f"the {what} is not a text that UTF-8 can hold") from None
        self.username = username
        self.password = password
        self.mechanisms = chosen

    def __repr__(self) -> str:
        return f"Credentials(username={self.username!r}, password='<hidden>')"

    def response(self, mechanism: str) -> bytes:
        """The response to send for `mechanism`.

        PLAIN is RFC 4616; AMQPLAIN is a field table without its length (RabbitMQ's definition);
        EXTERNAL sends an empty authorisation identity, ANONYMOUS (RFC 4505) no trace.
        """
        if mechanism == "PLAIN":
            return f"\0{self.username}\0{self.password}".encode()
        if mechanism == "AMQPLAIN":
            return wire.encode_table({"LOGIN": self.username, "PASSWORD": self.password})[4:]
        return b""


def choose_mechanism(offered: bytes, wanted: Sequence[str]) -> str:
    """The first of `wanted` that the server offers.

    Args:
        offered: connection.start's `mechanisms`, names separated by spaces.
        wanted: names, best first.

    Raises:
        ConfigurationError: none in common; names both lists.
    """
    names = offered.decode("ascii", "replace").split()
    for name in wanted:
        if name in names:
            return name
    raise ConfigurationError(
        f"no authentication mechanism in common: this client is set to {', '.join(wanted)}, "
        f"the server offers {', '.join(names) or 'none'}"
    )


def parse_response(mechanism: str, response: bytes) -> Credentials:
    """Server role: the credentials in a start-ok.

    Args:
        mechanism: PLAIN, AMQPLAIN or ANONYMOUS.
        response: as received.

    Raises:
        RemoteProtocolError: the response has not the mechanism's form.
    """
    try:
        if mechanism == "PLAIN":
            _, username, password = response.split(b"\0")
            return Credentials(username.decode(), password.decode())
        if mechanism == "AMQPLAIN":
            table, _ = wire.decode_table(len(response).to_bytes(4, "big") + response)
            return Credentials(str(table["LOGIN"]), str(table["PASSWORD"]))
        if mechanism == "ANONYMOUS":
            return Credentials("guest", "", ("ANONYMOUS",))
    except (ValueError, KeyError, DecodeError):
        pass
    raise RemoteProtocolError(
        f"malformed response for authentication mechanism {mechanism}", reply_code=403
    )
