"""What a channel is on both sides: a number, a state, contents under way, the closing handshake.

A channel is opened and closed by either `ClientChannel` or `ServerChannel`; this module holds
what the two share. A channel in CLOSING drops all but close and close-ok (see `states` for what
a client still takes). Where both sides close at once, each answers the other's close, and the
channel has ended with our own close-ok (AMQP 0-9-1, 1.5.2.5). A client does not wait for that, and
drops it where it comes: its own answer, right behind its close, may end RabbitMQ's channel process
before close-ok has left (one time in 300, with 4.3), and then it never comes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import ChannelClosedError, LeveretError, LocalProtocolError, RemoteProtocolError
from .content import ContentAssembly
from .replies import reply_text as cut
from .replies import unexpected_frame
from .states import ChannelState

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["Channel"]


class Channel:
    """One channel of a connection.

    Attributes:
        number: 1 to channel_max.
        state: see `ChannelState`.
        error: why it ended, None before and after an ordinary close. Where both sides close at
            once, the peer's reason, unless this side had one.
        close_token: of the close that this side asked for.
        assembly: the content under way, None between contents.
    """

    __slots__ = ("_connection", "assembly", "close_token", "error", "number", "state")

    def __init__(self, connection: Connection, number: int, state: ChannelState) -> None:
        self._connection = connection
        self.assembly: ContentAssembly | None = None
        self.close_token: object = None
        self.number = number
        self.state = state
        self.error: LeveretError | None = None

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.number} {self.state.value}>"

    # -- sending ---------------------------------------------------------------------------

    def check_open(self) -> None:
        """Raise unless the channel takes what is sent.

        Raises:
            ChannelClosedError: it has ended or is closing.
        """
        if self.state is not ChannelState.OPEN:
            words = "is not open yet" if self.state is ChannelState.OPENING else "is closed"
            raise ChannelClosedError(f"channel {self.number} {words}", self.error)

    def _write(self, piece: bytes) -> None:
        """Queue bytes of this channel."""
        self._connection.write(piece)

    def send_close(
        self,
        reply_code: int = 200,
        reply_text: str = "",
        *,
        class_id: int = 0,
        method_id: int = 0,
        token: object = None,
        error: LeveretError | None = None,
    ) -> None:
        """Close the channel.

        Args:
            reply_code, reply_text: why; 200 for an ordinary end.
            class_id, method_id: the method at fault, if one is.
            token: comes back in `ChannelClosed.tokens`.
            error: becomes `ChannelClosed.error`.

        Raises:
            LocalProtocolError: it is closing or closed already.
        """
        if self.state not in (ChannelState.OPEN, ChannelState.OPENING):
            raise LocalProtocolError(f"channel {self.number} is {self.state.value}")
        close = wire.ChannelClose(reply_code, cut(reply_text), class_id, method_id)
        self._write(close.encode(self.number))
        self.state = ChannelState.CLOSING
        self.error = error
        self.close_token = token

    def connection_closes(self) -> None:
        """Nothing more can be sent: connection.close was."""
        if self.state is not ChannelState.CLOSING:
            self.state = ChannelState.ENDING

    # -- receiving -------------------------------------------------------------------------

    def receive(self, item: wire.Item) -> None:
        """One item of this channel, from the connection."""
        if isinstance(item, wire.ChannelClose):
            self._receive_close(item)
        elif isinstance(item, wire.ChannelCloseOk):
            self._receive_close_ok(item)
        elif self.state is ChannelState.CLOSING or self.state is ChannelState.ENDING:
            self._receive_late(item)
        elif self.assembly is not None:
            content = self.assembly.receive(item)
            if content is not None:
                self.assembly = None
                self._receive_content(content)
        elif isinstance(item, wire.Content):
            self._receive_content(item)
        elif isinstance(item, wire.Method):
            if item.has_content:
                self.assembly = self._connection.new_assembly(item)
            else:
                self._receive_method(item)
        else:
            raise unexpected_frame(item, "expected method frame, got non method frame instead")

    def receive_taken(self, assembly: ContentAssembly) -> None:
        """A body frame has gone straight into its content."""
        if assembly.missing or self.assembly is not assembly:
            return
        self.assembly = None
        content = assembly.finish()
        if self.state is ChannelState.CLOSING or self.state is ChannelState.ENDING:
            self._receive_late(content)
        else:
            self._receive_content(content)

    def _receive_close(self, close: wire.ChannelClose) -> None:
        self.error = self.error or self._peer_error(close)
        if self.state is not ChannelState.ENDING:
            self._connection.write(wire.ChannelCloseOk().encode(self.number))
        if self.state is not ChannelState.CLOSING:
            self._end()  # else both at once: our own close-ok is still to come

    def _receive_close_ok(self, close_ok: wire.ChannelCloseOk) -> None:
        if self.state is ChannelState.CLOSING:
            self._end()
        elif self.state is not ChannelState.ENDING:
            raise self._unexpected(close_ok)

    def _receive_late(self, item: wire.Item) -> None:
        """What comes after our close: dropped."""

    def _end(self) -> None:
        self.state = ChannelState.CLOSED
        self.assembly = None
        self._connection.channel_ended(self)

    def _unexpected(self, method: wire.Method) -> RemoteProtocolError:
        return RemoteProtocolError(
            f"unexpected {method.name}",
            reply_code=wire.ReplyCode.COMMAND_INVALID,
            channel=self.number,
            class_id=method.key >> 16,
            method_id=method.key & 0xFFFF,
        )

    # -- what the two sides fill in --------------------------------------------------------

    def _receive_method(self, method: wire.Method) -> None:
        raise NotImplementedError

    def _receive_content(self, content: wire.Content) -> None:
        raise NotImplementedError

    def _peer_error(self, close: wire.ChannelClose) -> LeveretError | None:
        raise NotImplementedError

    def abandon(self, error: LeveretError | None) -> None:
        """The connection has ended, and the channel with it."""
        if self.state is not ChannelState.CLOSING:
            self.error = error
        self._end()
