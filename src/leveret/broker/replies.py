"""Direct reply-to: answers that go from channel to channel without a queue.

A client consumes from the name `amq.rabbitmq.reply-to`, once a channel and without
acknowledgements, and publishes requests with that name in `reply_to`. The broker puts a name of
its own there, with a secret in it; whoever publishes to that name through the default exchange
reaches the channel (RabbitMQ, "Direct Reply-to"). A name stays well-formed after its channel is
gone: a late answer is dropped and, as in RabbitMQ 4, does not come back as unroutable.
"""

from __future__ import annotations

import base64
import re
import secrets
from typing import Protocol

from .. import wire

__all__ = ["REPLY_QUEUE", "REPLY_QUEUE_PREFIX", "ReplyConsumer", "ReplyConsumers"]

REPLY_QUEUE = "amq.rabbitmq.reply-to"
REPLY_QUEUE_PREFIX = f"{REPLY_QUEUE}."
"""Names of queues that are no queues: the consumers of direct replies."""

_FORM = re.compile(re.escape(REPLY_QUEUE_PREFIX) + r"[A-Za-z0-9+/]{43}=\.[A-Za-z0-9+/]{22}==")


class _Channel(Protocol):
    def deliver_reply(self, consumer_tag: str, message: wire.Published) -> None:
        """A message for the reply consumer."""


class ReplyConsumer:
    """A channel that takes direct replies.

    Attributes:
        channel, consumer_tag: who.
        name: what its requests carry in `reply_to`.
    """

    __slots__ = ("channel", "consumer_tag", "name")

    def __init__(self, channel: _Channel, consumer_tag: str, name: str) -> None:
        self.channel = channel
        self.consumer_tag = consumer_tag
        self.name = name


class ReplyConsumers:
    """All of a broker."""

    def __init__(self) -> None:
        self._by_name: dict[str, ReplyConsumer] = {}

    def add(self, channel: _Channel, consumer_tag: str) -> ReplyConsumer:
        """A channel wants replies."""
        who, key = (base64.b64encode(secrets.token_bytes(size)).decode() for size in (32, 16))
        consumer = ReplyConsumer(channel, consumer_tag, f"{REPLY_QUEUE_PREFIX}{who}.{key}")
        self._by_name[consumer.name] = consumer
        return consumer

    def remove(self, consumer: ReplyConsumer) -> None:
        """It wants none any more."""
        del self._by_name[consumer.name]

    def exists(self, name: str) -> bool:
        """Whether a channel takes replies under that name."""
        return name in self._by_name

    def deliver(self, message: wire.Published) -> bool:
        """Hand a reply to its channel, by its routing key.

        Returns:
            Whether the key has the form of a reply name, be it that of a channel now gone.
        """
        consumer = self._by_name.get(message.routing_key)
        if consumer is not None:
            consumer.channel.deliver_reply(consumer.consumer_tag, message)
            return True
        return _FORM.fullmatch(message.routing_key) is not None
