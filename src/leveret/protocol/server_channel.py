"""A channel as the server sees it.

Methods and contents of the client become events as they are; the caller answers with
`send_method` and the functions below. Order of answers is the caller's duty.
"""

from __future__ import annotations

from .. import wire
from ..exceptions import LeveretError, channel_error
from ..types import Buffer
from .channel import Channel
from .events import ChannelClosed

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

    __slots__ = ()

    def send_method(self, method: wire.Method) -> None:
        """Send a method without content: a reply, a confirm, a cancel.

        Raises:
            ChannelClosedError: the channel has ended or is closing.
        """
        self.check_open()
        self._write(method.encode(self.number))

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

    def _receive_method(self, method: wire.Method) -> None:
        if type(method) not in _CLIENT_SENDS:
            raise self._unexpected(method)
        self._connection.emit(method)

    def _receive_content(self, content: wire.Content) -> None:
        if not isinstance(content, wire.Published):
            raise self._unexpected(wire.BasicDeliver("", 0, False, "", ""))
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

    def _end(self) -> None:
        super()._end()
        self._connection.emit(ChannelClosed(self, self.error, [self.close_token], []))
