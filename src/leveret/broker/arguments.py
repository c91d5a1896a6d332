"""Arguments of declarations: which are taken, which are refused, when two are the same.

RabbitMQ first checks the types and values of the arguments that it knows, then refuses those of
other queue types; a redeclaration must have the same values for the known ones, while unknown
arguments are taken and forgotten (RabbitMQ, "Queues", "Optional Arguments"). The order of the
checks and the words are RabbitMQ's; the words are Erlang terms in places.

Quorum queues and streams are not there: declaring one is checked as RabbitMQ checks it, and then
refused with 540. No argument that would change what happens to messages is taken in silence.

RabbitMQ names the AMQP type that an integer was sent as. That type is not kept here: an integer
is called `signedint`, or `long` past 32 bits, which is what nearly every client sends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from decimal import Decimal

from ..exceptions import NotImplementedByPeer, PreconditionFailed
from .faults import fault

__all__ = [
    "Arguments",
    "check_consumer_arguments",
    "check_equivalence",
    "check_exchange_arguments",
    "check_queue_arguments",
    "check_same",
    "consumer_priority",
    "type_name",
]

Arguments = Mapping[str, object]

MAX_EXPIRY = 315_360_000_000  # milliseconds: ten years
MAX_PRIORITY = 255
QUEUE_TYPES = ("classic", "quorum", "stream")
OVERFLOW_MODES = ("drop-head", "reject-publish", "reject-publish-dlx")
DEAD_LETTER_STRATEGIES = ("at-most-once", "at-least-once")
LEADER_LOCATORS = ("client-local", "balanced")

QUEUE_ARGUMENTS = (
    "x-expires",
    "x-message-ttl",
    "x-dead-letter-exchange",
    "x-dead-letter-routing-key",
    "x-max-length",
    "x-max-length-bytes",
    "x-max-priority",
    "x-overflow",
    "x-queue-mode",
    "x-queue-version",
    "x-single-active-consumer",
    "x-queue-type",
    "x-queue-master-locator",
    "x-queue-leader-locator",
)
"""Those of a classic queue, in the order in which RabbitMQ compares them."""

QUORUM_ARGUMENTS = frozenset(
    {
        "x-consumer-disconnected-timeout",
        "x-consumer-timeout",
        "x-dead-letter-strategy",
        "x-delayed-retry-max",
        "x-delayed-retry-min",
        "x-delayed-retry-type",
        "x-delivery-limit",
        "x-max-in-memory-bytes",
        "x-max-in-memory-length",
        "x-quorum-initial-group-size",
    }
)
STREAM_ARGUMENTS = frozenset(
    {
        "x-initial-cluster-size",
        "x-max-age",
        "x-stream-filter-size-bytes",
        "x-stream-max-segment-size-bytes",
    }
)
CLASSIC_ARGUMENTS = frozenset({"x-max-priority", "x-queue-mode", "x-queue-version"})
QUEUE_NOT_STREAM_ARGUMENTS = frozenset(
    {
        "x-dead-letter-exchange",
        "x-dead-letter-routing-key",
        "x-expires",
        "x-max-length",
        "x-message-ttl",
        "x-overflow",
        "x-single-active-consumer",
    }
)

FOREIGN_QUEUE_ARGUMENTS = {
    "classic": QUORUM_ARGUMENTS | STREAM_ARGUMENTS,
    "quorum": CLASSIC_ARGUMENTS | STREAM_ARGUMENTS,
    "stream": CLASSIC_ARGUMENTS | QUEUE_NOT_STREAM_ARGUMENTS | QUORUM_ARGUMENTS,
}
"""Those that a queue of each type does not take."""

FOREIGN_CONSUMER_ARGUMENTS = frozenset(
    {"x-consumer-timeout", "x-stream-filter", "x-stream-match-unfiltered", "x-stream-offset"}
)


def type_name(value: object) -> str:
    """RabbitMQ's name of the AMQP type of a field value."""
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, int):
        return "signedint" if -(2**31) <= value < 2**31 else "long"
    for kind, name in _TYPE_NAMES:
        if isinstance(value, kind):
            return name
    return "void"


_TYPE_NAMES: tuple[tuple[type, str], ...] = (
    (str, "longstr"),
    (bytes, "binary"),
    (float, "double"),
    (Decimal, "decimal"),
    (datetime, "timestamp"),
    (Mapping, "table"),
    (list, "array"),
    (tuple, "array"),
)


# -- the checks: each gives the reason as RabbitMQ prints it, or None --------------------------


def _integer(value: object, arguments: Arguments) -> str | None:
    if isinstance(value, int) and not isinstance(value, bool):
        return None
    return f'"expected integer, got {type_name(value)}"'


def _is_zero(value: object) -> bool:
    return type(value) is int and value == 0


def _not_negative(value: object, arguments: Arguments) -> str | None:
    reason = _integer(value, arguments)
    if reason is None and isinstance(value, int) and value < 0:
        return f"{{value_negative,{value}}}"
    return reason


def _expiry(value: object, arguments: Arguments) -> str | None:
    reason = _not_negative(value, arguments)
    if reason is None and isinstance(value, int) and value > MAX_EXPIRY:
        return f"{{value_too_large,{value}}}"
    return reason


def _expires(value: object, arguments: Arguments) -> str | None:
    return "{value_zero,0}" if _is_zero(value) else _expiry(value, arguments)


def _positive(value: object, arguments: Arguments) -> str | None:
    return "{value_zero,0}" if _is_zero(value) else _not_negative(value, arguments)


def _priority(value: object, arguments: Arguments) -> str | None:
    reason = _not_negative(value, arguments)
    if reason is None and isinstance(value, int) and value > MAX_PRIORITY:
        return f"{{max_value_exceeded,{value}}}"
    return reason


def _string(value: object, arguments: Arguments) -> str | None:
    return None if isinstance(value, str) else f"{{unacceptable_type,{type_name(value)}}}"


def _dead_letter_key(value: object, arguments: Arguments) -> str | None:
    reason = _string(value, arguments)
    if reason is None and "x-dead-letter-exchange" not in arguments:
        return "routing_key_but_no_dlx_defined"
    return reason


def _one_of(allowed: tuple[str, ...], otherwise: str) -> Check:
    def check(value: object, arguments: Arguments) -> str | None:
        reason = _string(value, arguments)
        if reason is None and value not in allowed:
            return otherwise.format(value=value)
        return reason

    return check


def _version(value: object, arguments: Arguments) -> str | None:
    reason = _not_negative(value, arguments)
    return f"\"unsupported queue version '{value}'\"" if reason is None and value != 2 else reason


def _age(value: object, arguments: Arguments) -> str | None:
    reason = _string(value, arguments)
    if reason is None and not re.fullmatch("[0-9]+[YMDhms]", str(value)):
        return "invalid_max_age"
    return reason


def _boolean(value: object, arguments: Arguments) -> str | None:
    return None if isinstance(value, bool) else f"{{unacceptable_type,{type_name(value)}}}"


Check = Callable[[object, Arguments], "str | None"]

QUEUE_CHECKS: tuple[tuple[str, Check], ...] = (
    ("x-queue-type", _one_of(QUEUE_TYPES, "\"unsupported queue type '{value}'\"")),
    ("x-expires", _expires),
    ("x-message-ttl", _expiry),
    ("x-dead-letter-exchange", _string),
    ("x-dead-letter-routing-key", _dead_letter_key),
    ("x-max-length", _not_negative),
    ("x-max-length-bytes", _not_negative),
    ("x-max-priority", _priority),
    ("x-overflow", _one_of(OVERFLOW_MODES, "invalid_overflow")),
    ("x-queue-version", _version),
    ("x-single-active-consumer", _boolean),
    ("x-queue-leader-locator", _one_of(LEADER_LOCATORS, "invalid_queue_locator_arg")),
    ("x-dead-letter-strategy", _one_of(DEAD_LETTER_STRATEGIES, "invalid_dlx_strategy")),
    ("x-quorum-initial-group-size", _positive),
    ("x-max-age", _age),
    ("x-stream-max-segment-size-bytes", _not_negative),
)


def _check(checks: tuple[tuple[str, Check], ...], arguments: Arguments, name: str) -> None:
    for key, check in checks:
        if key in arguments:
            reason = check(arguments[key], arguments)
            if reason is not None:
                raise fault(PreconditionFailed, f"invalid arg '{key}' for {name}: {reason}")


def _check_foreign(
    foreign: frozenset[str], arguments: Arguments, name: str, kind: str = "classic"
) -> None:
    for key in arguments:
        if key in foreign:
            raise fault(
                PreconditionFailed,
                f"invalid arg '{key}' for {name} of queue type rabbit_{kind}_queue",
            )


def _check_exchange_name(key: str, arguments: Arguments, name: str) -> None:
    value = arguments.get(key, "")
    if not isinstance(value, str):
        raise fault(
            PreconditionFailed, f"invalid type '{type_name(value)}' for arg '{key}' in {name}"
        )


# -- what the declarations call ----------------------------------------------------------------


def check_exchange_arguments(arguments: Arguments, name: str) -> None:
    """Refuse arguments of exchange.declare that RabbitMQ refuses.

    Args:
        arguments: as received.
        name: the exchange as texts name it.

    Raises:
        PreconditionFailed: the alternate exchange is not named by a string.
    """
    _check_exchange_name("alternate-exchange", arguments, name)


def check_queue_arguments(
    arguments: Arguments,
    name: str,
    durable: bool = True,
    exclusive: bool = False,
    auto_delete: bool = False,
) -> None:
    """Refuse what RabbitMQ refuses in a queue.declare, and quorum queues and streams.

    Args:
        arguments: as received.
        name: the queue as texts name it.
        durable, exclusive, auto_delete: as declared.

    Raises:
        PreconditionFailed: a type or value that RabbitMQ does not take.
        NotImplementedByPeer: a quorum queue or a stream, in which RabbitMQ finds no fault.
    """
    _check_exchange_name("x-dead-letter-exchange", arguments, name)
    _check(QUEUE_CHECKS[:1], arguments, name)
    kind = str(arguments.get("x-queue-type", "classic"))
    foreign = FOREIGN_QUEUE_ARGUMENTS[kind]
    own = {key: value for key, value in arguments.items() if key not in foreign}
    _check(QUEUE_CHECKS[1:], own, name)
    _check_foreign(foreign, arguments, name, kind)
    if kind == "classic":
        return
    for refused, words in (
        (auto_delete, "auto-delete"),
        (exclusive, "exclusive-owner"),
        (not durable, "non-durable"),
    ):
        if refused:
            raise fault(PreconditionFailed, f"invalid property '{words}' for {name}")
    raise fault(
        NotImplementedByPeer,
        f"argument 'x-queue-type' = '{kind}' of {name}: the embedded broker does not support it",
    )


def check_consumer_arguments(arguments: Arguments, name: str) -> None:
    """Refuse arguments of basic.consume that RabbitMQ refuses.

    Raises:
        PreconditionFailed: a type that RabbitMQ does not take, or an argument of a stream.
    """
    _check((("x-priority", _integer),), arguments, name)
    _check_foreign(FOREIGN_CONSUMER_ARGUMENTS, arguments, name)


def consumer_priority(arguments: Arguments) -> int:
    """A consumer's priority (RabbitMQ, "Consumer Priorities"); 0 unless it asks for one."""
    value = arguments.get("x-priority", 0)
    return value if isinstance(value, int) else 0


# -- equivalence -------------------------------------------------------------------------------


def check_same(key: str, current: object, received: object, name: str) -> None:
    """Raise `PreconditionFailed` unless a property is declared as it is.

    Args:
        key: the property; current, received: its values, plain ones.
        name: the entity as texts name it.
    """
    if current != received:
        raise fault(
            PreconditionFailed,
            f"inequivalent arg '{key}' for {name}: "
            f"received '{_plain(received)}' but current is '{_plain(current)}'",
        )


def check_equivalence(
    keys: tuple[str, ...], current: Arguments, received: Arguments, name: str
) -> None:
    """Raise `PreconditionFailed` unless the arguments that count are the same.

    Args:
        keys: the arguments that count, in the order of the comparison.
        current, received: the arguments of the entity and of the declaration.
        name: the entity as texts name it.
    """
    for key in keys:
        if key in current and key in received:
            check_same(key, current[key], received[key], name)
        elif key in current or key in received:
            raise fault(
                PreconditionFailed,
                f"inequivalent arg '{key}' for {name}: "
                f"received {_given(received, key)} but current is {_given(current, key)}",
            )


def _given(arguments: Arguments, key: str) -> str:
    if key not in arguments:
        return "none"
    value = arguments[key]
    return f"the value '{_plain(value)}' of type '{type_name(value)}'"


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)
