"""The blocking client's types."""

from collections.abc import Callable, Mapping
from typing import assert_type

import leveret
import leveret.broker
from leveret import exceptions


def connections() -> None:
    assert_type(leveret.connect(), leveret.Connection)
    with leveret.connect("amqp://localhost", heartbeat=10, timeout=5.0) as connection:
        assert_type(connection, leveret.Connection)
        assert_type(connection.is_open, bool)
        assert_type(connection.blocked, str | None)
        assert_type(connection.close_reason, exceptions.LeveretError | None)
        assert_type(connection.server_properties, Mapping[str, object])
        assert_type(connection.on_blocked, Callable[[str], object] | None)
        assert_type(connection.channel(), leveret.Channel)
    leveret.connect(no_such_option=1)  # type: ignore[call-arg]
    leveret.connect(heartbeat="ten")  # type: ignore[arg-type]


def operations(channel: leveret.Channel) -> None:
    declared = channel.queue_declare("tasks", durable=True, arguments={"x-max-length": 10})
    assert_type(declared, leveret.QueueDeclared)
    assert_type(declared.queue, str)
    assert_type(declared.message_count, int)
    name, messages, consumers = declared
    assert_type(name, str)
    assert_type(messages, int)
    assert_type(consumers, int)
    assert_type(channel.queue_purge("tasks"), int)
    assert_type(channel.queue_delete("tasks"), int)
    assert_type(channel.channel_flow(True), bool)
    assert_type(channel.get("tasks"), leveret.Delivery | None)


def publishing(channel: leveret.Channel) -> None:
    properties = leveret.Properties(message_id="1", headers={"attempt": 1})
    assert_type(properties.message_id, str | None)
    channel.publish("text", routing_key="tasks")  # type: ignore[arg-type]
    publication = channel.publish_nowait(bytearray(b"body"), "", "tasks", properties)
    assert_type(publication, leveret.Publication)
    assert_type(publication.outcome, leveret.Outcome)
    assert_type(publication.error, leveret.PublishError | None)
    with channel.publisher(max_in_flight=10) as publisher:
        assert_type(publisher, leveret.Publisher)
        assert_type(publisher.publish(b"body", routing_key="tasks"), leveret.Publication)


def consuming(channel: leveret.Channel) -> None:
    with channel.consume("tasks", prefetch=10) as consumer:
        assert_type(consumer, leveret.Consumer)
        assert_type(consumer.get(timeout=1.0), leveret.Delivery)
        for delivery in consumer:
            assert_type(delivery, leveret.Delivery)
            assert_type(delivery.body, bytes)
            assert_type(delivery.properties, leveret.Properties)
            assert_type(delivery.headers, Mapping[str, object])
            assert_type(delivery.redelivered, bool)
            assert_type(delivery.delivery_tag, int)

    def callback(delivery: leveret.Delivery) -> None:
        delivery.ack()

    assert_type(channel.basic_consume("tasks", callback), leveret.Consumer)


def errors(error: leveret.LeveretError) -> None:
    assert_type(error.retryable, bool)
    if isinstance(error, leveret.PublishFailures):
        assert_type(error.errors, list[leveret.PublishError])
    if isinstance(error, leveret.PeerError):
        assert_type(error.reply_code, int)


def broker() -> None:
    with leveret.broker.Broker() as embedded:
        assert_type(embedded, leveret.broker.Broker)
        assert_type(embedded.url, str)
