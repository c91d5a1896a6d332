"""What a client may ask of an open channel: all methods, and those on entities.

`METHODS` is the table that a session dispatches by. The functions here only join a method to the
virtual host and answer it; the rules are the virtual host's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from .. import wire
from .channel import BrokerChannel
from .replies import REPLY_QUEUE

__all__ = ["METHODS"]


def queue_declare(channel: BrokerChannel, method: wire.QueueDeclare) -> None:
    """See `METHODS`; the name of direct reply-to is always there, and used."""
    if method.queue.startswith(REPLY_QUEUE):
        name, messages, consumers = method.queue, 0, 1
        if name != REPLY_QUEUE and not channel.session.replies.exists(name):
            channel.host.queue(name)
    else:
        queue = channel.host.declare_queue(
            channel.session,
            method.queue,
            passive=method.passive,
            durable=method.durable,
            exclusive=method.exclusive,
            auto_delete=method.auto_delete,
            arguments=method.arguments,
        )
        name, messages, consumers = queue.name, queue.message_count(), len(queue.consumers)
    channel.last_queue = name
    if not method.nowait:
        channel.send(wire.QueueDeclareOk(name, messages, consumers))


def queue_bind(channel: BrokerChannel, method: wire.QueueBind) -> None:
    """See `METHODS`."""
    name, key = _binding(channel, method.queue, method.routing_key)
    channel.host.bind_queue(channel.session, name, method.exchange, key, method.arguments)
    if not method.nowait:
        channel.send(wire.QueueBindOk())


def queue_unbind(channel: BrokerChannel, method: wire.QueueUnbind) -> None:
    """See `METHODS`."""
    name, key = _binding(channel, method.queue, method.routing_key)
    channel.host.unbind_queue(channel.session, name, method.exchange, key, method.arguments)
    channel.send(wire.QueueUnbindOk())


def _binding(channel: BrokerChannel, queue: str, key: str) -> tuple[str, str]:
    """With neither queue nor key given, both are the queue declared last."""
    name = channel.queue_name(queue)
    return name, key if queue or key else name


def queue_purge(channel: BrokerChannel, method: wire.QueuePurge) -> None:
    """See `METHODS`."""
    count = channel.host.purge_queue(channel.session, channel.queue_name(method.queue))
    if not method.nowait:
        channel.send(wire.QueuePurgeOk(count))


def queue_delete(channel: BrokerChannel, method: wire.QueueDelete) -> None:
    """See `METHODS`; the answer comes before the news to the consumers."""
    queue = channel.host.check_delete_queue(
        channel.session,
        channel.queue_name(method.queue),
        if_unused=method.if_unused,
        if_empty=method.if_empty,
    )
    if not method.nowait:
        channel.send(wire.QueueDeleteOk(0 if queue is None else queue.message_count()))
    if queue is not None:
        channel.host.remove_queue(queue)


def exchange_declare(channel: BrokerChannel, method: wire.ExchangeDeclare) -> None:
    """See `METHODS`."""
    channel.host.declare_exchange(
        method.exchange,
        method.type,
        passive=method.passive,
        durable=method.durable,
        auto_delete=method.auto_delete,
        internal=method.internal,
        arguments=method.arguments,
    )
    if not method.nowait:
        channel.send(wire.ExchangeDeclareOk())


def exchange_delete(channel: BrokerChannel, method: wire.ExchangeDelete) -> None:
    """See `METHODS`."""
    channel.host.delete_exchange(method.exchange, if_unused=method.if_unused)
    if not method.nowait:
        channel.send(wire.ExchangeDeleteOk())


def exchange_bind(channel: BrokerChannel, method: wire.ExchangeBind) -> None:
    """See `METHODS`."""
    channel.host.bind_exchange(
        method.destination, method.source, method.routing_key, method.arguments
    )
    if not method.nowait:
        channel.send(wire.ExchangeBindOk())


def exchange_unbind(channel: BrokerChannel, method: wire.ExchangeUnbind) -> None:
    """See `METHODS`."""
    channel.host.unbind_exchange(
        method.destination, method.source, method.routing_key, method.arguments
    )
    if not method.nowait:
        channel.send(wire.ExchangeUnbindOk())


METHODS: dict[type[wire.Method], Callable[[BrokerChannel, Any], None]] = {
    wire.AccessRequest: BrokerChannel.access_request,
    wire.BasicAck: BrokerChannel.basic_ack,
    wire.BasicCancel: BrokerChannel.basic_cancel,
    wire.BasicCancelOk: BrokerChannel.ignore,
    wire.BasicConsume: BrokerChannel.basic_consume,
    wire.BasicGet: BrokerChannel.basic_get,
    wire.BasicNack: BrokerChannel.basic_nack,
    wire.BasicQos: BrokerChannel.basic_qos,
    wire.BasicRecover: BrokerChannel.basic_recover,
    wire.BasicRecoverAsync: BrokerChannel.basic_recover_async,
    wire.BasicReject: BrokerChannel.basic_reject,
    wire.ChannelFlow: BrokerChannel.channel_flow,
    wire.ChannelFlowOk: BrokerChannel.ignore,
    wire.ConfirmSelect: BrokerChannel.confirm_select,
    wire.ExchangeBind: exchange_bind,
    wire.ExchangeDeclare: exchange_declare,
    wire.ExchangeDelete: exchange_delete,
    wire.ExchangeUnbind: exchange_unbind,
    wire.QueueBind: queue_bind,
    wire.QueueDeclare: queue_declare,
    wire.QueueDelete: queue_delete,
    wire.QueuePurge: queue_purge,
    wire.QueueUnbind: queue_unbind,
    wire.TxCommit: BrokerChannel.tx_commit,
    wire.TxRollback: BrokerChannel.tx_rollback,
    wire.TxSelect: BrokerChannel.tx_select,
}
"""What a client may send on an open channel, besides basic.publish; each raises the `PeerError`
that RabbitMQ answers with."""
