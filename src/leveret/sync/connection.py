# Made by tools/async_to_sync.py from leveret/asyncio/connection.py: change it there.
"""Connections: made by `connect`, they make channels."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import TracebackType
from typing import Self, Unpack

from .. import protocol
from ..client.deadline import Deadline
from ..client.parameters import DEFAULT_URL, Options, Parameters, parse_url
from ..exceptions import LeveretError, NotAllowed
from .channel import Channel
from .opening import opening
from .transport import Core, open_core

__all__ = ["Connection", "connect"]


class Connection:
    """An open connection to a broker. Made by `connect`."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def __repr__(self) -> str:
        parameters = self._core.parameters
        state = self._core.protocol.state.value
        return (
            f"<Connection {parameters.host}:{parameters.port} "
            f"vhost={parameters.virtual_host!r} {state}>"
        )

    @property
    def is_open(self) -> bool:
        """Whether the connection takes operations."""
        return self._core.protocol.state is protocol.State.OPEN

    @property
    def close_reason(self) -> LeveretError | None:
        """Why the connection ended; None while it is open and after an ordinary close."""
        return self._core.error

    @property
    def parameters(self) -> Parameters:
        """How the connection was made."""
        return self._core.parameters

    @property
    def server_properties(self) -> Mapping[str, object]:
        """What the broker says of itself: `product`, `version`, `capabilities` and more."""
        side = self._core.protocol.side
        return side.server_properties if isinstance(side, protocol.ClientSide) else {}

    @property
    def heartbeat(self) -> int:
        """The heartbeat interval agreed on, in seconds; 0 for none."""
        return self._core.protocol.limits.heartbeat

    @property
    def channel_max(self) -> int:
        """How many channels may be open at once, as agreed on."""
        return self._core.protocol.limits.channel_max

    @property
    def frame_max(self) -> int:
        """How many bytes a frame may have, as agreed on; 0 for any number."""
        return self._core.protocol.limits.frame_max

    @property
    def blocked(self) -> str | None:
        """The broker's reason while it takes no publishes (RabbitMQ, "Blocked Connection
        Notifications"); None while it does.
        """
        return self._core.protocol.blocked

    @property
    def on_blocked(self) -> Callable[[str], object] | None:
        """Called with the reason when the broker blocks the connection."""
        return self._core.on_blocked

    @on_blocked.setter
    def on_blocked(self, callback: Callable[[str], object] | None) -> None:
        self._core.on_blocked = callback

    @property
    def on_unblocked(self) -> Callable[[], object] | None:
        """Called when the broker takes publishes again."""
        return self._core.on_unblocked

    @on_unblocked.setter
    def on_unblocked(self, callback: Callable[[], object] | None) -> None:
        self._core.on_unblocked = callback

    @property
    def on_close(self) -> Callable[[LeveretError | None], object] | None:
        """Called once when the connection has ended, with the reason, None for `close()`. Set after
        another end than that, it is called at once.
        """
        return self._core.on_close

    @on_close.setter
    def on_close(self, callback: Callable[[LeveretError | None], object] | None) -> None:
        self._core.set_on_close(callback)

    @opening
    def channel(self, *, timeout: float | None = None) -> Channel:
        """Open a channel.

        Args:
            timeout: seconds; None takes the connection's default.

        Raises:
            ConnectionClosedError: the connection has ended.
            LocalProtocolError: all `channel_max` channels are open.
            DeadlineExceeded: the broker did not answer in time.
        """
        channel = Channel(self._core)
        self._core.open_channel(channel, channel.deadline(timeout))
        return channel

    def update_secret(
        self, new_secret: str | bytes, reason: str = "", *, timeout: float | None = None
    ) -> None:
        """Give the broker a new token before the old one expires (RabbitMQ, update-secret).

        Args:
            new_secret: the token; it is in no repr and no log.
            reason: for the broker's log.
            timeout: seconds; None takes the connection's default.

        Raises:
            ConnectionClosedError: the connection has ended.
            DeadlineExceeded: the broker did not answer in time.
        """
        secret = new_secret.encode() if isinstance(new_secret, str) else new_secret
        self._core.update_secret(secret, reason, self._deadline(timeout))

    def close(self, *, timeout: float | None = None) -> None:
        """Send what is queued, say goodbye to the broker and close the socket.

        Closing what is closed does nothing. The socket is closed in any case.

        Args:
            timeout: seconds; None takes the connection's default.

        Raises:
            DeadlineExceeded: the broker did not answer in time.
        """
        self._core.close(self._deadline(timeout))

    def _deadline(self, timeout: float | None) -> Deadline:
        return Deadline(self._core.parameters.timeout if timeout is None else timeout)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._core.leave(self.close, error)


@opening
def connect(url: str = DEFAULT_URL, **options: Unpack[Options]) -> Connection:
    """Connect to a broker.

    Args:
        url: RabbitMQ's URI, `amqp[s]://user:password@host:port/vhost?heartbeat=10`; see
            `client.parameters.parse_url`.
        options: see `client.parameters.Parameters`; they win over the URL.

    Raises:
        ConfigurationError: the URL or an option is unusable.
        ConnectFailed: no address of the host took the connection, or TLS failed.
        DeadlineExceeded: not done within `connect_timeout`.
        AuthenticationError: the broker refused the credentials.
        NotAllowed: no such virtual host, or no access to it.
    """
    parameters = parse_url(url, **options)
    try:
        return Connection(open_core(parameters))
    except NotAllowed:
        if parameters.virtual_host:
            raise
    # `amqp://host/` names the virtual host with the empty name, which hardly a broker has
    return Connection(open_core(parse_url(url, **{**options, "virtual_host": "/"})))
