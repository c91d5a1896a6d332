"""Leveret in the place of py-amqp, the library under kombu, Celery and oslo.messaging.

Two ways, from outside to inside:

`install()` tells kombu to use Leveret for its AMQP transports. py-amqp stays installed and
imported beside; Leveret's errors are its classes.

`takeover()` has `import amqp` itself give Leveret, for programs that use py-amqp directly. It must
come before anything has imported `amqp`: `python -m leveret.compat run` starts a program that
way, and `python -m leveret.compat enable` does it for a whole environment.
"""

from __future__ import annotations

from . import finder, notice

__all__ = ["install", "takeover"]

_PLAIN = "leveret.compat.kombu:Transport"
_TLS = "leveret.compat.kombu:SSLTransport"


def install(replace: bool = True) -> None:
    """Give kombu the transports `leveret` and `leverets`.

    Connections that are made from now on use them; those that are open already do not change.

    Args:
        replace: put them in the place of `amqp` and `amqps` too, which Celery's and oslo's URLs
            lead to. `pyamqp` stays py-amqp.
    """
    from kombu import transport

    aliases = {"leveret": _PLAIN, "leverets": _TLS}
    if replace:
        aliases |= {"amqp": _PLAIN, "amqps": _TLS}
    replaced = {
        name: transport.TRANSPORT_ALIASES[name]
        for name, target in aliases.items()
        if transport.TRANSPORT_ALIASES.get(name, target) != target
    }
    transport.TRANSPORT_ALIASES.update(aliases)
    for name in aliases:
        transport._transport_cache.pop(name, None)
    transport._transport_cache.pop(None, None)
    before = "".join(f"; {name} was {target}" for name, target in sorted(replaced.items()))
    notice.say(f"kombu transports {', '.join(sorted(aliases))} are Leveret{before}")


def takeover() -> None:
    """Have `import amqp` give `leveret.compat.amqp`, with all its modules.

    Raises:
        ImportError: py-amqp has been imported already; nothing is changed.
    """
    finder.activate()
