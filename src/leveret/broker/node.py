"""What the connections of one broker share: users, virtual hosts, memory, who has bytes to send.

A node is the broker without its sockets. Sessions call it; it calls sessions back to flush what
they have to send, and to hold publishers back while there is an alarm: the messages take more
memory than the node may use, or a test asked for it (RabbitMQ, "Alarms"). Like RabbitMQ it
leaves a connection alone until it publishes.
"""

from __future__ import annotations

import os
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING

from ..exceptions import ConfigurationError, RemoteProtocolError
from ..protocol import ServerOptions, parse_response
from .clock import Timers
from .queue import Usage
from .replies import ReplyConsumers
from .vhost import DeadLetters, VirtualHost

if TYPE_CHECKING:
    from .session import Session

__all__ = ["MECHANISMS", "Node", "NodeOptions", "default_memory_limit"]

MECHANISMS = ("AMQPLAIN", "ANONYMOUS", "PLAIN")
ANONYMOUS_USER = "guest"
MEMORY_SHARE = 0.6  # of the machine, as RabbitMQ 4
RELIEF = 0.9  # of the limit: where the alarm ends
MAX_BODY = 536_870_912  # bytes that a content header may announce to RabbitMQ
VERSION = "4.3.6"
DEAD_LETTERS_AT_ONCE = 200  # then others have their turn


def default_memory_limit() -> int:
    """Sixty per cent of the machine's memory, in bytes; a gigabyte where that is unknown."""
    try:
        return int(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * MEMORY_SHARE)
    except (AttributeError, OSError, ValueError):
        return 1 << 30


def _server_properties() -> Mapping[str, object]:
    # Clients look at product and version to learn which dialect is spoken: kombu, for one, takes
    # the meaning of basic.qos from them. The dialect is RabbitMQ's.
    return {
        "product": "RabbitMQ",
        "version": VERSION,
        "platform": "Leveret embedded broker (Python)",
        "information": "Leveret speaks as RabbitMQ does; this is not RabbitMQ",
        "cluster_name": "leveret@localhost",
    }


class NodeOptions:
    """How a broker is set up.

    Args:
        users: passwords by user name; the first user is that of the URL.
        virtual_hosts: names; the first is that of the URL.
        heartbeat: seconds proposed to clients; 0 for none.
        channel_max: channels that a connection may have, proposed to clients.
        frame_max: bytes of a whole frame, proposed to clients.
        max_message_size: bytes of a body; a larger one closes its channel. RabbitMQ 4's default
            is 16 MiB.
        memory_limit: bytes that messages may take before publishers are held back; None for
            sixty per cent of the machine's memory, 0 for no limit.

    Raises:
        ConfigurationError: no user, no virtual host, or a number out of range.
    """

    def __init__(
        self,
        *,
        users: Mapping[str, str] | None = None,
        virtual_hosts: Iterable[str] = ("/",),
        heartbeat: int = 60,
        channel_max: int = 2047,
        frame_max: int = 131072,
        max_message_size: int = 16 * 1024 * 1024,
        memory_limit: int | None = None,
    ) -> None:
        self.users = dict({"guest": "guest"} if users is None else users)
        self.virtual_hosts = tuple(dict.fromkeys(virtual_hosts))
        if not self.users:
            raise ConfigurationError("a broker needs at least one user")
        if not self.virtual_hosts:
            raise ConfigurationError("a broker needs at least one virtual host")
        for name, value, low, high in (
            ("heartbeat", heartbeat, 0, 65535),
            ("channel_max", channel_max, 1, 65535),
            ("frame_max", frame_max, 8192, 2**31 - 1),
            ("max_message_size", max_message_size, 1, MAX_BODY),
            ("memory_limit", memory_limit or 0, 0, 2**63),
        ):
            if not low <= value <= high:
                raise ConfigurationError(f"{name} is {value}: expected {low} to {high}")
        self.heartbeat = heartbeat
        self.channel_max = channel_max
        self.frame_max = frame_max
        self.max_message_size = max_message_size
        self.memory_limit = default_memory_limit() if memory_limit is None else memory_limit

    def server_options(self) -> ServerOptions:
        """The protocol's part of it."""
        return ServerOptions(
            server_properties=_server_properties(),
            mechanisms=" ".join(MECHANISMS),
            heartbeat=self.heartbeat,
            channel_max=self.channel_max,
            frame_max=self.frame_max,
            max_body=MAX_BODY,
        )


class Node:
    """A broker without its sockets.

    Args:
        options: see `NodeOptions`.
        clock: gives the present in seconds, rising; connections live by it.
        queue_clock: the present for queues, in seconds since 1970, if that is another one.

    Attributes:
        timers: what queues wait for.
        hosts: the virtual hosts by name.
        replies: the consumers of direct replies.
        sessions: the connections, handshakes included.
        timer_at: see `Timed`.
        alarm: why publishers are held back, None while they are not.
    """

    def __init__(
        self,
        options: NodeOptions,
        clock: Callable[[], float],
        queue_clock: Callable[[], float] | None = None,
    ) -> None:
        self.options = options
        self.clock = clock
        self.usage = Usage()
        self.timers = Timers(queue_clock or clock, queue_clock or time.time)
        self.timer_at: float | None = None
        self._dead: DeadLetters = deque()
        self.hosts = {
            name: VirtualHost(name, self.usage, self.timers, self._dead)
            for name in options.virtual_hosts
        }
        self.replies = ReplyConsumers()
        self.sessions: dict[Session, None] = {}
        self.alarm: str | None = None
        self._low_on_memory = False
        self._asked_for: str | None = None
        self._dirty: list[Session] = []

    def authenticate(self, mechanism: str, response: bytes) -> str | None:
        """The user name of a start-ok; None if the credentials are refused."""
        try:
            given = parse_response(mechanism, response)
        except RemoteProtocolError:
            return None
        if mechanism == "ANONYMOUS":
            return ANONYMOUS_USER if ANONYMOUS_USER in self.options.users else None
        if self.options.users.get(given.username) != given.password:
            return None
        return given.username

    # -- bytes to send ---------------------------------------------------------------------

    def dirty(self, session: Session) -> None:
        """A session has bytes to send that came from another one's doing."""
        self._dirty.append(session)

    def flush(self) -> None:
        """Publish dead letters and send what there is; after anything that a session did."""
        left = DEAD_LETTERS_AT_ONCE
        while (self._dead and left) or self._dirty:
            while self._dead and left:
                left -= 1
                host, queue, message, reason = self._dead.popleft()
                host.publish_dead_letter(queue, message, reason)
            dirty, self._dirty = self._dirty, []
            for session in dirty:
                session.flush()
        if self._dead:
            self.timers.at_latest(self, self.timers.clock())

    def on_time(self) -> None:
        """See `Timed`: there are more dead letters, and `run_timers` flushes."""

    def run_timers(self) -> None:
        """Do what is due in the queues; at `timers.next_deadline`."""
        self.timers.run()
        self.check_memory()
        self.flush()

    # -- alarms ----------------------------------------------------------------------------

    def block(self, reason: str) -> None:
        """Hold publishers back, until `unblock`."""
        self._asked_for = reason
        self._decide()

    def unblock(self) -> None:
        """The end of `block`; memory may still be low."""
        self._asked_for = None
        self._decide()

    def check_memory(self) -> None:
        """Messages have come or gone: raise or end the alarm."""
        limit = self.options.memory_limit
        if limit and self._low_on_memory != (
            self.usage.bytes > (limit * RELIEF if self._low_on_memory else limit)
        ):
            self._low_on_memory = not self._low_on_memory
            self._decide()

    def _decide(self) -> None:
        before = self.alarm
        self.alarm = self._asked_for or ("low on memory" if self._low_on_memory else None)
        if before is not None and self.alarm is None:
            for session in list(self.sessions):
                session.release()
            self.flush()
