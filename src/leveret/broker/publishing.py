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

from .. import wire
from ..exceptions import PreconditionFailed
from .arguments import MAX_EXPIRY, type_name
from .faults import fault
from .replies import REPLY_QUEUE

__all__ = ["expiry", "is_plain", "routing_keys", "with_properties", "without_bcc"]

REMEMBERED = 1024
REMEMBERED_SIZE = 64

_plain: dict[bytes, bool] = {}


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
        keys += [key for key in given if isinstance(key, str)]
    return keys


def without_bcc(message: wire.Published) -> wire.Published:
    """The message as its consumers get it."""
    headers = message.properties.headers
    if not headers or "BCC" not in headers:
        return message
    left = {name: value for name, value in headers.items() if name != "BCC"}
    return with_properties(message, message.properties.replace(headers=left))


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
