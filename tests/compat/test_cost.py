"""What a message costs, counted and not timed: calls in the drop-in, and calls of the socket.

Bounds are what was counted when it was measured to be fast enough; a way around the short paths
doubles them.
"""

from __future__ import annotations

import select
import sys
from collections import Counter
from pathlib import Path

import pytest

from leveret.compat import amqp
from leveret.compat.amqp import publishing, reading

pytestmark = pytest.mark.skipif(not hasattr(select, "poll"), reason="there is no poll()")

MESSAGES = 200
HERE = str(Path(amqp.__file__).parent)
SOCKET = {"sendall", "recv", "send", "settimeout", "gettimeout", "setblocking", "poll"}


def count(work):
    """Calls of Python functions of the drop-in, and of the socket, by name, in `work`."""
    calls, socket = Counter(), Counter()

    def profile(frame, event, what):
        if event == "call":
            if frame.f_code.co_filename.startswith(HERE):
                calls[frame.f_code.co_name] += 1
        elif event == "c_call" and what.__name__ in SOCKET:
            socket[what.__name__] += 1

    sys.setprofile(profile)
    try:
        work()
    finally:
        sys.setprofile(None)
    return calls, socket


def seen(connection):
    """A connection whose reads the profiler sees: it does not where a built-in one makes them."""
    recv = connection.transport._kernel_recv
    connection.transport._kernel_recv = lambda *args: recv(*args)
    return connection


@pytest.fixture(autouse=True)
def clock(monkeypatch):
    """The clock of the looks at the socket before a publish: it stands still."""
    now = [1e9]
    for module in (reading, publishing):
        monkeypatch.setattr(module, "monotonic", lambda: now[0])
    return now


@pytest.fixture
def confirming(connect):
    """A channel whose publishes wait for their confirms."""
    channel = seen(connect(confirm_publish=True)).channel()
    channel.basic_publish(amqp.Message(b"x"), "amq.fanout")
    return channel


def test_a_publish(channel):
    def work():
        for _ in range(MESSAGES):
            channel.basic_publish(amqp.Message(b"x" * 100), "amq.fanout", "key")

    calls, socket = count(work)
    assert calls.total() <= 3.1 * MESSAGES, calls
    assert socket == {"sendall": MESSAGES, "poll": 1}


def test_a_publish_looks_at_the_socket_again_after_a_while(connection, channel, clock):
    channel.basic_publish(amqp.Message("x"), "no-such-exchange")
    assert select.select([connection.sock], [], [], 10)[0]
    channel.basic_publish(amqp.Message("x"), "no-such-exchange")
    clock[0] += reading.LOOK_SECONDS
    with pytest.raises(amqp.NotFound):
        channel.basic_publish(amqp.Message("x"), "no-such-exchange")


def test_a_publish_with_the_properties_of_kombu(channel):
    headers = {"lang": "py", "id": "0" * 36, "retries": 0, "eta": None, "timelimit": [None, None]}
    properties = {"delivery_mode": 2, "priority": 0, "correlation_id": "0" * 36, "reply_to": "r"}

    def work():
        for _ in range(MESSAGES):
            message = amqp.Message(
                b"x" * 100,
                content_type="application/json",
                content_encoding="utf-8",
                application_headers=headers,
                **properties,
            )
            channel.basic_publish(message, "amq.fanout", "key")

    calls, socket = count(work)
    assert calls.total() <= 6.1 * MESSAGES, calls
    assert socket == {"sendall": MESSAGES, "poll": 1}


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_publish_and_its_confirm(confirming, timeout):
    def work():
        for _ in range(MESSAGES):
            confirming.basic_publish(
                amqp.Message(b"x" * 100), "amq.fanout", confirm_timeout=timeout
            )

    calls, socket = count(work)
    assert calls.total() <= (5.2 if timeout is None else 7.2) * MESSAGES, calls
    assert socket["sendall"] == MESSAGES
    assert socket["recv"] <= 1.1 * MESSAGES
    assert socket["poll"] <= (1 if timeout is None else 1.1 * MESSAGES)
    assert socket.keys() <= {"sendall", "recv", "poll"}


@pytest.mark.parametrize("timeout", [None, 10])
def test_a_delivery_and_its_ack(connection, channel, queue, timeout):
    got = []
    seen(connection)

    def on_message(message):
        got.append(message.delivery_tag)
        channel.basic_ack(message.delivery_tag)

    for _ in range(MESSAGES):
        channel.basic_publish(amqp.Message(b"x" * 100), routing_key=queue)
    while channel.queue_declare(queue, passive=True).message_count < MESSAGES:
        pass
    channel.basic_consume(queue, callback=on_message)

    def work():
        while len(got) < MESSAGES:
            connection.drain_events(timeout=timeout)

    calls, socket = count(work)
    assert calls.total() <= 15 * MESSAGES, calls  # 7 where many are read at once
    assert socket["sendall"] == MESSAGES
    assert socket["recv"] <= 3 * MESSAGES
    assert socket.keys() <= {"sendall", "recv", "poll"}
