"""The embedded broker: an AMQP 0-9-1 broker in the process, or `python -m leveret.broker`.

    with leveret.broker.Broker() as broker:
        ...  # any client of any language connects to broker.url

It behaves as RabbitMQ does, down to reply codes and texts. Bottom up: `routing` (exchange
types), `queue` and `rules` (the queue engine), `dead_letters`, `exchanges` and `vhost`
(declarations, bindings) are pure; `node` is what connections share; `publisher`, `channel`,
`operations` and `session` join `leveret.protocol`, in the server role, to them; `server` has the
sockets, and `threaded` a thread for them.
"""

from .clock import VirtualClock
from .server import AsyncBroker
from .threaded import Broker

__all__ = ["AsyncBroker", "Broker", "VirtualClock"]
