"""Leveret: AMQP 0-9-1 for Python.

The names here are the blocking client's; `leveret.asyncio` has the same with `await`.

    with leveret.connect("amqp://localhost") as connection:
        with connection.channel() as channel:
            channel.queue_declare("tasks", durable=True)
            channel.publish(b"hello", routing_key="tasks")
            for delivery in channel.consume("tasks"):
                print(delivery.body)
                delivery.ack()
"""

from . import exceptions
from .client.delivery import Delivery
from .client.results import QueueDeclared
from .exceptions import *  # noqa: F403
from .exceptions import __all__ as _errors
from .protocol import Credentials, Outcome
from .sync import Channel, Connection, Consumer, Publication, Publisher, connect
from .wire import CODEC as codec
from .wire import Properties, Returned

__version__ = "0.1.0"

__all__ = [
    "Channel",
    "Connection",
    "Consumer",
    "Credentials",
    "Delivery",
    "Outcome",
    "Properties",
    "Publication",
    "Publisher",
    "QueueDeclared",
    "Returned",
    "codec",
    "connect",
    "exceptions",
]
__all__ += _errors
