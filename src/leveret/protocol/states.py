"""Every transition of a connection and of a channel, as tables.

The theory: a connection is one of the states below; a method on channel 0 either stands in the
row of the present state and moves it, or it is the peer's fault. `connection.close` is legal in
any state but the closed one and therefore stands in no row; while this side closes, everything
but `close` and `close-ok` is dropped (AMQP 0-9-1, 1.4.2.6). A client still takes the confirms
and returns that were on their way: they are what is known about its publishes.

    client:  IDLE -> START -> SECURE -> OPENING -> OPEN -> CLOSING -> CLOSED
    server:  IDLE -> STARTED -> DECIDING -> TUNING -> TUNED -> ADMITTING -> OPEN -> ... as above

DECIDING and ADMITTING read nothing: a client may send on before it has the server's answer.

Channels: OPENING until open-ok, OPEN, CLOSING from our close to close-ok, CLOSED. ENDING from our
close of the whole connection.
"""

from __future__ import annotations

from enum import Enum

from .. import wire

__all__ = ["CLIENT_RECEIVES", "HOLDING", "SERVER_RECEIVES", "ChannelState", "Role", "State"]


class Role(Enum):
    """Which side of the connection this is."""

    CLIENT = "client"
    SERVER = "server"


class State(Enum):
    """Where a connection is. The comment names what is awaited."""

    IDLE = "idle"  # client: initiate(); server: the protocol header
    START = "start"  # client: connection.start
    SECURE = "secure"  # client: connection.secure or connection.tune
    OPENING = "opening"  # client: connection.open-ok
    STARTED = "started"  # server: connection.start-ok
    DECIDING = "deciding"  # server: the caller's verdict on the credentials
    SECURING = "securing"  # server: connection.secure-ok
    TUNING = "tuning"  # server: connection.tune-ok
    TUNED = "tuned"  # server: connection.open
    ADMITTING = "admitting"  # server: the caller's verdict on the virtual host
    OPEN = "open"
    CLOSING = "closing"  # connection.close-ok
    CLOSED = "closed"


class ChannelState(Enum):
    """Where a channel is."""

    OPENING = "opening"
    OPEN = "open"
    CLOSING = "closing"
    ENDING = "ending"
    CLOSED = "closed"


HOLDING: frozenset[State] = frozenset({State.DECIDING, State.ADMITTING})

CLIENT_RECEIVES: dict[State, frozenset[type[wire.Method]]] = {
    State.START: frozenset({wire.ConnectionStart}),
    State.SECURE: frozenset({wire.ConnectionSecure, wire.ConnectionTune}),
    State.OPENING: frozenset({wire.ConnectionOpenOk}),
    State.OPEN: frozenset(
        {
            wire.ConnectionBlocked,
            wire.ConnectionUnblocked,
            wire.ConnectionUpdateSecretOk,
        }
    ),
}

SERVER_RECEIVES: dict[State, frozenset[type[wire.Method]]] = {
    State.STARTED: frozenset({wire.ConnectionStartOk}),
    State.SECURING: frozenset({wire.ConnectionSecureOk}),
    State.TUNING: frozenset({wire.ConnectionTuneOk}),
    State.TUNED: frozenset({wire.ConnectionOpen}),
    State.OPEN: frozenset({wire.ConnectionUpdateSecret}),
}
