"""A channel as the server sees it.

Methods and contents of the client become events as they are; the caller answers with
`send_method` and the functions below. Order of answers is the caller's duty; a close is answered
here, behind whatever the caller sends in answer to the events before it: close-ok leaves with the
next `Connection.data_to_send`, and until then the channel is open for sending. RabbitMQ does so:
what was published before a close is confirmed before close-ok.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import LeveretError, RemoteProtocolError, channel_error
from ..types import Buffer
from .channel import Channel
from .content import too_large
from .events import ChannelClosed
from .replies import misplaced, unimplemented
from .states import ChannelState, State

if TYPE_CHECKING:
    from .connection import Connection

__all__ = ["ServerChannel"]

_CLIENT_SENDS = frozenset(
    {
        wire.AccessRequest,
        wire.BasicAck,
        wire.BasicCancel,
        wire.BasicCancelOk,
        wire.BasicConsume,
        wire.BasicGet,
        wire.BasicNack,
        wire.BasicQos,
        wire.BasicRecover,
        wire.BasicRecoverAsync,
        wire.BasicReject,
        wire.ChannelFlow,
        wire.ChannelFlowOk,
        wire.ConfirmSelect,
        wire.ExchangeBind,
        wire.ExchangeDeclare,
        wire.ExchangeDelete,
        wire.ExchangeUnbind,
        wire.QueueBind,
        wire.QueueDeclare,
        wire.QueueDelete,
        wire.QueuePurge,
        wire.QueueUnbind,
        wire.TxCommit,
        wire.TxRollback,
        wire.TxSelect,
    }
)


class ServerChannel(Channel):
    """The server's end of a channel, opened by the client."""

    __slots__ = ("_has_left",)

    def __init__(self, connection: Connection, number: int, state: ChannelState) -> None:
        super().__init__(connection, number, state)
        self._has_left = False  # the client has closed it, or the connection has ended

    def send_method(self, method: wire.Method) -> None:
        """Send a method without content: a reply, a confirm, a cancel.

        Raises:
            ChannelClosedError: the channel has ended or is closing.
            EncodeError: an argument that its field cannot hold, or more than a frame holds.
        """
        self.check_open()
        frame_max = self._connection.limits.frame_max
        self._write(wire.encode_method(method, self.number, frame_max))

    def send_ack(self, delivery_tag: int, multiple: bool = False) -> None:
        """Confirm a publish."""
        self.check_open()
        self._write(wire.encode_ack(self.number, delivery_tag, multiple))

    def send_deliver(
        self,
        consumer_tag: str,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: Buffer,
    ) -> None:
        """Send basic.deliver with its content."""
        self.check_open()
        self._connection.write_content(
            wire.encode_deliver(
                self.number,
                consumer_tag,
                delivery_tag,
                redelivered,
                exchange,
                routing_key,
                raw_properties,
                body,
                self._connection.limits.frame_max,
            )
        )

    def send_get_ok(
        self,
        delivery_tag: int,
        redelivered: bool,
        exchange: str,
        routing_key: str,
        message_count: int,
        raw_properties: bytes,
        body: Buffer,
    ) -> None:
        """Send basic.get-ok with its content."""
        self.check_open()
        self._connection.write_content(
            wire.encode_get_ok(
                self.number,
                delivery_tag,
                redelivered,
                exchange,
                routing_key,
                message_count,
                raw_properties,
                body,
                self._connection.limits.frame_max,
            )
        )

    def send_return(
        self,
        reply_code: int,
        reply_text: str,
        exchange: str,
        routing_key: str,
        raw_properties: bytes,
        body: Buffer,
    ) -> None:
        """Send basic.return with its content."""
        self.check_open()
        self._connection.write_content(
            wire.encode_return(
                self.number,
                reply_code,
                reply_text,
                exchange,
                routing_key,
                raw_properties,
                body,
                self._connection.limits.frame_max,
            )
        )

    def receive(self, item: wire.Item) -> None:
        """See `Channel`. After the client's close nothing may come but a close-ok."""
        if self._has_left and self.state is not ChannelState.CLOSING:
            raise misplaced(item, "expected 'channel.open'")
        super().receive(item)

    def _receive_method(self, method: wire.Method) -> None:
        if type(method) not in _CLIENT_SENDS:
            raise unimplemented(method)
        self._connection.emit(method)

    def _receive_content(self, content: wire.Content) -> None:
        if not isinstance(content, wire.Published):
            raise unimplemented(content)
        limit = self._connection.side.max_body
        if limit and len(content.body) > limit:
            raise RemoteProtocolError(
                too_large(len(content.body), limit),
                channel=self.number,
                class_id=wire.BasicPublish.class_id,
                method_id=wire.BasicPublish.method_id,
            )
        self._connection.emit(content)

    def _peer_error(self, close: wire.ChannelClose) -> LeveretError | None:
        if close.reply_code == wire.ReplyCode.SUCCESS:
            return None
        return channel_error(close.reply_code)(
            close.reply_text,
            reply_code=close.reply_code,
            class_id=close.class_id,
            method_id=close.method_id,
            channel=self.number,
        )

    def _receive_close(self, close: wire.ChannelClose) -> None:
        if self.state is ChannelState.OPEN:
            self.error = self._peer_error(close)
            self._leave(wire.ChannelCloseOk().encode(self.number))
        else:
            super()._receive_close(close)

    def _unexpected(self, method: wire.Method) -> RemoteProtocolError:
        return unimplemented(method)

    def abandon(self, error: LeveretError | None) -> None:
        """See `Channel`."""
        if self.state is not ChannelState.CLOSING and not self._has_left:
            self.error = error
        self._leave(b"")

    def _leave(self, farewell: bytes) -> None:
        """Tell the caller now; be closed once its answers are written."""
        self._emit_closed()
        self._connection.write_last(self, farewell)

    def finish(self) -> None:
        """The caller's answers are written."""
        if self.state is not ChannelState.CLOSING or self._connection.state is State.CLOSED:
            super()._end()

    def _end(self) -> None:
        super()._end()
        self._emit_closed()

    def _emit_closed(self) -> None:
        if not self._has_left:
            self._has_left = True
            tokens = [] if self.close_token is None else [self.close_token]
            self._connection.emit(ChannelClosed(self, self.error, tokens, []))
