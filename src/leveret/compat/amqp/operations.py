"""What a channel does to exchanges, queues and transactions: a request, and its reply."""

from __future__ import annotations

from typing import Any

from . import spec
from .abstract_channel import AbstractChannel
from .protocol import queue_declare_ok_t

__all__ = ["Operations"]


class Operations(AbstractChannel):
    """The operations that have nothing to do with messages.

    Each takes `argsig`, the letters of its arguments, and with `nowait` returns at once.
    """

    # -- exchanges -------------------------------------------------------------------------

    def exchange_declare(
        self,
        exchange: str,
        type: str,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Any = None,
        argsig: str = "BssbbbbbF",
    ) -> None:
        """Create an exchange, or with `passive` see that it is there."""
        self.send_method(
            spec.Exchange.Declare,
            argsig,
            (0, exchange, type, passive, durable, auto_delete, False, nowait, arguments),
            wait=None if nowait else spec.Exchange.DeclareOk,
        )

    def exchange_delete(
        self, exchange: str, if_unused: bool = False, nowait: bool = False, argsig: str = "Bsbb"
    ) -> Any:
        """Delete an exchange."""
        return self.send_method(
            spec.Exchange.Delete,
            argsig,
            (0, exchange, if_unused, nowait),
            wait=None if nowait else spec.Exchange.DeleteOk,
        )

    def exchange_bind(
        self,
        destination: str,
        source: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Any = None,
        argsig: str = "BsssbF",
    ) -> Any:
        """Have an exchange fed by another (RabbitMQ)."""
        return self.send_method(
            spec.Exchange.Bind,
            argsig,
            (0, destination, source, routing_key, nowait, arguments),
            wait=None if nowait else spec.Exchange.BindOk,
        )

    def exchange_unbind(
        self,
        destination: str,
        source: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Any = None,
        argsig: str = "BsssbF",
    ) -> Any:
        """Undo `exchange_bind`."""
        return self.send_method(
            spec.Exchange.Unbind,
            argsig,
            (0, destination, source, routing_key, nowait, arguments),
            wait=None if nowait else spec.Exchange.UnbindOk,
        )

    # -- queues ----------------------------------------------------------------------------

    def queue_bind(
        self,
        queue: str,
        exchange: str = "",
        routing_key: str = "",
        nowait: bool = False,
        arguments: Any = None,
        argsig: str = "BsssbF",
    ) -> Any:
        """Have a queue fed by an exchange."""
        return self.send_method(
            spec.Queue.Bind,
            argsig,
            (0, queue, exchange, routing_key, nowait, arguments),
            wait=None if nowait else spec.Queue.BindOk,
        )

    def queue_unbind(
        self,
        queue: str,
        exchange: str,
        routing_key: str = "",
        nowait: bool = False,
        arguments: Any = None,
        argsig: str = "BsssF",
    ) -> Any:
        """Undo `queue_bind`."""
        return self.send_method(
            spec.Queue.Unbind,
            argsig,
            (0, queue, exchange, routing_key, arguments),
            wait=None if nowait else spec.Queue.UnbindOk,
        )

    def queue_declare(
        self,
        queue: str = "",
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = True,
        nowait: bool = False,
        arguments: Any = None,
        argsig: str = "BsbbbbbF",
    ) -> Any:
        """Create a queue, or with `passive` see that it is there.

        Returns:
            Name, messages and consumers; None with `nowait`.
        """
        self.send_method(
            spec.Queue.Declare,
            argsig,
            (0, queue, passive, durable, exclusive, auto_delete, nowait, arguments),
        )
        if nowait:
            return None
        return queue_declare_ok_t(*self.wait(spec.Queue.DeclareOk, returns_tuple=True))

    def queue_delete(
        self,
        queue: str = "",
        if_unused: bool = False,
        if_empty: bool = False,
        nowait: bool = False,
        argsig: str = "Bsbbb",
    ) -> Any:
        """Delete a queue; how many messages were in it."""
        return self.send_method(
            spec.Queue.Delete,
            argsig,
            (0, queue, if_unused, if_empty, nowait),
            wait=None if nowait else spec.Queue.DeleteOk,
        )

    def queue_purge(self, queue: str = "", nowait: bool = False, argsig: str = "Bsb") -> Any:
        """Empty a queue; how many messages were in it."""
        return self.send_method(
            spec.Queue.Purge,
            argsig,
            (0, queue, nowait),
            wait=None if nowait else spec.Queue.PurgeOk,
        )

    # -- transactions ----------------------------------------------------------------------

    def tx_select(self) -> Any:
        """Make the channel transactional."""
        return self.send_method(spec.Tx.Select, wait=spec.Tx.SelectOk)

    def tx_commit(self) -> Any:
        """End a transaction, with effect; the next one has begun then."""
        return self.send_method(spec.Tx.Commit, wait=spec.Tx.CommitOk)

    def tx_rollback(self) -> Any:
        """End a transaction, without effect; the next one has begun then."""
        return self.send_method(spec.Tx.Rollback, wait=spec.Tx.RollbackOk)
