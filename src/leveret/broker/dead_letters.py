"""Dead letters: the message that goes to a dead letter exchange, and where it must not go.

Each death of a message is recorded by the queue where it died and the reason, the latest first;
dying again in the same way counts up. The record travels with the message, and its consumers find
it in the headers `x-death`, `x-first-death-*` and `x-last-death-*`. As in RabbitMQ 4, headers of
these names that a client sends are not read, and give way.

A message that dies by itself (it expires, or finds no room) must not go round in a circle: it
does not return to a queue where it has died, unless a consumer has rejected it since (RabbitMQ,
"Dead Letter Exchanges", "Automatic Dead Lettering Cycles").
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime

from .. import wire
from .publishing import AnnotatedMessage, visible_keys
from .queue import Reason
from .rules import RuledQueue

__all__ = ["Death", "dead_letter", "goes_in_a_circle"]

class Death:
    """That a message died, once or more, in one queue for one reason.

    Attributes:
        queue, reason: where and why.
        count: how often.
        time: when last, in seconds since 1970.
        exchange, routing_keys: where the message was published to when it died first.
        expiration: its own time to live then; later it has none.
    """

    __slots__ = ("count", "exchange", "expiration", "queue", "reason", "routing_keys", "time")

    def __init__(
        self,
        queue: str,
        reason: Reason,
        time: float,
        exchange: str,
        routing_keys: Iterable[str],
        expiration: str | None,
        count: int = 1,
    ) -> None:
        self.queue = queue
        self.reason = reason
        self.time = time
        self.exchange = exchange
        self.routing_keys = tuple(routing_keys)
        self.expiration = expiration
        self.count = count

    def again(self, time: float) -> Death:
        """The same once more."""
        return Death(
            self.queue,
            self.reason,
            time,
            self.exchange,
            self.routing_keys,
            self.expiration,
            self.count + 1,
        )

    def table(self) -> dict[str, object]:
        """As `x-death` has it."""
        expiration = {} if self.expiration is None else {"original-expiration": self.expiration}
        return {
            **expiration,
            "count": self.count,
            "reason": self.reason.value,
            "queue": self.queue,
            "time": datetime.fromtimestamp(int(self.time), UTC),
            "exchange": self.exchange,
            "routing-keys": list(self.routing_keys),
        }


def _record(message: wire.Content, queue: str, reason: Reason, time: float) -> tuple[Death, ...]:
    """The deaths of a message, with this one in front."""
    deaths = message.deaths if isinstance(message, AnnotatedMessage) else ()
    for number, death in enumerate(deaths):
        if death.queue == queue and death.reason is reason:
            return (death.again(time), *deaths[:number], *deaths[number + 1 :])
    keys = visible_keys(message)
    expiration = message.properties.expiration
    return (Death(queue, reason, time, message.exchange, keys, expiration), *deaths)


def _headers(
    given: Mapping[str, object] | None, deaths: tuple[Death, ...], first: Death
) -> dict[str, object]:
    headers = dict(given or {})
    headers["x-death"] = [death.table() for death in deaths]
    for which, death in (("first", first), ("last", deaths[0])):
        headers[f"x-{which}-death-exchange"] = death.exchange
        headers[f"x-{which}-death-queue"] = death.queue
        headers[f"x-{which}-death-reason"] = death.reason.value
    return headers


def dead_letter(
    queue: RuledQueue, message: wire.Content, reason: Reason, time: float
) -> AnnotatedMessage:
    """The message as it is published to the dead letter exchange of a queue.

    Args:
        queue: where it died, with an exchange for dead letters.
        message: what died.
        reason: why.
        time: when, in seconds since 1970.
    """
    assert queue.dead_letter_exchange is not None
    deaths = _record(message, queue.name, reason, time)
    first = deaths[0]
    hidden: tuple[str, ...] = ()
    if isinstance(message, AnnotatedMessage):
        first, hidden = message.first_death or first, message.hidden_keys
    headers = _headers(message.properties.headers, deaths, first)
    keys = visible_keys(message)
    if queue.dead_letter_key is not None:
        keys, hidden = (queue.dead_letter_key,), ()
    return AnnotatedMessage(
        message.channel,
        queue.dead_letter_exchange,
        keys[0],
        False,
        False,
        message.properties.replace(headers=headers, expiration=None).encode(),
        message.body,
        keys=keys,
        hidden_keys=hidden,
        deaths=deaths,
        first_death=first,
    )


def goes_in_a_circle(letter: AnnotatedMessage, queue: str) -> bool:
    """Whether a dead letter has died in that queue before, and always by itself since then."""
    for death in letter.deaths:
        if death.reason is Reason.REJECTED:
            return False
        if death.queue == queue:
            return True
    return False
