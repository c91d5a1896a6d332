"""What a connection and its channels share: sending a method, and waiting for what comes.

Nothing is received unless someone waits or drains; what comes while someone waits is dispatched
then and there, whoever it is for. A method goes to its listener and to the waiter that asked for
it, if there is one.
"""

from __future__ import annotations

import logging
from time import monotonic
from typing import Any, ClassVar

from vine import Thenable, ensure_promise, promise

from leveret import wire

from . import spec
from .exceptions import AMQPNotImplementedError, RecoverableConnectionError
from .serialization import dumps, loads, table_from_wire

__all__ = ["FULFILLED", "AbstractChannel"]

AMQP_LOGGER = logging.getLogger("amqp")

IGNORED_METHOD_DURING_CHANNEL_CLOSE = (
    "Method %s of channel %s came after the channel was asked to close, and is dropped"
)
CLOSE_SECONDS = 10.0  # how long a close waits for its answer

Sig = tuple[int, int]


class _Fulfilled(promise):  # type: ignore[misc]  # vine has no types
    """A promise that is fulfilled for ever, and remembers nobody: one is enough for all."""

    __slots__ = ()

    def then(self, callback: Any, on_error: Any = None) -> Any:
        if not isinstance(callback, Thenable):
            callback = promise(callback, on_error=on_error)
        callback()
        return callback

    def cancel(self) -> None:
        """Too late."""


#: What an operation gives back that waits for nothing: a promise of its own would be a third of
#: what an ack takes here.
FULFILLED = _Fulfilled()
FULFILLED()


def _get_args(item: Any) -> list[Any]:
    return [
        item.delivery_tag,
        item.redelivered,
        item.exchange,
        item.routing_key,
        item.message_count,
    ]


def _return_args(item: Any) -> list[Any]:
    return [item.reply_code, item.reply_text, item.exchange, item.routing_key]


_CONTENT_ARGS = {
    spec.Basic.GetOk: _get_args,
    spec.Basic.Return: _return_args,
}


def _method_args(method: wire.Method, letters: str) -> list[Any]:
    """The fields of a decoded method, as py-amqp's letters have them."""
    values: list[Any] = []
    for letter, field in zip(letters, method.fields, strict=False):
        value = getattr(method, field)
        if letter == "S":
            value = value.decode("utf-8", "surrogatepass")
        elif letter == "F":
            value = table_from_wire(value)
        values.append(value)
    return values


class AbstractChannel:
    """The base of `Connection` (which is channel 0) and `Channel`."""

    __slots__ = (
        "__dict__",
        "__weakref__",
        "_callbacks",
        "_pending",
        "auto_decode",
        "channel_id",
        "connection",
        "is_closing",
        "method_queue",
    )

    #: Whether deliveries may come by `delivered`.
    direct = False
    #: The method table: what may come, by numbers.
    _METHODS: ClassVar[dict[Sig, Any]] = {}
    _ALLOWED_METHODS_WHEN_CLOSING: tuple[Sig, ...] = ()

    def __init__(self, connection: Any, channel_id: Any) -> None:
        self.is_closing = False
        self.connection: Any = connection
        self.channel_id: Any = channel_id
        connection.channels[channel_id] = self
        self.method_queue: list[Any] = []
        self.auto_decode = False
        self._pending: dict[Sig, Any] = {}
        self._callbacks: dict[Sig, Any] = {}
        self._setup_listeners()

    def __enter__(self) -> Any:
        return self

    def __exit__(self, *exc_info: object) -> None:
        self.close()

    def _setup_listeners(self) -> None:
        raise NotImplementedError

    def close(self) -> Any:
        """Close the channel or the connection."""
        raise NotImplementedError("close() is for Channel and Connection to define")

    # -- sending ---------------------------------------------------------------------------

    def send_method(
        self,
        sig: Sig,
        format: str | None = None,
        args: Any = None,
        content: Any = None,
        wait: Any = None,
        callback: Any = None,
        returns_tuple: bool = False,
    ) -> Any:
        """Send a method, at once.

        Args:
            sig: its numbers.
            format: the letters of its arguments; see `serialization`.
            args: the arguments.
            content: a `Message`.
            wait: the numbers of the method, or of the methods, to wait for.
            callback: called when it is sent.
            returns_tuple: return all arguments of the reply, not the first.

        Returns:
            A fulfilled promise; with `wait`, what the reply brings.

        Raises:
            RecoverableConnectionError: the connection is closed.
            struct.error: an argument does not fit; nothing is sent.
        """
        connection = self.connection
        if connection is None:
            raise RecoverableConnectionError("connection already closed")
        encoded = dumps(format, args) if format else ""
        try:
            connection.frame_writer(1, self.channel_id, sig, encoded, content)
        except StopIteration:
            raise RecoverableConnectionError("connection already closed") from None
        if callback:
            FULFILLED.then(callback)
        if wait:
            return self.wait(wait, returns_tuple=returns_tuple)
        return FULFILLED

    # -- receiving -------------------------------------------------------------------------

    def wait(
        self,
        method: Any,
        callback: Any = None,
        timeout: float | None = None,
        returns_tuple: bool = False,
    ) -> Any:
        """Dispatch what comes until a method of this channel has come.

        Args:
            method: its numbers, or a list of these.
            callback: called with its numbers and its arguments.
            timeout: seconds; None for the socket's own timeout at each read.
            returns_tuple: return all of its arguments, not the first.

        Raises:
            socket.timeout: it did not come; what comes later is dispatched as usual.
            RecoverableConnectionError: the connection is closed.
            Exception: what a callback raises, the broker's errors among them.
        """
        if timeout is None and self.is_closing:
            timeout = CLOSE_SECONDS
        waiter = ensure_promise(callback)
        methods = method if isinstance(method, list) else [method]
        pending = self._pending
        before = [pending.get(sig) for sig in methods]
        pending.update(dict.fromkeys(methods, waiter))
        deadline = None if timeout is None else monotonic() + timeout
        left = timeout
        try:
            while not waiter.ready:
                connection = self.connection
                if connection is None:
                    raise RecoverableConnectionError("connection already closed")
                connection.drain_events(timeout=left)
                if deadline is not None:
                    left = max(deadline - monotonic(), 0)
            if waiter.value:
                args = waiter.value[0][1:]  # without the method's numbers
                return args if returns_tuple else (args and args[0])
            return None
        finally:
            for sig, earlier in zip(methods, before, strict=True):
                if earlier is not None:
                    pending[sig] = earlier
                else:
                    pending.pop(sig, None)

    def dispatch_method(self, method_sig: Sig, payload: Any, content: Any) -> None:
        """A method of this channel has come.

        Args:
            method_sig: its numbers.
            payload: its numbers and arguments, encoded, or as `wire` has decoded them.
            content: its message, or None.

        Raises:
            AMQPNotImplementedError: it is in no method table.
            Exception: what a listener or a waiter raises.
        """
        if self.is_closing and method_sig not in self._ALLOWED_METHODS_WHEN_CLOSING:
            AMQP_LOGGER.warning(IGNORED_METHOD_DURING_CHANNEL_CLOSE, method_sig, self.channel_id)
            return
        if content is not None and self.auto_decode and content.properties:
            self._decode_body(content)
        try:
            known = self._METHODS[method_sig]
        except KeyError:
            raise AMQPNotImplementedError(f"Unknown AMQP method {method_sig!r}") from None
        try:
            listener = self._callbacks[method_sig]
        except KeyError:
            listener = None
        waiter = self._pending.pop(method_sig, None) if self._pending else None
        if listener is None and waiter is None:
            return
        args: list[Any] = []
        if known.args:
            if payload.__class__ is wire.Delivery and payload.consumer_tag is not None:
                args = [
                    payload.consumer_tag,
                    payload.delivery_tag,
                    payload.redelivered,
                    payload.exchange,
                    payload.routing_key,
                ]
            elif isinstance(payload, wire.Content):
                args = _CONTENT_ARGS[method_sig](payload)
            elif isinstance(payload, wire.Method):
                args = _method_args(payload, known.args)
            else:
                args = list(loads(known.args, payload, 4)[0])
        if known.content:
            args.append(content)
        if listener is not None:
            listener(*args)
        if waiter is not None:
            waiter(method_sig, *args)

    @staticmethod
    def _decode_body(content: Any) -> None:
        """A body in a known encoding becomes a string; any other stays as it is."""
        encoding = getattr(content, "content_encoding", None)
        if encoding is not None:
            try:
                content.body = content.body.decode(encoding)
            except Exception:  # py-amqp's habit: whatever is wrong with it, bytes are no loss
                pass
