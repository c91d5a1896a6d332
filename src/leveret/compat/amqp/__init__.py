"""py-amqp's names and habits on Leveret's core: what kombu, Celery and oslo.messaging stand on.

    from leveret.compat import amqp

    with amqp.Connection("localhost") as connection:
        channel = connection.channel()
        channel.basic_publish(amqp.Message("hello"), routing_key="tasks")

There are no threads: nothing is received unless a call waits or drains. For new programs
`leveret.connect` is the better choice.
"""

from __future__ import annotations

from . import exceptions
from .basic_message import Message
from .channel import Channel
from .connection import Connection
from .exceptions import *  # noqa: F403
from .exceptions import __all__ as _errors
from .exceptions import error_for_code as error_for_code
from .utils import promise
from .version import VERSION, version_info_t
from .version import VERSION_TEXT as __version__

version_info = VERSION

__all__ = [
    "VERSION",
    "Channel",
    "Connection",
    "Message",
    "__version__",
    "error_for_code",
    "exceptions",
    "promise",
    "version_info",
    "version_info_t",
]
__all__ += [
    name
    for name in _errors
    if name[0].isupper() and name not in ("MessageNacked", "Blocked", "AMQPDeprecationWarning")
]
