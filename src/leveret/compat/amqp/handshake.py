"""The handshake of a connection, in py-amqp's words and with `protocol`'s decisions."""

from __future__ import annotations

import logging
from typing import Any, ClassVar

from leveret import wire
from leveret.exceptions import RemoteProtocolError
from leveret.protocol import ClientOptions
from leveret.protocol.handshake import negotiate

from . import sasl, spec
from .abstract_channel import AbstractChannel
from .exceptions import ConnectionError, FrameSyntaxError
from .transport import _AbstractTransport

__all__ = ["Handshake", "mechanisms"]

AMQP_LOGGER = logging.getLogger("amqp")


class Handshake(AbstractChannel):
    """What a connection answers to start, tune and open-ok. The attributes are `Connection`'s."""

    negotiate_capabilities: ClassVar[dict[str, Any]]
    authentication: Any
    client_properties: dict[str, Any]
    server_properties: dict[Any, Any]
    version_major: int
    version_minor: int
    mechanisms: list[bytes]
    locales: list[str]
    locale: str
    virtual_host: str
    channel_max: int
    frame_max: int
    heartbeat: Any
    client_heartbeat: Any
    server_heartbeat: Any
    on_open: Any
    _handshake_complete: bool
    _transport: Any

    def _on_start(
        self,
        version_major: int,
        version_minor: int,
        server_properties: dict[Any, Any],
        mechanisms: Any,
        locales: str,
        argsig: str = "FsSs",
    ) -> None:
        self.version_major = version_major
        self.version_minor = version_minor
        self.server_properties = server_properties
        if isinstance(mechanisms, str):
            mechanisms = mechanisms.encode()
        self.mechanisms = mechanisms.split(b" ")
        self.locales = locales.split(" ")
        AMQP_LOGGER.debug(
            "Server: AMQP %d.%d, properties %s, mechanisms %s, locales %s",
            version_major,
            version_minor,
            server_properties,
            self.mechanisms,
            self.locales,
        )
        offered = server_properties.get("capabilities") or {}
        wanted = {
            **(self.client_properties.get("capabilities") or {}),
            **{
                name: enable
                for name, enable in self.negotiate_capabilities.items()
                if offered.get(name)
            },
        }
        if wanted:
            self.client_properties["capabilities"] = wanted
        else:
            self.client_properties.pop("capabilities", None)
        mechanism, response = self._first_response()
        self.send_method(
            spec.Connection.StartOk,
            argsig,
            (self.client_properties, mechanism, response, self.locale),
        )

    def _first_response(self) -> tuple[bytes, bytes]:
        """The first mechanism that both sides have and that can answer, with its answer."""
        for authentication in self.authentication:
            if authentication.mechanism in self.mechanisms:
                response = authentication.start(self)
                if response is not NotImplemented:
                    return authentication.mechanism, response
        ours = b", ".join(each.mechanism for each in self.authentication if each.mechanism)
        raise ConnectionError(
            "no authentication mechanism in common: "
            f"this client has {ours.decode()}, the server {b', '.join(self.mechanisms).decode()}"
        )

    def _on_secure(self, challenge: Any) -> None:
        """No mechanism here needs a second round."""

    def _on_tune(
        self, channel_max: int, frame_max: int, server_heartbeat: int, argsig: str = "BlB"
    ) -> None:
        heartbeat = self.client_heartbeat or 0
        options = ClientOptions(
            heartbeat=int(heartbeat) or (1 if heartbeat else 0),
            channel_max=self.channel_max,
            frame_max=max(self.frame_max, wire.RABBITMQ_FRAME_MIN),
        )
        tune = wire.ConnectionTune(channel_max, frame_max, server_heartbeat or 0)
        try:
            limits = negotiate(options, tune)
        except RemoteProtocolError as error:
            raise FrameSyntaxError(str(error), spec.Connection.Tune) from error
        self.channel_max = limits.channel_max
        self.frame_max = limits.frame_max
        self.server_heartbeat = server_heartbeat or 0
        self.heartbeat = limits.heartbeat
        if isinstance(self._transport, _AbstractTransport):
            self._transport.frame_max = limits.frame_max
        self.send_method(
            spec.Connection.TuneOk,
            argsig,
            (self.channel_max, self.frame_max, self.heartbeat),
            callback=self._on_tune_sent,
        )

    def _on_tune_sent(self, argsig: str = "ssb") -> None:
        self.send_method(spec.Connection.Open, argsig, (self.virtual_host, "", False))

    def _on_open_ok(self) -> None:
        self._handshake_complete = True
        self.on_open(self)


def mechanisms(
    authentication: Any, login_method: Any, login_response: Any, userid: Any, password: Any
) -> Any:
    """The SASL mechanisms to try, in this order."""
    if authentication:
        return (authentication,) if isinstance(authentication, sasl.SASL) else authentication
    if login_method is None:
        return (
            sasl.GSSAPI(userid, fail_soft=True),
            sasl.EXTERNAL(),
            sasl.AMQPLAIN(userid, password),
            sasl.PLAIN(userid, password),
        )
    if login_method == "GSSAPI":
        return (sasl.GSSAPI(userid),)
    if login_method == "EXTERNAL":
        return (sasl.EXTERNAL(),)
    if login_method in ("AMQPLAIN", "PLAIN"):
        if userid is None or password is None:
            raise ValueError("Must supply authentication or userid/password")
        kind = sasl.AMQPLAIN if login_method == "AMQPLAIN" else sasl.PLAIN
        return (kind(userid, password),)
    if login_response is None:
        raise ValueError("Invalid login method", login_method)
    return (sasl.RAW(login_method, login_response),)
