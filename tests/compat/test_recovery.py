"""Connections that end in the middle of work: what kombu does about it works as with py-amqp."""

from __future__ import annotations

import select
import sys
import time
import uuid

import pytest
from tests.support.proxy import Proxy

from leveret.compat import amqp

kombu = pytest.importorskip("kombu")

pytest.importorskip("amqp")

MESSAGES = 200
POLICY = {"max_retries": 20, "interval_start": 0.01, "interval_step": 0.01}
COLUMNS = {"py-amqp": "pyamqp", "leveret": "leveret.compat.kombu:Transport"}


def kombu_connection(column, url, **options):
    """A connection on one of the two; nothing is installed for the other tests."""
    made = kombu.Connection(url, transport=COLUMNS[column], transport_options=options)
    assert made.transport.driver_name == column
    return made


@pytest.fixture
def name(channel):
    """The name of a queue that outlives its connections."""
    made = f"recovery-{uuid.uuid4().hex}"
    channel.queue_declare(made, durable=True, auto_delete=False)
    yield made
    channel.queue_delete(made)


@pytest.mark.parametrize("column", COLUMNS)
def test_no_message_is_lost_over_a_cut_connection(broker, name, column):
    """Publishes with confirms and retries, consumes with acks; the network is cut three times."""
    with Proxy(broker.url) as proxy:
        connection = kombu_connection(column, proxy.url, confirm_publish=True)
        queue = kombu.Queue(name, durable=True, auto_delete=False)
        seen = set()

        def on_message(body, message):
            seen.add(body["number"])
            message.ack()

        producer = connection.Producer()
        for number in range(MESSAGES):
            if number in (50, 100):
                proxy.cut(reset=True)
            producer.publish(
                {"number": number},
                routing_key=name,
                declare=[queue],
                retry=True,
                retry_policy=POLICY,
            )
        consumer = connection.Consumer(queue, callbacks=[on_message], prefetch_count=20)
        consumer.consume()

        def drain(conn, timeout):
            conn.drain_events(timeout=timeout)

        safely = connection.ensure(consumer, drain, **POLICY)
        cut = False
        deadline = time.monotonic() + 30
        while len(seen) < MESSAGES and time.monotonic() < deadline:
            if len(seen) > 80 and not cut:
                proxy.cut(reset=True)
                cut = True
            try:
                safely(connection, timeout=1)
            except TimeoutError:
                pass
        assert seen == set(range(MESSAGES))
        consumer.cancel()
        connection.release()


def lost_without_confirms(broker, channel, name, column):
    """Ten of sixty publishes are on their way when the connection is reset; what is lost."""
    with Proxy(broker.url) as proxy:
        connection = kombu_connection(column, proxy.url)
        producer = connection.Producer()

        def publish(numbers):
            for number in numbers:
                producer.publish(number, routing_key=name, retry=True, retry_policy=POLICY)

        publish(range(30))
        kombu.Queue(name, channel=connection.default_channel).queue_declare(passive=True)
        proxy.hold_to_broker()  # the thirty have arrived: the answer came after them
        publish(range(30, 40))
        proxy.cut(reset=True)
        assert select.select([connection.connection.sock], [], [], 10)[0]
        proxy.release()
        publish(range(40, 60))
        connection.close()
        connection.release()
    came = set()
    while (message := channel.basic_get(name, no_ack=True)) is not None:
        came.add(int(message.body))
    return set(range(60)) - came


def test_what_is_on_its_way_is_lost_to_both_and_no_more(broker, channel, name):
    lost = {column: lost_without_confirms(broker, channel, name, column) for column in COLUMNS}
    assert lost["leveret"] <= lost["py-amqp"] <= set(range(30, 40)), lost


def test_a_reset_connection_is_an_os_error_and_then_closed(broker):
    with Proxy(broker.url) as proxy:
        connection = amqp.Connection(
            f"127.0.0.1:{proxy.port}", virtual_host=broker.vhost, heartbeat=10
        )
        connection.connect()
        channel = connection.channel()
        proxy.cut(reset=True)
        with pytest.raises(OSError) as caught:
            connection.drain_events(timeout=10)
        assert not isinstance(caught.value, TimeoutError)
        assert not connection.connected
        with pytest.raises(OSError):
            for _ in range(100):
                channel.basic_publish(amqp.Message("x"), routing_key="nowhere")
        connection.collect()
        with pytest.raises(amqp.RecoverableConnectionError):
            channel.basic_publish(amqp.Message("x"), routing_key="nowhere")


@pytest.mark.parametrize("hook", [None, print], ids=["alone", "listened to"])
def test_a_confirm_that_does_not_come_in_time_may_come_later(broker, hook):
    with Proxy(broker.url) as proxy:
        connection = amqp.Connection(
            f"127.0.0.1:{proxy.port}", virtual_host=broker.vhost, confirm_publish=True
        )
        connection.connect()
        channel = connection.channel()
        channel.basic_publish(amqp.Message("x"), "amq.fanout", confirm_timeout=10)
        if hook:
            channel.events["basic_ack"].add(hook)
        proxy.hold_to_broker()
        with pytest.raises(TimeoutError):
            channel.basic_publish(amqp.Message("x"), "amq.fanout", confirm_timeout=0.05)
        proxy.release()
        channel.basic_publish(amqp.Message("x"), "amq.fanout", confirm_timeout=10)
        connection.close()


@pytest.mark.skipif(sys.platform == "win32", reason="the option is POSIX's")
def test_a_write_that_times_out_leaves_no_connection(broker):
    with Proxy(broker.url) as proxy:
        connection = amqp.Connection(f"127.0.0.1:{proxy.port}", virtual_host=broker.vhost)
        connection.connect()
        channel = connection.channel()
        proxy.hold_to_broker()
        with pytest.raises(amqp.RecoverableConnectionError, match="timed out"):
            for _ in range(100):
                channel.basic_publish(amqp.Message(b"x" * 1_000_000), timeout=0.2)
        assert not connection.connected
        connection.collect()
