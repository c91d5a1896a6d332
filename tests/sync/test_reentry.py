"""User code where the library does not expect it: log handlers, signal handlers, `__del__`."""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import pytest

import leveret
from leveret.broker import Broker
from leveret.client import core as core_module
from leveret.exceptions import HeartbeatTimeout, LocalProtocolError

from ..support.proxy import Proxy
from ..support.signals import alarm, handling
from ..support.threads import Signal, eventually, start

SECONDS = 5.0


class Shipping(logging.Handler):
    """Publishes what is logged."""

    def __init__(self, channel: leveret.Channel, queue: str) -> None:
        super().__init__(logging.INFO)
        self.channel, self.queue = channel, queue

    def emit(self, record: logging.LogRecord) -> None:
        with contextlib.suppress(leveret.LeveretError):
            self.channel.basic_publish(record.getMessage().encode(), routing_key=self.queue)
            self.channel.queue_declare(self.queue, passive=True)


def test_a_log_handler_may_use_the_connection(broker: Broker) -> None:
    with leveret.connect(broker.url, timeout=SECONDS) as connection:
        shipping, channel = connection.channel(), connection.channel()
        queue = shipping.queue_declare(exclusive=True).queue
        handler = Shipping(shipping, queue)
        logger = logging.getLogger("leveret")
        logger.addHandler(handler)
        try:
            channel.basic_publish(b"", routing_key="nowhere", mandatory=True)
            with shipping.consume(queue) as consumer:
                assert consumer.get(SECONDS).body.startswith(b"returned: (312)")
            background = start(channel.queue_declare, exclusive=True)
            assert background.result(SECONDS).queue
        finally:
            logger.removeHandler(handler)


@pytest.mark.parametrize(
    "use", ["close", "publish", "publish_nowait", "nack", "iterate", "declare"]
)
def test_a_signal_handler_in_the_middle_of_an_operation_is_refused(
    channel: leveret.Channel, use: str
) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    channel.publish(b"", routing_key=queue)
    delivery = channel.get(queue)
    assert delivery is not None
    consumer = channel.consume(queue)
    core = channel.core
    connection = leveret.Connection(core)
    uses = {
        "close": connection.close,
        "publish": lambda: channel.publish(b"", routing_key=queue),
        "publish_nowait": lambda: channel.publish_nowait(b"", routing_key=queue),
        "nack": delivery.nack,
        "iterate": lambda: next(consumer),
        "declare": lambda: channel.queue_declare(queue, passive=True),
    }
    begin_channel = core.begin_channel
    refused: list[LocalProtocolError] = []

    def handle(*_: object) -> None:
        with pytest.raises(LocalProtocolError, match="signal handler") as caught:
            uses[use]()
        refused.append(caught.value)

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)  # in the main thread, under the lock
        begin_channel(*arguments)

    core.begin_channel = interrupted
    try:
        with handling(signal.SIGUSR1, handle):
            if use == "close":
                with contextlib.suppress(leveret.LeveretError):
                    connection.channel(timeout=SECONDS)
            else:
                other = connection.channel(timeout=SECONDS)
                assert other.queue_declare(queue, passive=True).queue == queue
    finally:
        del core.begin_channel
    assert refused


def test_a_signal_handler_in_the_middle_of_an_operation_may_ack(channel: leveret.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    channel.publish(b"", routing_key=queue)
    delivery = channel.get(queue)
    assert delivery is not None
    core = channel.core
    begin_channel = core.begin_channel

    def interrupted(*arguments: Any) -> None:
        signal.raise_signal(signal.SIGUSR1)
        begin_channel(*arguments)

    core.begin_channel = interrupted
    try:
        with handling(signal.SIGUSR1, lambda *_: delivery.ack()):
            leveret.Connection(core).channel(timeout=SECONDS).close()
    finally:
        del core.begin_channel
    channel.basic_recover(timeout=SECONDS)
    assert channel.get(queue) is None


def test_a_refused_signal_handler_that_lets_it_through_ends_the_connection(
    channel: leveret.Channel,
) -> None:
    core = channel.core
    connection = leveret.Connection(core)
    begin_channel = core.begin_channel

    def interrupted(*arguments: Any) -> None:
        begin_channel(*arguments)
        signal.raise_signal(signal.SIGUSR1)

    core.begin_channel = interrupted
    with (
        handling(signal.SIGUSR1, lambda *_: channel.basic_publish(b"")),
        pytest.raises(LocalProtocolError, match="signal handler"),
    ):
        connection.channel(timeout=SECONDS)
    assert "in the middle of an operation" in str(connection.close_reason)


class Dropped:
    """Asks the broker when it is collected."""

    def __init__(self, ask: Callable[[], object]) -> None:
        self.ask = ask
        self.told = Signal()

    def __del__(self) -> None:
        try:
            self.ask()
        except Exception as error:
            self.told(error)
        else:
            self.told(None)


@pytest.mark.parametrize("wait", ["declare", "publish", "confirms"])
def test_what_the_io_thread_collects_does_not_wait(channel: leveret.Channel, wait: str) -> None:
    """It would wait for itself, and everybody else for it."""
    queue = channel.queue_declare(exclusive=True).queue
    waits: dict[str, Callable[[], object]] = {
        "declare": lambda: channel.queue_declare(queue, passive=True),
        "publish": lambda: channel.publish(b"", routing_key=queue),
        "confirms": channel.wait_for_confirms,
    }
    dropped = [Dropped(waits[wait])]
    told = dropped[0].told
    core: Any = channel.core
    turn = core.turn

    def collecting(ready: int) -> Any:
        dropped.clear()
        return turn(ready)

    core.turn = collecting
    try:
        core.wake()
        (error,) = told.next()
        assert isinstance(error, LocalProtocolError)
    finally:
        del core.turn
    assert channel.queue_declare(queue, passive=True).queue == queue


def test_a_signal_handler_while_its_thread_waits(channel: leveret.Channel) -> None:
    connection = leveret.Connection(channel.core)
    consumer = channel.consume(channel.queue_declare(exclusive=True).queue)
    with (
        alarm(lambda *_: connection.close(timeout=SECONDS)),
        contextlib.suppress(leveret.LeveretError),
    ):
        assert list(consumer) == []
    assert not connection.is_open


def test_what_is_no_exception_ends_the_consumer_of_a_callback(
    channel: leveret.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    for _ in range(10):
        channel.publish(b"", routing_key=queue)
    seen = Signal()

    def callback(delivery: leveret.Delivery) -> None:
        seen(delivery)
        raise SystemExit(3)

    consumer = channel.basic_consume(queue, callback)
    (delivery,) = seen.next()
    eventually(lambda: not consumer.is_active)
    with pytest.raises(StopIteration):
        next(consumer)
    delivery.ack()
    eventually(lambda: channel.queue_declare(queue, passive=True).message_count == 9)
    assert "SystemExit(3)" in caplog.text
    assert len(seen.calls) == 1


def test_an_exit_in_a_callback_leaves_the_other_callbacks(channel: leveret.Channel) -> None:
    seen = Signal()

    def callback(returned: object) -> None:
        seen(returned)
        raise SystemExit

    channel.on_return = callback
    for _ in range(2):
        channel.basic_publish(b"", routing_key="nowhere", mandatory=True)
        seen.next()


def test_slow_returns_are_bounded_and_overtaken(
    broker: Broker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(core_module, "RETURNS_LIMIT", 20)
    go_on = threading.Event()
    seen = Signal()

    def slow(returned: object) -> None:
        seen(returned)
        if len(seen.calls) == 21:  # from in here nothing holds it up
            channel.basic_publish(b"", routing_key="nowhere")
        go_on.wait(SECONDS)

    with leveret.connect(broker.url) as connection:
        connection.on_close = seen
        channel = connection.channel()
        channel.on_return = slow
        for _ in range(20):
            channel.basic_publish(b"", routing_key="nowhere", mandatory=True)
        eventually(lambda: channel.core._returns == 20)
        with pytest.raises(leveret.DeadlineExceeded, match="20 returned messages wait"):
            channel.basic_publish(b"", routing_key="nowhere", timeout=0.05)
        assert channel.queue_declare(exclusive=True).queue  # all else goes on
        go_on.set()
        for _ in range(100):
            channel.basic_publish(b"", routing_key="nowhere", mandatory=True, timeout=SECONDS)
        eventually(lambda: len(seen.calls) == 120)
        go_on.clear()
        for _ in range(3):
            channel.basic_publish(b"", routing_key="nowhere", mandatory=True)
        eventually(lambda: channel.core._returns == 3 and len(seen.calls) == 121)
    go_on.set()
    eventually(lambda: len(seen.calls) == 124)
    assert seen.calls[121] == (None,), "on_close goes first"


def test_closing_after_a_silent_peer_does_not_linger(broker: Broker) -> None:
    with Proxy(broker.url) as proxy:
        connection = leveret.connect(proxy.url, heartbeat=1)
        channel = connection.channel()
        proxy.hold_to_broker()
        proxy.hold_to_client()
        while connection.is_open:  # more than the sockets take
            with contextlib.suppress(leveret.LeveretError):
                channel.basic_publish(bytes(200_000), routing_key="nowhere", timeout=0.1)
        assert isinstance(connection.close_reason, HeartbeatTimeout)
        before = time.monotonic()
        connection.close()
        assert time.monotonic() - before < 1
