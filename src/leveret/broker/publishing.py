"""What a broker looks at in the properties of a published message.

Most messages carry nothing that concerns it, and the few forms of such properties repeat; so the
verdict is remembered by their bytes, and costs one look-up. Malformed properties are found here,
before they reach a consumer.

What concerns it (RabbitMQ, "AMQP 0-9-1 Errata and Extensions"): `expiration`, in milliseconds;
`user_id`, which must be the user's; `reply_to` when it asks for direct replies; and the headers
CC and BCC, lists of further routing keys, of which BCC is taken away.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from .. import wire
from ..exceptions import PreconditionFailed
from .arguments import MAX_EXPIRY, type_name
from .faults import fault
from .replies import REPLY_QUEUE

if TYPE_CHECKING:
    from .dead_letters import Death

__all__ = [
    "AnnotatedMessage",
    "expiry",
    "is_plain",
    "routing_keys",
    "visible_keys",
    "with_properties",
    "without_bcc",
]

REMEMBERED = 1024
REMEMBERED_SIZE = 64

_plain: dict[bytes, bool] = {}


class AnnotatedMessage(wire.Published):
    """A message of which the broker knows more than was published.

    Attributes:
        keys: its routing keys, those in CC included; None for what its properties say.
        hidden_keys: those of BCC, which a dead letter follows as well.
        deaths: see `dead_letters`; the latest first.
        first_death: the oldest of them; None for none.
    """

    __slots__ = ("deaths", "first_death", "hidden_keys", "keys")

    def __init__(
        self,
        channel: int,
        exchange: str,
        routing_key: str,
        mandatory: bool,
        immediate: bool,
        raw_properties: bytes,
        body: bytes,
        *,
        keys: tuple[str, ...] | None = None,
        hidden_keys: tuple[str, ...] = (),
        deaths: tuple[Death, ...] = (),
        first_death: Death | None = None,
    ) -> None:
        super().__init__(channel, exchange, routing_key, mandatory, immediate, raw_properties, body)
        self.keys = keys
        self.hidden_keys = hidden_keys
        self.deaths = deaths
        self.first_death = first_death


def is_plain(message: wire.Published) -> bool:
    """Whether the properties hold nothing that the broker acts upon; headers may still route.

    Raises:
        DecodeError: they are malformed.
    """
    raw = message.raw_properties
    known = _plain.get(raw)
    if known is not None:
        return known
    properties = message.properties
    headers = properties.headers or {}
    known = not (
        properties.expiration is not None
        or properties.user_id is not None
        or properties.reply_to == REPLY_QUEUE
        or "CC" in headers
        or "BCC" in headers
    )
    if len(raw) <= REMEMBERED_SIZE:
        if len(_plain) >= REMEMBERED:
            _plain.clear()
        _plain[raw] = known
    return known


def expiry(properties: wire.Properties) -> float | None:
    """How long the message is wanted, in seconds; None for ever.

    Raises:
        PreconditionFailed: not a number of milliseconds that RabbitMQ takes.
    """
    given = properties.expiration
    if given is None:
        return None
    number = re.match(r"[+-]?[0-9]+", given)
    if number is None:
        reason = "no_integer"
    elif number.end() < len(given):
        reason = f'{{leftover_string,"{given[number.end() :]}"}}'
    else:
        value = int(given)
        if 0 <= value <= MAX_EXPIRY:
            return value / 1000
        reason = f"{{value_negative,{value}}}" if value < 0 else f"{{value_too_large,{value}}}"
    raise fault(PreconditionFailed, f"invalid expiration '{given}': {reason}")


def routing_keys(message: wire.Published) -> list[str]:
    """The routing key and those in CC and BCC (RabbitMQ, "Sender-Selected Distribution").

    Raises:
        PreconditionFailed: one of them is not a list.
    """
    keys = [message.routing_key]
    headers = message.properties.headers or {}
    for name in ("CC", "BCC"):
        if name not in headers:
            continue
        given = headers[name]
        if not isinstance(given, list):
            raise fault(
                PreconditionFailed,
                f'invalid message: {{unacceptable_type_in_header,"{name}",{type_name(given)}}}',
            )
        keys += _strings(given)
    return keys


def _strings(given: object) -> list[str]:
    return [key for key in given if isinstance(key, str)] if isinstance(given, list) else []


def visible_keys(message: wire.Content) -> tuple[str, ...]:
    """The routing keys that consumers may know of: without those in BCC."""
    if isinstance(message, AnnotatedMessage) and message.keys is not None:
        return message.keys
    headers = message.properties.headers or {}
    return (message.routing_key, *_strings(headers.get("CC")))


def without_bcc(message: wire.Published) -> wire.Published:
    """The message as its consumers get it."""
    headers = message.properties.headers
    if not headers or "BCC" not in headers:
        return message
    left = {name: value for name, value in headers.items() if name != "BCC"}
    return AnnotatedMessage(
        message.channel,
        message.exchange,
        message.routing_key,
        message.mandatory,
        message.immediate,
        message.properties.replace(headers=left).encode(),
        message.body,
        hidden_keys=tuple(_strings(headers["BCC"])),
    )


def with_properties(message: wire.Published, properties: wire.Properties) -> wire.Published:
    """The same message with other properties."""
    return wire.Published(
        message.channel,
        message.exchange,
        message.routing_key,
        message.mandatory,
        message.immediate,
        properties.encode(),
        message.body,
    )
