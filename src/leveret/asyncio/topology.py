"""The operations on exchanges and queues, by the names of AMQP 0-9-1."""

from __future__ import annotations

from collections.abc import Mapping

from .. import wire
from ..client.channel import BaseChannel
from ..client.deadline import check_timeout
from ..client.results import QueueDeclared

__all__ = ["Arguments", "Topology"]

Arguments = Mapping[str, object]

# It is what programs ask most: as often as anything of theirs is to be there.
make_queue_declare = wire.maker(wire.QueueDeclare, wire.QueueDeclare.fields, {"channel": 0})


class Topology(BaseChannel):
    """The part of a channel that declares, binds and deletes. See `Channel`."""

    async def _call(self, method: wire.Method, timeout: float | None) -> wire.Method:
        reply = await self.core.request(self.protocol.send_request, method, timeout)
        answer: wire.Method = reply.reply
        return answer

    async def _do(self, method: wire.Method, nowait: bool, timeout: float | None) -> None:
        if nowait:
            if timeout is not None:
                check_timeout(timeout)
            self.core.post(self.protocol, method)
        else:
            await self._call(method, timeout)

    # -- exchanges -------------------------------------------------------------------------

    async def exchange_declare(
        self,
        exchange: str,
        type: str = "direct",
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments | None = None,
        nowait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Make sure that an exchange exists (AMQP 0-9-1, exchange.declare).

        Args:
            exchange: its name, at most 255 bytes.
            type: `direct`, `fanout`, `topic`, `headers` or a plugin's.
            passive: only ask whether it exists.
            durable: it survives a restart of the broker.
            auto_delete: it goes when its last binding goes.
            internal: only other exchanges may publish to it.
            arguments: such as `alternate-exchange`.
            nowait: do not wait for the answer; an error closes the channel later.
            timeout: see the class.
        """
        await self._do(
            wire.ExchangeDeclare(
                exchange, type, passive, durable, auto_delete, internal, nowait, arguments or {}
            ),
            nowait,
            timeout,
        )

    async def exchange_delete(
        self,
        exchange: str,
        *,
        if_unused: bool = False,
        nowait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Delete an exchange (AMQP 0-9-1, exchange.delete).

        Args:
            exchange: its name; that it does not exist is no error.
            if_unused: refuse while it has bindings.
            nowait, timeout: as `exchange_declare`.
        """
        await self._do(wire.ExchangeDelete(exchange, if_unused, nowait), nowait, timeout)

    async def exchange_bind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        *,
        arguments: Arguments | None = None,
        nowait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let messages flow between exchanges (RabbitMQ, "Exchange to Exchange Bindings").

        Args:
            destination: the exchange that receives.
            source: the exchange that gives.
            routing_key: which messages.
            arguments: for `headers` exchanges.
            nowait, timeout: as `exchange_declare`.
        """
        await self._do(
            wire.ExchangeBind(destination, source, routing_key, nowait, arguments or {}),
            nowait,
            timeout,
        )

    async def exchange_unbind(
        self,
        destination: str,
        source: str,
        routing_key: str = "",
        *,
        arguments: Arguments | None = None,
        nowait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Undo `exchange_bind`; the arguments name the binding."""
        await self._do(
            wire.ExchangeUnbind(destination, source, routing_key, nowait, arguments or {}),
            nowait,
            timeout,
        )

    # -- queues ----------------------------------------------------------------------------

    async def queue_declare(
        self,
        queue: str = "",
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments | None = None,
        timeout: float | None = None,
    ) -> QueueDeclared:
        """Make sure that a queue exists (AMQP 0-9-1, queue.declare).

        Args:
            queue: its name, at most 255 bytes; empty lets the broker choose one.
            passive: only ask whether it exists.
            durable: it survives a restart of the broker.
            exclusive: only this connection may use it, and it goes with it.
            auto_delete: it goes when its last consumer goes.
            arguments: such as `x-queue-type`.
            timeout: see the class.

        Returns:
            The name, and how many ready messages and consumers it has.
        """
        reply = await self.core.request(  # as `_call`, without the call
            self.protocol.send_request,
            make_queue_declare(
                queue, passive, durable, exclusive, auto_delete, False, arguments or {}
            ),
            timeout,
        )
        ok: wire.QueueDeclareOk = reply.reply
        return QueueDeclared(ok.queue, ok.message_count, ok.consumer_count)

    async def queue_bind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        *,
        arguments: Arguments | None = None,
        nowait: bool = False,
        timeout: float | None = None,
    ) -> None:
        """Let an exchange give messages to a queue (AMQP 0-9-1, queue.bind).

        Args:
            queue: empty means the queue that this channel declared last.
            exchange: where the messages come from.
            routing_key: which messages; its meaning is the exchange type's.
            arguments: for `headers` exchanges.
            nowait, timeout: as `exchange_declare`.
        """
        await self._do(
            wire.QueueBind(queue, exchange, routing_key, nowait, arguments or {}), nowait, timeout
        )

    async def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        *,
        arguments: Arguments | None = None,
        timeout: float | None = None,
    ) -> None:
        """Undo `queue_bind`; the arguments name the binding."""
        await self._call(wire.QueueUnbind(queue, exchange, routing_key, arguments or {}), timeout)

    async def queue_purge(self, queue: str, *, timeout: float | None = None) -> int:
        """Throw away the ready messages of a queue; gives how many there were."""
        reply = await self._call(wire.QueuePurge(queue), timeout)
        assert isinstance(reply, wire.QueuePurgeOk)
        return reply.message_count

    async def queue_delete(
        self,
        queue: str,
        *,
        if_unused: bool = False,
        if_empty: bool = False,
        timeout: float | None = None,
    ) -> int:
        """Delete a queue with its messages; gives how many there were.

        Args:
            queue: its name; that it does not exist is no error.
            if_unused: refuse while it has consumers.
            if_empty: refuse while it has messages.
            timeout: see the class.
        """
        reply = await self._call(wire.QueueDelete(queue, if_unused, if_empty), timeout)
        assert isinstance(reply, wire.QueueDeleteOk)
        return reply.message_count
