"""Publishing, and what the broker says of it.

Without confirms a publish is a write. With them (`confirm_publish`, RabbitMQ) it is a write and
a wait for the confirm of its number, which mostly is the very next that comes.
"""

from __future__ import annotations

from collections import defaultdict
from time import monotonic
from typing import Any

from leveret.exceptions import EncodeError
from leveret.wire import encode_ack, encode_publish

from . import spec
from .abstract_channel import FULFILLED, AbstractChannel
from .basic_message import Message
from .exceptions import MessageNacked, RecoverableConnectionError
from .method_framing import FrameWriter, encoded
from .operations import Operations
from .serialization import NO_PROPERTIES

__all__ = ["Publishing"]


class Publishing(Operations):
    """The half of a channel that publishes.

    Attributes:
        events: callbacks by `basic_return`, `basic_ack`, `basic_nack`.
    """

    def __init__(self, connection: Any, channel_id: Any) -> None:
        super().__init__(connection, channel_id)
        self.events: defaultdict[str, set[Any]] = defaultdict(set)
        self._confirm_selected = False
        self._published: int | None = None  # how many, since the broker confirms them
        self._awaited: dict[int, bool | None] = {}  # which of these somebody waits for: confirmed?
        kind = type(self)  # what a subclass has made its own is not passed over
        self._sends = kind.send_method is AbstractChannel.send_method
        hooks = (kind.dispatch_method, kind._on_basic_ack)
        self._confirms = hooks == (AbstractChannel.dispatch_method, Publishing._on_basic_ack)
        if connection.confirm_publish:
            self.basic_publish = self.basic_publish_confirm  # type: ignore[method-assign]

    def _basic_publish(
        self,
        msg: Any,
        exchange: str = "",
        routing_key: str = "",
        mandatory: bool = False,
        immediate: bool = False,
        timeout: float | None = None,
        confirm_timeout: float | None = None,
        argsig: str = "Bssbb",
    ) -> Any:
        """Publish a message; it has reached the socket when this returns.

        Args:
            timeout: seconds for writing it.
            confirm_timeout: for `basic_publish_confirm`.

        Raises:
            RecoverableConnectionError: the connection is closed, or took nothing in time.
        """
        connection = self.connection
        if not connection:
            raise RecoverableConnectionError("basic_publish: connection closed")
        writer = connection._frame_writer
        plain = writer.__class__ is FrameWriter
        capabilities = connection.client_properties.get("capabilities")
        if capabilities and capabilities.get("connection.blocked"):
            reader = connection._reader if plain else None
            if reader is None or (monotonic() >= reader.idle_until and not reader.is_idle()):
                try:  # connection.blocked may have come, or the end
                    connection.drain_events(timeout=0)
                except TimeoutError:
                    pass
        data = None
        if plain and self._sends and argsig == "Bssbb":
            body, properties = msg.body, NO_PROPERTIES
            if body.__class__ is not bytes or msg.__class__ is not Message or msg.properties:
                body, properties = encoded(msg)
            try:
                data = encode_publish(
                    self.channel_id,
                    exchange,
                    routing_key,
                    mandatory is True or bool(mandatory),
                    immediate is True or bool(immediate),
                    properties,
                    body,
                    connection.frame_max,
                )
            except EncodeError:
                pass  # None or bytes for a name, or what does not fit: letters take or tell it
        sent: Any = FULFILLED
        try:
            if data is None:
                with connection.transport.having_timeout(timeout):
                    args = (0, exchange, routing_key, mandatory, immediate)
                    sent = self.send_method(spec.Basic.Publish, argsig, args, msg)
            elif timeout is None:
                writer.send(data)
            else:
                with connection.transport.having_timeout(timeout):
                    writer.send(data)
        except TimeoutError:
            raise RecoverableConnectionError("basic_publish: timed out") from None
        if self._published is not None:
            self._published += 1
        return sent

    basic_publish = _basic_publish

    # -- confirms --------------------------------------------------------------------------

    def confirm_select(self, nowait: bool = False) -> Any:
        """Have the broker confirm the publishes of this channel (RabbitMQ)."""
        if self._published is None:
            self._published = 0  # the broker counts from here on, not from its answer
        return self.send_method(
            spec.Confirm.Select,
            "b",
            (nowait,),
            wait=None if nowait else spec.Confirm.SelectOk,
        )

    def basic_publish_confirm(self, *args: Any, **kwargs: Any) -> Any:
        """Publish a message, and wait until the broker has confirmed this very one.

        Args:
            confirm_timeout: seconds; else `timeout` is, if given.

        Raises:
            MessageNacked: the broker refused it.
            socket.timeout: no confirm came in time.
        """
        timeout = kwargs.pop("confirm_timeout", None) or kwargs.get("timeout")
        if not self._confirm_selected:
            self._confirm_selected = True
            self.confirm_select()
        before = self._published
        sent = self._basic_publish(*args, **kwargs)
        number = self._published
        if before is None:  # somebody has confirms off, or counts them himself
            return sent
        connection = self.connection
        if connection is None or number is None or number == before:
            raise RecoverableConnectionError("basic_publish: connection closed")
        deadline = None if timeout is None else monotonic() + timeout
        reader = connection._reader
        if (  # the very next that comes is this confirm, and nobody listens to it
            reader is not None
            and self._confirms
            and not self._pending
            and not self.events.get("basic_ack")
            and reader.take(encode_ack(self.channel_id, number, False), timeout)
        ):
            connection.bytes_recv += 1
        else:
            self._wait_for_confirm(number, deadline)
        return sent

    def _wait_for_confirm(self, number: int, deadline: float | None) -> None:
        """Dispatch what comes until a publish has its outcome, in whatever call it comes."""
        awaited = self._awaited
        awaited[number] = left = None
        try:
            while awaited[number] is None:
                connection = self.connection
                if connection is None or self._awaited is not awaited:
                    raise RecoverableConnectionError("basic_publish: connection closed")
                if deadline is not None:
                    left = max(deadline - monotonic(), 0)
                connection.drain_events(timeout=left)
            if not awaited[number]:
                raise MessageNacked
        finally:
            del awaited[number]

    def _forget_publishes(self) -> None:
        self._published = None
        self._awaited = {}  # another one: who waits sees that, and gives up

    def _on_basic_ack(self, delivery_tag: int, multiple: bool) -> None:
        self._settle("basic_ack", delivery_tag, multiple)

    def _on_basic_nack(self, delivery_tag: int, multiple: bool) -> None:
        self._settle("basic_nack", delivery_tag, multiple)

    def _settle(self, event: str, delivery_tag: int, multiple: bool) -> None:
        """The broker's word on a publish, or with `multiple` on all up to it (0: on all)."""
        awaited = self._awaited
        for number in awaited if multiple else (delivery_tag,):
            due = number <= delivery_tag or not delivery_tag
            if due and awaited.get(number, False) is None:
                awaited[number] = event == "basic_ack"
        callbacks = self.events.get(event)
        if callbacks:
            for callback in list(callbacks):
                callback(delivery_tag, multiple)
