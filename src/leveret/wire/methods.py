"""AMQP 0-9-1 with RabbitMQ's extensions, as declarations.

Each class is one method. Its annotations are its fields, with their AMQP types, in the order of
the wire; all are arguments of the constructor, positional or by name, with a zero value as the
default. `ClassVar` marks a reserved field: it is on the wire (as zero or empty), and nowhere
else. `index` has the numbers of class and method, `replies` the methods that answer.

Sources: AMQP 0-9-1 reference; RabbitMQ's `amqp-rabbitmq-0.9.1.json` for the extensions
(connection.blocked, update-secret, exchange.bind, basic.nack, confirm.select).
"""

from __future__ import annotations

from typing import ClassVar

from .declare import (
    METHODS,
    Bit,
    Long,
    LongLong,
    LongStr,
    Method,
    Octet,
    Secret,
    Short,
    ShortStr,
    Table,
    decode_method,
    malformed_text,
)

__all__ = [
    "METHODS",
    "AccessRequest",
    "AccessRequestOk",
    "BasicAck",
    "BasicCancel",
    "BasicCancelOk",
    "BasicConsume",
    "BasicConsumeOk",
    "BasicDeliver",
    "BasicGet",
    "BasicGetEmpty",
    "BasicGetOk",
    "BasicNack",
    "BasicPublish",
    "BasicQos",
    "BasicQosOk",
    "BasicRecover",
    "BasicRecoverAsync",
    "BasicRecoverOk",
    "BasicReject",
    "BasicReturn",
    "ChannelClose",
    "ChannelCloseOk",
    "ChannelFlow",
    "ChannelFlowOk",
    "ChannelOpen",
    "ChannelOpenOk",
    "ConfirmSelect",
    "ConfirmSelectOk",
    "ConnectionBlocked",
    "ConnectionClose",
    "ConnectionCloseOk",
    "ConnectionOpen",
    "ConnectionOpenOk",
    "ConnectionSecure",
    "ConnectionSecureOk",
    "ConnectionStart",
    "ConnectionStartOk",
    "ConnectionTune",
    "ConnectionTuneOk",
    "ConnectionUnblocked",
    "ConnectionUpdateSecret",
    "ConnectionUpdateSecretOk",
    "ExchangeBind",
    "ExchangeBindOk",
    "ExchangeDeclare",
    "ExchangeDeclareOk",
    "ExchangeDelete",
    "ExchangeDeleteOk",
    "ExchangeUnbind",
    "ExchangeUnbindOk",
    "Method",
    "QueueBind",
    "QueueBindOk",
    "QueueDeclare",
    "QueueDeclareOk",
    "QueueDelete",
    "QueueDeleteOk",
    "QueuePurge",
    "QueuePurgeOk",
    "QueueUnbind",
    "QueueUnbindOk",
    "TxCommit",
    "TxCommitOk",
    "TxRollback",
    "TxRollbackOk",
    "TxSelect",
    "TxSelectOk",
    "decode_method",
    "malformed_text",
]

_NO_TABLE: Table = {}

# -- connection ---------------------------------------------------------------------------------


class ConnectionStartOk(Method, index=(10, 11)):
    """The client's choice of mechanism and locale, and its credentials."""

    client_properties: Table = _NO_TABLE
    mechanism: ShortStr = ""
    response: Secret = b""
    locale: ShortStr = ""


class ConnectionStart(Method, index=(10, 10), replies=(ConnectionStartOk,)):
    """The server's first word; mechanisms and locales are separated by spaces."""

    version_major: Octet = 0
    version_minor: Octet = 0
    server_properties: Table = _NO_TABLE
    mechanisms: LongStr = b""
    locales: LongStr = b""


class ConnectionSecureOk(Method, index=(10, 21)):
    """The answer to a challenge."""

    response: Secret = b""


class ConnectionSecure(Method, index=(10, 20), replies=(ConnectionSecureOk,)):
    """A challenge of the mechanism."""

    challenge: LongStr = b""


class ConnectionTuneOk(Method, index=(10, 31)):
    """What the client settles for; 0 is no limit, or no heartbeat."""

    channel_max: Short = 0
    frame_max: Long = 0
    heartbeat: Short = 0


class ConnectionTune(Method, index=(10, 30), replies=(ConnectionTuneOk,)):
    """What the server proposes; the heartbeat in seconds."""

    channel_max: Short = 0
    frame_max: Long = 0
    heartbeat: Short = 0


class ConnectionOpenOk(Method, index=(10, 41)):
    """The connection is ready."""

    reserved_1: ClassVar[ShortStr] = ""


class ConnectionOpen(Method, index=(10, 40), replies=(ConnectionOpenOk,)):
    """Open a virtual host."""

    virtual_host: ShortStr = ""
    reserved_1: ClassVar[ShortStr] = ""
    reserved_2: ClassVar[Bit] = False


class ConnectionCloseOk(Method, index=(10, 51)):
    """The end of the connection."""


class ConnectionClose(Method, index=(10, 50), replies=(ConnectionCloseOk,)):
    """Why the connection ends; class_id and method_id are those of the method at fault."""

    reply_code: Short = 0
    reply_text: ShortStr = ""
    class_id: Short = 0
    method_id: Short = 0


class ConnectionBlocked(Method, index=(10, 60)):
    """The broker is short of something and reads no more from publishers."""

    reason: ShortStr = ""


class ConnectionUnblocked(Method, index=(10, 61)):
    """The broker reads again."""


class ConnectionUpdateSecretOk(Method, index=(10, 71)):
    """The new secret was taken."""


class ConnectionUpdateSecret(Method, index=(10, 70), replies=(ConnectionUpdateSecretOk,)):
    """A new token, before the old one expires."""

    new_secret: Secret = b""
    reason: ShortStr = ""


# -- channel ------------------------------------------------------------------------------------


class ChannelOpenOk(Method, index=(20, 11)):
    """The channel is ready."""

    reserved_1: ClassVar[LongStr] = b""


class ChannelOpen(Method, index=(20, 10), replies=(ChannelOpenOk,)):
    """Open the channel that the frame names."""

    reserved_1: ClassVar[ShortStr] = ""


class ChannelFlowOk(Method, index=(20, 21)):
    """Whether contents flow now."""

    active: Bit = False


class ChannelFlow(Method, index=(20, 20), replies=(ChannelFlowOk,)):
    """Ask the peer to stop or to go on sending contents."""

    active: Bit = False


class ChannelCloseOk(Method, index=(20, 41)):
    """The end of the channel."""


class ChannelClose(Method, index=(20, 40), replies=(ChannelCloseOk,)):
    """Why the channel ends; class_id and method_id are those of the method at fault."""

    reply_code: Short = 0
    reply_text: ShortStr = ""
    class_id: Short = 0
    method_id: Short = 0


# -- access (deprecated; RabbitMQ answers it and checks nothing) --------------------------------


class AccessRequestOk(Method, index=(30, 11)):
    """A ticket that means nothing."""

    ticket: Short = 0


class AccessRequest(Method, index=(30, 10), replies=(AccessRequestOk,)):
    """Ask for a ticket."""

    realm: ShortStr = ""
    exclusive: Bit = False
    passive: Bit = False
    active: Bit = False
    write: Bit = False
    read: Bit = False


# -- exchange -----------------------------------------------------------------------------------


class ExchangeDeclareOk(Method, index=(40, 11)):
    """The exchange exists."""


class ExchangeDeclare(Method, index=(40, 10), replies=(ExchangeDeclareOk,)):
    """Make an exchange, or check one."""

    reserved_1: ClassVar[Short] = 0
    exchange: ShortStr = ""
    type: ShortStr = ""
    passive: Bit = False
    durable: Bit = False
    auto_delete: Bit = False
    internal: Bit = False
    nowait: Bit = False
    arguments: Table = _NO_TABLE


class ExchangeDeleteOk(Method, index=(40, 21)):
    """The exchange is gone."""


class ExchangeDelete(Method, index=(40, 20), replies=(ExchangeDeleteOk,)):
    """Delete an exchange."""

    reserved_1: ClassVar[Short] = 0
    exchange: ShortStr = ""
    if_unused: Bit = False
    nowait: Bit = False


class ExchangeBindOk(Method, index=(40, 31)):
    """The exchanges are bound."""


class ExchangeBind(Method, index=(40, 30), replies=(ExchangeBindOk,)):
    """Bind an exchange to another one."""

    reserved_1: ClassVar[Short] = 0
    destination: ShortStr = ""
    source: ShortStr = ""
    routing_key: ShortStr = ""
    nowait: Bit = False
    arguments: Table = _NO_TABLE


class ExchangeUnbindOk(Method, index=(40, 51)):
    """The exchanges are not bound any more. (51: RabbitMQ's number, not 41.)"""


class ExchangeUnbind(Method, index=(40, 40), replies=(ExchangeUnbindOk,)):
    """Take a binding between exchanges away."""

    reserved_1: ClassVar[Short] = 0
    destination: ShortStr = ""
    source: ShortStr = ""
    routing_key: ShortStr = ""
    nowait: Bit = False
    arguments: Table = _NO_TABLE


# -- queue --------------------------------------------------------------------------------------


class QueueDeclareOk(Method, index=(50, 11)):
    """The queue exists; its name, where the server chose it, is here."""

    queue: ShortStr = ""
    message_count: Long = 0
    consumer_count: Long = 0


class QueueDeclare(Method, index=(50, 10), replies=(QueueDeclareOk,)):
    """Make a queue, or check one; an empty name asks the server for one."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    passive: Bit = False
    durable: Bit = False
    exclusive: Bit = False
    auto_delete: Bit = False
    nowait: Bit = False
    arguments: Table = _NO_TABLE


class QueueBindOk(Method, index=(50, 21)):
    """The queue is bound."""


class QueueBind(Method, index=(50, 20), replies=(QueueBindOk,)):
    """Bind a queue to an exchange."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    nowait: Bit = False
    arguments: Table = _NO_TABLE


class QueuePurgeOk(Method, index=(50, 31)):
    """How many messages were dropped."""

    message_count: Long = 0


class QueuePurge(Method, index=(50, 30), replies=(QueuePurgeOk,)):
    """Drop what is ready in a queue."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    nowait: Bit = False


class QueueDeleteOk(Method, index=(50, 41)):
    """The queue is gone, with that many messages."""

    message_count: Long = 0


class QueueDelete(Method, index=(50, 40), replies=(QueueDeleteOk,)):
    """Delete a queue."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    if_unused: Bit = False
    if_empty: Bit = False
    nowait: Bit = False


class QueueUnbindOk(Method, index=(50, 51)):
    """The queue is not bound any more."""


class QueueUnbind(Method, index=(50, 50), replies=(QueueUnbindOk,)):
    """Take a binding of a queue away."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    arguments: Table = _NO_TABLE


# -- basic --------------------------------------------------------------------------------------


class BasicQosOk(Method, index=(60, 11)):
    """The limits are in force."""


class BasicQos(Method, index=(60, 10), replies=(BasicQosOk,)):
    """How many deliveries may be unsettled; 0 is no limit."""

    prefetch_size: Long = 0
    prefetch_count: Short = 0
    global_: Bit = False


class BasicConsumeOk(Method, index=(60, 21)):
    """The consumer is there."""

    consumer_tag: ShortStr = ""


class BasicConsume(Method, index=(60, 20), replies=(BasicConsumeOk,)):
    """Start a consumer; an empty tag asks the server for one."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    consumer_tag: ShortStr = ""
    no_local: Bit = False
    no_ack: Bit = False
    exclusive: Bit = False
    nowait: Bit = False
    arguments: Table = _NO_TABLE


class BasicCancelOk(Method, index=(60, 31)):
    """The consumer is gone."""

    consumer_tag: ShortStr = ""


class BasicCancel(Method, index=(60, 30), replies=(BasicCancelOk,)):
    """End a consumer; from the server: it was ended (RabbitMQ, consumer_cancel_notify)."""

    consumer_tag: ShortStr = ""
    nowait: Bit = False


class BasicPublish(Method, index=(60, 40), has_content=True):
    """A message for an exchange."""

    reserved_1: ClassVar[Short] = 0
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    mandatory: Bit = False
    immediate: Bit = False


class BasicReturn(Method, index=(60, 50), has_content=True):
    """A message that could not be routed, given back."""

    reply_code: Short = 0
    reply_text: ShortStr = ""
    exchange: ShortStr = ""
    routing_key: ShortStr = ""


class BasicDeliver(Method, index=(60, 60), has_content=True):
    """A message for a consumer."""

    consumer_tag: ShortStr = ""
    delivery_tag: LongLong = 0
    redelivered: Bit = False
    exchange: ShortStr = ""
    routing_key: ShortStr = ""


class BasicGetOk(Method, index=(60, 71), has_content=True):
    """A message that was asked for."""

    delivery_tag: LongLong = 0
    redelivered: Bit = False
    exchange: ShortStr = ""
    routing_key: ShortStr = ""
    message_count: Long = 0


class BasicGetEmpty(Method, index=(60, 72)):
    """The queue has nothing."""

    reserved_1: ClassVar[ShortStr] = ""


class BasicGet(Method, index=(60, 70), replies=(BasicGetOk, BasicGetEmpty)):
    """Ask for one message."""

    reserved_1: ClassVar[Short] = 0
    queue: ShortStr = ""
    no_ack: Bit = False


class BasicAck(Method, index=(60, 80)):
    """A delivery was handled; from the server: a publish was taken."""

    delivery_tag: LongLong = 0
    multiple: Bit = False


class BasicReject(Method, index=(60, 90)):
    """A delivery was not handled."""

    delivery_tag: LongLong = 0
    requeue: Bit = False


class BasicRecoverAsync(Method, index=(60, 100)):
    """As basic.recover, without an answer (deprecated)."""

    requeue: Bit = False


class BasicRecoverOk(Method, index=(60, 111)):
    """The unsettled deliveries are queued again."""


class BasicRecover(Method, index=(60, 110), replies=(BasicRecoverOk,)):
    """Deliver again what is not settled."""

    requeue: Bit = False


class BasicNack(Method, index=(60, 120)):
    """Deliveries were not handled; from the server: a publish was refused."""

    delivery_tag: LongLong = 0
    multiple: Bit = False
    requeue: Bit = False


# -- confirm, tx --------------------------------------------------------------------------------


class ConfirmSelectOk(Method, index=(85, 11)):
    """Publishes are confirmed from here on."""


class ConfirmSelect(Method, index=(85, 10), replies=(ConfirmSelectOk,)):
    """Ask for confirmations of publishes."""

    nowait: Bit = False


class TxSelectOk(Method, index=(90, 11)):
    """The channel is transactional."""


class TxSelect(Method, index=(90, 10), replies=(TxSelectOk,)):
    """Make the channel transactional."""


class TxCommitOk(Method, index=(90, 21)):
    """The transaction is done."""


class TxCommit(Method, index=(90, 20), replies=(TxCommitOk,)):
    """Do the transaction and begin another one."""


class TxRollbackOk(Method, index=(90, 31)):
    """The transaction is undone."""


class TxRollback(Method, index=(90, 30), replies=(TxRollbackOk,)):
    """Undo the transaction and begin another one."""
