"""A virtual host: exchanges, queues, bindings, and the rules for declaring them. Pure.

Each operation is one AMQP method (AMQP 0-9-1, 1.6 and 1.7, with RabbitMQ's exchange bindings):
it checks in RabbitMQ's order, raises what RabbitMQ answers in RabbitMQ's words, or does the
thing. A virtual host knows no channels and no bytes; `owner` is whatever stands for a
connection, for exclusive queues.

Dead letters of its queues wait in `dead` until the queues are at rest: whoever drives the host
then calls `publish_dead_letter` for each. So a queue never calls another one, and a chain of
them, however long, takes no more than one place on the stack.
"""

from __future__ import annotations

import base64
import secrets
from collections import deque

from .. import wire
from ..exceptions import AccessRefused, NotFound, PreconditionFailed, ResourceLocked
from .arguments import (
    QUEUE_ARGUMENTS,
    Arguments,
    check_equivalence,
    check_queue_arguments,
    check_same,
)
from .clock import Timers
from .dead_letters import dead_letter, goes_in_a_circle
from .exchanges import NO_ARGUMENTS, Exchanges, binding_identity, stripped
from .faults import fault
from .publishing import visible_keys
from .queue import Home, Queue, Reason, Usage
from .replies import REPLY_QUEUE_PREFIX
from .rules import RULES, RuledQueue

__all__ = ["DeadLetters", "VirtualHost", "generated_name"]


def generated_name(prefix: str) -> str:
    """A name that nobody else has: `amq.gen-` and the like, with 128 random bits."""
    random = base64.urlsafe_b64encode(secrets.token_bytes(16)).rstrip(b"=").decode()
    return f"{prefix}-{random}"


class VirtualHost(Exchanges, Home):
    """One virtual host.

    Args:
        name: `/` and the like.
        usage: where the bytes of its messages are counted.
        timers: the time that its queues live by.
        dead: where its dead letters wait; an attribute as well.
    """

    def __init__(
        self,
        name: str = "/",
        usage: Usage | None = None,
        timers: Timers | None = None,
        dead: DeadLetters | None = None,
    ) -> None:
        Exchanges.__init__(self, name)
        Home.__init__(self, usage, timers)
        self.dead: DeadLetters = deque() if dead is None else dead
        self._owned: dict[object, dict[Queue, None]] = {}  # exclusive queues by connection

    # -- bindings --------------------------------------------------------------------------

    def bind_queue(
        self,
        owner: object,
        queue: str,
        exchange: str,
        routing_key: str,
        arguments: Arguments = NO_ARGUMENTS,
    ) -> None:
        """queue.bind.

        Raises:
            AccessRefused: the default exchange. NotFound: no such exchange or queue.
            PreconditionFailed: arguments. ResourceLocked: another connection's queue.
        """
        source_name, queue = stripped(exchange), stripped(queue)
        self._refuse_reply_queue(queue)
        self._refuse_default(source_name)
        source, destination = self.exchange(source_name), self.queue(queue)
        source.router.validate(routing_key, arguments)
        self._check_access(owner, destination)
        self._add_binding(source, destination, routing_key, arguments)

    def unbind_queue(
        self,
        owner: object,
        queue: str,
        exchange: str,
        routing_key: str,
        arguments: Arguments = NO_ARGUMENTS,
    ) -> None:
        """queue.unbind; a binding that is not there is gone already.

        Raises:
            AccessRefused: the default exchange. ResourceLocked: another connection's queue.
        """
        source_name, queue = stripped(exchange), stripped(queue)
        self._refuse_reply_queue(queue)
        self._refuse_default(source_name)
        source, destination = self.exchanges.get(source_name), self.queues.get(queue)
        if source is None or destination is None:
            return
        if binding_identity(destination, routing_key, arguments) in source.bindings:
            self._check_access(owner, destination)
            self._remove_binding(source, destination, routing_key, arguments)

    def _refuse_reply_queue(self, queue: str) -> None:
        if queue.startswith(REPLY_QUEUE_PREFIX):
            raise fault(
                AccessRefused, "cannot bind or unbind to a volatile (direct reply-to) queue"
            )

    # -- queues ----------------------------------------------------------------------------

    def queue(self, name: str) -> Queue:
        """A queue by name.

        Raises:
            NotFound: there is none.
        """
        found = self.queues.get(name)
        if found is None:
            raise fault(NotFound, f"no {self._texts('queue', name)}")
        return found

    def queue_for(self, owner: object, name: str) -> Queue:
        """A queue by name, for use by a connection.

        Raises:
            NotFound: there is none. ResourceLocked: it is another connection's.
        """
        queue = self.queue(name)
        self._check_access(owner, queue)
        return queue

    def _check_access(self, owner: object, queue: Queue) -> None:
        if queue.owner is not None and queue.owner is not owner:
            raise self._locked(queue)

    def _locked(self, queue: Queue) -> Exception:
        return fault(
            ResourceLocked,
            f"cannot obtain exclusive access to locked {queue.texts}. It could be originally "
            "declared on another connection or the exclusive property value does not match that "
            "of the original declaration.",
        )

    def declare_queue(
        self,
        owner: object,
        name: str,
        *,
        passive: bool = False,
        durable: bool = False,
        exclusive: bool = False,
        auto_delete: bool = False,
        arguments: Arguments = NO_ARGUMENTS,
    ) -> Queue:
        """queue.declare; an empty name gets a generated one.

        Raises:
            AccessRefused: a reserved name. NotFound: passive, and there is none.
            NotImplementedByPeer: an argument that is not supported.
            PreconditionFailed: it is there and different, or a bad argument.
            ResourceLocked: it is exclusive to another connection, or is and was declared not so.
        """
        name = stripped(name)
        if passive:
            queue = self.queue_for(owner, name)
            queue.touch()
            return queue
        durable = durable and not exclusive
        if name:
            self._refuse_reserved("queue", name)
        elif arguments.get("x-queue-type") in ("quorum", "stream"):
            raise fault(
                PreconditionFailed,
                "Cannot declare a server-named queue for type "
                f"rabbit_{arguments['x-queue-type']}_queue",
            )
        else:
            name = generated_name("amq.gen")
        found = self.queues.get(name)
        arguments = {"x-queue-type": "classic"} | dict(arguments)
        if found is not None:
            if found.owner is not (owner if exclusive else None):
                raise self._locked(found)
            found.touch()
            check_same("durable", found.durable, durable, found.texts)
            check_same("auto_delete", found.auto_delete, auto_delete, found.texts)
            check_equivalence(QUEUE_ARGUMENTS, found.arguments, arguments, found.texts)
            return found
        texts = self._texts("queue", name)
        check_queue_arguments(arguments, texts, durable, exclusive, auto_delete)
        kind = RuledQueue if any(rule in arguments for rule in RULES) else Queue
        queue = self.queues[name] = kind(
            name,
            texts=texts,
            durable=durable,
            auto_delete=auto_delete,
            owner=owner if exclusive else None,
            arguments=arguments,
            home=self,
        )
        if exclusive:
            self._owned.setdefault(owner, {})[queue] = None
        return queue

    def purge_queue(self, owner: object, name: str) -> int:
        """queue.purge.

        Returns:
            How many messages were forgotten.

        Raises:
            NotFound: there is none. ResourceLocked: it is another connection's.
        """
        return self.queue_for(owner, name).purge()

    def check_delete_queue(
        self, owner: object, name: str, *, if_unused: bool = False, if_empty: bool = False
    ) -> Queue | None:
        """queue.delete, the checks; None for a queue that is not there. Next: `remove_queue`.

        Raises:
            PreconditionFailed: it is in use, or not empty, and that was to be checked.
            ResourceLocked: it is another connection's.
        """
        queue = self.queues.get(stripped(name))
        if queue is None:
            return None
        self._check_access(owner, queue)
        if if_empty and queue.message_count():
            raise fault(PreconditionFailed, f"{queue.texts} not empty")
        if if_unused and queue.consumers:
            raise fault(PreconditionFailed, f"{queue.texts} in use")
        return queue

    def remove_queue(self, queue: Queue) -> int:
        """Delete a queue with its bindings; its consumers are told.

        Returns:
            How many messages were ready in it.
        """
        if self.queues.get(queue.name) is not queue:
            return 0
        del self.queues[queue.name]
        if queue.owner is not None:
            owned = self._owned[queue.owner]
            del owned[queue]
            if not owned:
                del self._owned[queue.owner]
        self._remove_bindings_to(queue)
        return queue.delete()

    def lapsed(self, queue: Queue) -> None:
        """See `Home`."""
        self.remove_queue(queue)

    def remove_queues_of(self, owner: object) -> None:
        """A connection has ended: its exclusive queues go."""
        for queue in list(self._owned.get(owner, ())):
            self.remove_queue(queue)

    # -- dead letters ----------------------------------------------------------------------

    def bury(self, queue: Queue, message: wire.Content, reason: Reason) -> None:
        """See `Home`."""
        assert isinstance(queue, RuledQueue)
        self.dead.append((self, queue, message, reason))

    def publish_dead_letter(self, queue: RuledQueue, message: wire.Content, reason: Reason) -> None:
        """A message has died in a queue: on to its dead letter exchange, if that is there.

        Nobody is told of a message that no queue there wants (RabbitMQ, "Dead Letter Exchanges",
        "Safety").
        """
        exchange = self.exchanges.get(queue.dead_letter_exchange or "")
        if exchange is None:
            return
        letter = dead_letter(queue, message, reason, self.timers.wall())
        keys = (*visible_keys(letter), *letter.hidden_keys)
        headers = letter.properties.headers or NO_ARGUMENTS
        for target in self.route_all(exchange, keys, headers):
            if reason is Reason.REJECTED or not goes_in_a_circle(letter, target.name):
                target.publish(letter)


DeadLetters = deque[tuple[VirtualHost, RuledQueue, wire.Content, Reason]]
"""Where a message died, and why."""
