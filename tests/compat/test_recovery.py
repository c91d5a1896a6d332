"""Connections that end in the middle of work: what kombu does about it works as with py-amqp."""

from __future__ import annotations

import sys
import time

import pytest
from tests.support.proxy import Proxy

from leveret.compat import amqp

kombu = pytest.importorskip("kombu")

MESSAGES = 200


@pytest.fixture
def transport(monkeypatch):
    """Kombu's transport on Leveret; nothing is installed for the other tests."""
    from leveret.compat.kombu import Transport

    return Transport


def test_no_message_is_lost_over_a_cut_connection(broker, transport):
    """Publishes with confirms and retries, consumes with acks; the network is cut three times."""
    name = "recovery"
    with Proxy(broker.url) as proxy:
        options = {"confirm_publish": True}
        connection = kombu.Connection(proxy.url, transport=transport, transport_options=options)
        queue = kombu.Queue(name, durable=False, auto_delete=False)
        seen = set()

        def on_message(body, message):
            seen.add(body["number"])
            message.ack()

        producer = connection.Producer()
        policy = {"max_retries": 10, "interval_start": 0.01, "interval_step": 0.01}
        for number in range(MESSAGES):
            if number in (50, 100):
                proxy.cut(reset=True)
            producer.publish(
                {"number": number},
                routing_key=name,
                declare=[queue],
                retry=True,
                retry_policy=policy,
            )
        consumer = connection.Consumer(queue, callbacks=[on_message], prefetch_count=20)
        consumer.consume()

        def drain(conn, timeout):
            conn.drain_events(timeout=timeout)

        safely = connection.ensure(consumer, drain, **policy)
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
        queue(connection.default_channel).delete()
        connection.release()


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
