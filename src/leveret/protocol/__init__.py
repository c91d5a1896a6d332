"""The protocol core: state machines for both roles, without I/O.

`Connection` is the facade; see its module for how a caller drives it.
"""

from .auth import MECHANISMS, Credentials, parse_response
from .channel import Channel
from .client_channel import ClientChannel
from .confirms import Outcome, Publication
from .connection import Connection
from .events import (
    AuthenticationRequested,
    ChannelClosed,
    ChannelFlow,
    ConnectionBlocked,
    ConnectionClosed,
    ConnectionOpened,
    ConnectionUnblocked,
    ConsumerCancelled,
    Deliveries,
    OpenRequested,
    Outcomes,
    Reply,
    SecureResponse,
)
from .handshake import CAPABILITIES, ClientOptions, Limits, ServerOptions
from .outgoing import JOINED, Pieces
from .roles import ClientSide, ServerSide
from .server_channel import ServerChannel
from .states import ChannelState, Role, State

__all__ = [
    "CAPABILITIES",
    "JOINED",
    "MECHANISMS",
    "AuthenticationRequested",
    "Channel",
    "ChannelClosed",
    "ChannelFlow",
    "ChannelState",
    "ClientChannel",
    "ClientOptions",
    "ClientSide",
    "Connection",
    "ConnectionBlocked",
    "ConnectionClosed",
    "ConnectionOpened",
    "ConnectionUnblocked",
    "ConsumerCancelled",
    "Credentials",
    "Deliveries",
    "Limits",
    "OpenRequested",
    "Outcome",
    "Outcomes",
    "Pieces",
    "Publication",
    "Reply",
    "Role",
    "SecureResponse",
    "ServerChannel",
    "ServerOptions",
    "ServerSide",
    "State",
    "parse_response",
]
