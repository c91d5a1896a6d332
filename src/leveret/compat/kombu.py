"""kombu's AMQP transport on Leveret: what `leveret.compat.install()` registers.

All that is not py-amqp stays kombu's own: its transport, its messages, its management of
connections. The classes here differ from it in whose connection and channel they use.
"""

from __future__ import annotations

from typing import Any

from kombu.transport import base, pyamqp

import leveret

from . import amqp

__all__ = ["Channel", "Connection", "SSLTransport", "Transport"]


class Channel(amqp.Channel, base.StdChannel):  # type: ignore[misc]  # kombu has no types
    """A channel that makes and takes kombu's messages."""

    Message = pyamqp.Message

    def prepare_message(
        self,
        body: Any,
        priority: int | None = None,
        content_type: str | None = None,
        content_encoding: str | None = None,
        headers: Any = None,
        properties: Any = None,
        _Message: Any = amqp.Message,
    ) -> Any:
        """What `basic_publish` takes."""
        return _Message(
            body,
            priority=priority,
            content_type=content_type,
            content_encoding=content_encoding,
            application_headers=headers,
            **(properties or {}),
        )

    def prepare_queue_arguments(self, arguments: Any, **kwargs: Any) -> Any:
        """The arguments of a queue with RabbitMQ's names."""
        return base.to_rabbitmq_queue_arguments(arguments, **kwargs)

    def message_to_python(self, raw_message: Any) -> Any:
        """A received message as kombu's."""
        return self.Message(raw_message, channel=self)


class Connection(amqp.Connection):
    """A connection with such channels."""

    Channel = Channel


class Transport(pyamqp.Transport):  # type: ignore[misc]
    """kombu's transport for `amqp://`."""

    Connection = Connection
    connection_errors = Connection.connection_errors
    channel_errors = Connection.channel_errors
    recoverable_connection_errors = Connection.recoverable_connection_errors
    recoverable_channel_errors = Connection.recoverable_channel_errors
    driver_name = "leveret"

    def driver_version(self) -> str:
        """Leveret's version."""
        return leveret.__version__


class SSLTransport(Transport):
    """kombu's transport for `amqps://`."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        if not self.client.ssl:
            self.client.ssl = True
