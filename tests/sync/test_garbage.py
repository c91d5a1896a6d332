"""Connections that are dropped without a close: the socket and the thread go with them."""

from __future__ import annotations

import gc
import logging
import threading
import time

import pytest

import leveret
from leveret.broker import Broker

SECONDS = 5.0


def threads() -> list[threading.Thread]:
    """The threads of connections."""
    return [thread for thread in threading.enumerate() if thread.name.startswith("leveret 127")]


def collect_until_gone(thread: threading.Thread) -> None:
    """Collect until a thread has ended; one that is just awake holds its connection."""
    end = time.monotonic() + SECONDS
    while thread.is_alive() and time.monotonic() < end:
        gc.collect()
        thread.join(0.02)
    assert not thread.is_alive()


@pytest.mark.parametrize("held", ["nothing", "channel", "consumer", "cycle", "published"])
def test_a_dropped_connection_ends(broker: Broker, held: str) -> None:
    connection = leveret.connect(broker.url)
    (thread,) = threads()
    things: list[object] = [connection]
    if held != "nothing":
        channel = connection.channel()
        things.append(channel)
        queue = channel.queue_declare(auto_delete=True).queue
        if held == "consumer":
            things.append(channel.consume(queue))
        elif held == "published":
            things.append(channel.publish_nowait(b"", routing_key=queue))
        elif held == "cycle":
            things.append(things)
        del channel
    del connection
    things.clear()
    with pytest.warns(ResourceWarning, match="was not closed"):
        collect_until_gone(thread)


def test_a_connection_that_is_met_while_it_is_collected_ends(broker: Broker) -> None:
    # The collector of 3.15 clears weak references after it has called finalisers.
    connection = leveret.connect(broker.url)
    (thread,) = threads()
    with pytest.warns(ResourceWarning, match="was not closed"):
        connection._core.__del__()
    thread.join(SECONDS)
    assert not thread.is_alive()


def test_what_is_in_use_stays(broker: Broker) -> None:
    channel = leveret.connect(broker.url).channel()
    gc.collect()
    queue = channel.queue_declare(auto_delete=True).queue
    consumer = channel.consume(queue)
    channel.publish(b"1", routing_key=queue)
    core = channel.core
    del channel
    gc.collect()
    assert consumer.get(SECONDS).body == b"1"
    assert len(threads()) == 1
    leveret.Connection(core).close()
    assert not threads()


def test_a_callback_keeps_its_connection(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.CRITICAL)  # pytest keeps what is logged, errors with their frames
    done = threading.Event()

    def start() -> str:
        channel = leveret.connect(broker.url).channel()
        queue = channel.queue_declare(auto_delete=True).queue
        channel.basic_consume(queue, lambda _: done.set(), consumer_tag="kept")
        return queue

    queue = start()
    gc.collect()
    with leveret.connect(broker.url) as connection, connection.channel() as channel:
        channel.publish(b"", routing_key=queue)
        assert done.wait(SECONDS)
        channel.queue_delete(queue)
    (thread,) = threads()
    with pytest.warns(ResourceWarning, match="was not closed"):
        collect_until_gone(thread)


def test_a_closed_connection_says_nothing(broker: Broker) -> None:
    with leveret.connect(broker.url) as connection:
        connection.channel()
    del connection
    gc.collect()
