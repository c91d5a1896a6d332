"""The numbers of the methods, `(class, method)`, under py-amqp's names.

They come from `wire`, by the names of the specification; two that py-amqp spells differently
(`Exchange.UnbindOk` with RabbitMQ's number) are the broker's here.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from leveret import wire

__all__ = [
    "Basic",
    "Channel",
    "Confirm",
    "Connection",
    "Exchange",
    "Queue",
    "Tx",
    "method",
    "method_t",
]

Sig = tuple[int, int]


class method_t(NamedTuple):
    """What a method brings: its numbers, the letters of its arguments, whether content follows."""

    method_sig: Sig
    args: str | None
    content: bool


def method(method_sig: Sig, args: str | None = None, content: bool = False) -> method_t:
    """An entry of a method table."""
    return method_t(method_sig, args, content)


class _Numbers(type):
    """A class of methods: each attribute is the numbers of one method."""

    def __new__(mcls, name: str, bases: tuple[type, ...], space: dict[str, Any]) -> _Numbers:
        for key, kind in wire.METHODS.items():
            if kind.__name__.startswith(name):
                space[kind.__name__.removeprefix(name)] = (key >> 16, key & 0xFFFF)
                space["CLASS_ID"] = key >> 16
        return super().__new__(mcls, name, bases, space)

    def __getattr__(cls, name: str) -> Any:
        raise AttributeError(f"AMQP 0-9-1 has no method {cls.__name__}.{name}")


class Connection(metaclass=_Numbers):
    """Class 10: the connection."""


class Channel(metaclass=_Numbers):
    """Class 20: channels."""


class Exchange(metaclass=_Numbers):
    """Class 40: exchanges."""


class Queue(metaclass=_Numbers):
    """Class 50: queues."""


class Basic(metaclass=_Numbers):
    """Class 60: messages."""


class Confirm(metaclass=_Numbers):
    """Class 85: publisher confirms."""


class Tx(metaclass=_Numbers):
    """Class 90: transactions."""
