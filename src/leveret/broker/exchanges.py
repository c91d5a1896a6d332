"""The exchanges of a virtual host: declaring and binding them, and the way of a message. Pure.

A binding is a source, a destination, a key and arguments; the same one twice is one. Routing
walks from exchange to exchange, each visited once, and collects queues, each once. An exchange
that matches nothing passes the message to its alternate exchange (RabbitMQ, "Alternate
Exchanges"). Where the routing key alone decides, the queues found are remembered until a binding
or an exchange changes; the default exchange is a look-up by name and remembers nothing.

`Exchanges` is one half of a virtual host; `vhost` has the queues, and the rules of both.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from ..exceptions import AccessRefused, NotFound, PreconditionFailed
from .arguments import Arguments, check_equivalence, check_exchange_arguments, check_same
from .faults import entity, fault
from .queue import Queue
from .routing import EXCHANGE_TYPES, Router, freeze

__all__ = ["NO_ARGUMENTS", "Destination", "Exchange", "Exchanges", "binding_identity", "stripped"]

REMEMBERED_ROUTES = 10_000  # an exchange; then it starts anew

PREDECLARED = (
    ("", "direct", False),
    ("amq.direct", "direct", False),
    ("amq.fanout", "fanout", False),
    ("amq.headers", "headers", False),
    ("amq.match", "headers", False),
    ("amq.rabbitmq.trace", "topic", True),
    ("amq.topic", "topic", False),
)

NO_ARGUMENTS: Arguments = {}


class Exchange:
    """An exchange.

    Attributes:
        type: direct, fanout, topic or headers.
        alternate: where messages go that match nothing; None for nowhere.
        router: its bindings, as messages ask for them.
        bindings: its bindings, each once, by identity.
        routes: by routing key, the queues found before.
        texts: how error texts name it.
    """

    __slots__ = (
        "alternate",
        "arguments",
        "auto_delete",
        "bindings",
        "durable",
        "internal",
        "name",
        "router",
        "routes",
        "texts",
        "type",
    )

    def __init__(
        self,
        name: str,
        type_: str,
        *,
        texts: str,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = NO_ARGUMENTS,
    ) -> None:
        self.name = name
        self.type = type_
        self.texts = texts
        self.durable = durable
        self.auto_delete = auto_delete
        self.internal = internal
        self.arguments = arguments
        alternate = arguments.get("alternate-exchange")
        self.alternate = alternate if isinstance(alternate, str) else None
        self.router: Router[Destination] = EXCHANGE_TYPES[type_]()  # type: ignore[assignment]
        self.bindings: dict[Hashable, tuple[Destination, str, Arguments]] = {}
        self.routes: dict[str, tuple[Queue, ...]] = {}

    def __repr__(self) -> str:
        return f"<Exchange {self.name!r} {self.type} bindings={len(self.bindings)}>"


Destination = Queue | Exchange


class Exchanges:
    """The exchanges of a virtual host, and their bindings.

    Args:
        name: that of the virtual host.

    Attributes:
        exchanges, queues: by name.
    """

    def __init__(self, name: str) -> None:
        self.name = name
        self.exchanges: dict[str, Exchange] = {}
        self.queues: dict[str, Queue] = {}
        # by destination, its bindings: the source and the identity there
        self._bound: dict[Destination, dict[tuple[Exchange, Hashable], None]] = {}
        self._remembering: set[Exchange] = set()
        for exchange, type_, internal in PREDECLARED:
            self.exchanges[exchange] = Exchange(
                exchange,
                type_,
                texts=self._texts("exchange", exchange),
                durable=True,
                internal=internal,
            )

    def _texts(self, kind: str, name: str) -> str:
        return entity(kind, name, self.name)

    # -- routing ---------------------------------------------------------------------------

    def route(self, exchange: Exchange, routing_key: str) -> Sequence[Queue] | None:
        """The queues of a message by its routing key; None where headers decide as well."""
        if not exchange.name:
            queue = self.queues.get(routing_key)
            return () if queue is None else (queue,)
        found = exchange.routes.get(routing_key)
        if found is None:
            queues, by_key = self._walk(exchange, (routing_key,), None)
            if not by_key:
                return None
            found = tuple(queues)
            if len(exchange.routes) >= REMEMBERED_ROUTES:
                exchange.routes.clear()
            exchange.routes[routing_key] = found
            self._remembering.add(exchange)
        return found

    def route_all(
        self, exchange: Exchange, routing_keys: Sequence[str], headers: Arguments
    ) -> Sequence[Queue]:
        """The queues of a message by its routing keys (with those of CC and BCC) and headers."""
        return self._walk(exchange, routing_keys, headers)[0]

    def _walk(
        self, exchange: Exchange, keys: Sequence[str], headers: Arguments | None
    ) -> tuple[list[Queue], bool]:
        """The queues, and whether the keys alone decided; without headers it stops if not."""
        queues: dict[Queue, None] = {}
        seen = {exchange}
        todo = [exchange]
        while todo:
            source = todo.pop()
            if headers is None and not (source.name and source.router.by_key):
                return [], False
            found = self._match(source, keys, headers or NO_ARGUMENTS)
            if not found and source.alternate is not None:
                alternate = self.exchanges.get(source.alternate)
                found = [] if alternate is None else [alternate]
            for destination in found:
                if isinstance(destination, Queue):
                    queues[destination] = None
                elif destination not in seen:
                    seen.add(destination)
                    todo.append(destination)
        return list(queues), True

    def _match(
        self, source: Exchange, keys: Sequence[str], headers: Arguments
    ) -> Sequence[Destination]:
        if source.name:
            return list(source.router.match(keys, headers))
        return [self.queues[key] for key in keys if key in self.queues]

    def _routes_changed(self) -> None:
        for exchange in self._remembering:
            exchange.routes.clear()
        self._remembering.clear()

    # -- exchanges -------------------------------------------------------------------------

    def exchange(self, name: str) -> Exchange:
        """An exchange by name.

        Raises:
            NotFound: there is none.
        """
        found = self.exchanges.get(name)
        if found is None:
            raise fault(NotFound, f"no {self._texts('exchange', name)}")
        return found

    def declare_exchange(
        self,
        name: str,
        type_: str,
        *,
        passive: bool = False,
        durable: bool = False,
        auto_delete: bool = False,
        internal: bool = False,
        arguments: Arguments = NO_ARGUMENTS,
    ) -> Exchange:
        """exchange.declare.

        Raises:
            AccessRefused: the default exchange, or a reserved name that is not there yet.
            NotFound: passive, and there is none.
            PreconditionFailed: an unknown type, or it is there and different.
        """
        name = stripped(name)
        if passive:
            self._refuse_default(name)
            return self.exchange(name)
        if type_ not in EXCHANGE_TYPES:
            raise fault(PreconditionFailed, f"invalid exchange type '{type_}'")
        self._refuse_default(name)
        found = self.exchanges.get(name)
        if found is None:
            self._refuse_reserved("exchange", name)
            texts = self._texts("exchange", name)
            check_exchange_arguments(arguments, texts)
            found = self.exchanges[name] = Exchange(
                name,
                type_,
                texts=texts,
                durable=durable,
                auto_delete=auto_delete,
                internal=internal,
                arguments=dict(arguments),
            )
            self._routes_changed()  # it may be somebody's alternate exchange
            return found
        check_same("type", found.type, type_, found.texts)
        check_same("durable", found.durable, durable, found.texts)
        check_same("auto_delete", found.auto_delete, auto_delete, found.texts)
        check_same("internal", found.internal, internal, found.texts)
        check_equivalence(("alternate-exchange",), found.arguments, arguments, found.texts)
        return found

    def delete_exchange(self, name: str, *, if_unused: bool = False) -> None:
        """exchange.delete; one that is not there is deleted already.

        Raises:
            AccessRefused: the default exchange, or a reserved name.
            PreconditionFailed: `if_unused`, and it has bindings.
        """
        name = stripped(name)
        self._refuse_default(name)
        texts = self._texts("exchange", name)
        if name.startswith("amq."):
            raise fault(AccessRefused, f"deletion of system {texts} not allowed")
        exchange = self.exchanges.get(name)
        if exchange is None:
            return
        if if_unused and exchange.bindings:
            raise fault(PreconditionFailed, f"{texts} in use")
        self._remove_exchange(exchange)

    def _remove_exchange(self, exchange: Exchange) -> None:
        if self.exchanges.get(exchange.name) is not exchange:
            return
        del self.exchanges[exchange.name]
        for destination, key, arguments in list(exchange.bindings.values()):
            self._remove_binding(exchange, destination, key, arguments)
        self._remove_bindings_to(exchange)
        self._routes_changed()

    def _refuse_default(self, *names: str) -> None:
        if not all(names):
            raise fault(AccessRefused, "operation not permitted on the default exchange")

    def _refuse_reserved(self, kind: str, name: str) -> None:
        if name.startswith("amq."):
            raise fault(AccessRefused, f"{kind} name '{name}' contains reserved prefix 'amq.*'")

    # -- bindings --------------------------------------------------------------------------

    def bind_exchange(
        self, destination: str, source: str, routing_key: str, arguments: Arguments = NO_ARGUMENTS
    ) -> None:
        """exchange.bind.

        Raises:
            AccessRefused: the default exchange. NotFound: no such exchange.
            PreconditionFailed: arguments.
        """
        source, destination = stripped(source), stripped(destination)
        self._refuse_default(destination, source)
        from_, to = self.exchange(source), self.exchange(destination)
        from_.router.validate(routing_key, arguments)
        self._add_binding(from_, to, routing_key, arguments)

    def unbind_exchange(
        self, destination: str, source: str, routing_key: str, arguments: Arguments = NO_ARGUMENTS
    ) -> None:
        """exchange.unbind; a binding that is not there is gone already.

        Raises:
            AccessRefused: the default exchange.
        """
        source, destination = stripped(source), stripped(destination)
        self._refuse_default(destination, source)
        from_, to = self.exchanges.get(source), self.exchanges.get(destination)
        if from_ is not None and to is not None:
            self._remove_binding(from_, to, routing_key, arguments)

    def _add_binding(
        self, source: Exchange, destination: Destination, key: str, arguments: Arguments
    ) -> None:
        identity = binding_identity(destination, key, arguments)
        if identity in source.bindings:
            return
        arguments = dict(arguments)
        source.bindings[identity] = (destination, key, arguments)
        source.router.add(destination, key, arguments)
        self._bound.setdefault(destination, {})[source, identity] = None
        self._routes_changed()

    def _remove_binding(
        self, source: Exchange, destination: Destination, key: str, arguments: Arguments
    ) -> None:
        identity = binding_identity(destination, key, arguments)
        if source.bindings.pop(identity, None) is None:
            return
        source.router.remove(destination, key, arguments)
        bound = self._bound[destination]
        del bound[source, identity]
        if not bound:
            del self._bound[destination]
        self._routes_changed()
        if source.auto_delete and not source.bindings:
            self._remove_exchange(source)

    def _remove_bindings_to(self, destination: Destination) -> None:
        for source, identity in list(self._bound.get(destination, ())):
            found = source.bindings.get(identity)  # gone with an auto-delete exchange, perhaps
            if found is not None:
                self._remove_binding(source, *found)


def binding_identity(destination: Destination, key: str, arguments: Arguments) -> Hashable:
    """What makes a binding of an exchange the same as another one."""
    return (destination, key, freeze(arguments))


def stripped(name: str) -> str:
    """RabbitMQ drops line ends from names."""
    return name.replace("\n", "").replace("\r", "") if "\n" in name or "\r" in name else name
