# Made by tools/async_to_sync.py from conformance/asyncio/test_exchanges.py: change it there.
"""Exchanges: declaring, deleting, binding, and how the types route."""

from __future__ import annotations

import pytest

from leveret import (
    AccessRefused,
    CommandInvalid,
    NotFound,
    PreconditionFailed,
    Properties,
    PublishError,
    PublishReturned,
)

from ...support.brokers import BrokerUnderTest
from .helpers import exclusive_queue, get, open_channel, open_connection, unique

# RabbitMQ 4 made an error of the connection one of the channel
UNKNOWN_TYPE = {
    "rabbitmq-3": CommandInvalid,
    "rabbitmq-4": PreconditionFailed,
    "embedded": PreconditionFailed,
}


def _arrives(channel, queue, exchange, routing_key="", headers=None):  # type: ignore[no-untyped-def]
    """Whether a message published like this comes to the queue."""
    try:
        channel.publish(
            b"", exchange, routing_key, Properties(headers=headers), persistent=False
        )
    except PublishReturned:
        return False
    delivery = channel.get(queue, no_ack=True)
    assert delivery is not None
    assert delivery.exchange == exchange
    assert delivery.routing_key == routing_key
    return True


def test_declare_again_passive_and_delete(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        name = unique("exchange")
        channel.exchange_declare(name, "topic", auto_delete=True)
        channel.exchange_declare(name, "topic", auto_delete=True)
        channel.exchange_declare(name, passive=True)
        channel.exchange_delete(name)
        channel.exchange_delete(name)  # that it is gone is no error
        with pytest.raises(NotFound) as caught:
            channel.exchange_declare(name, passive=True)
        assert caught.value.reply_text == (
            f"NOT_FOUND - no exchange '{name}' in vhost '{broker.vhost}'"
        )
        assert caught.value.operation == "exchange.declare"


def test_declaring_it_otherwise(broker: BrokerUnderTest) -> None:
    name = unique("exchange")
    where = f"for exchange '{name}' in vhost '{broker.vhost}'"
    with open_connection(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare(name, "direct")
        for options, argument, received, current in (
            ({"type": "fanout"}, "type", "fanout", "direct"),
            ({"durable": True}, "durable", "true", "false"),
            ({"auto_delete": True}, "auto_delete", "true", "false"),
            ({"internal": True}, "internal", "true", "false"),
        ):
            channel = connection.channel()
            with pytest.raises(PreconditionFailed) as caught:
                channel.exchange_declare(name, **options)
            assert caught.value.reply_text == (
                f"PRECONDITION_FAILED - inequivalent arg '{argument}' {where}: "
                f"received '{received}' but current is '{current}'"
            )
        channel = connection.channel()
        channel.exchange_delete(name)


def test_an_unknown_type(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        with pytest.raises(UNKNOWN_TYPE[broker.name], match="invalid exchange type 'foo'"):
            channel.exchange_declare(unique("exchange"), "foo")
        assert connection.is_open is (UNKNOWN_TYPE[broker.name] is PreconditionFailed)


def test_names_that_are_the_brokers(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare("amq.direct", "direct", durable=True)
        with pytest.raises(AccessRefused, match=r"contains reserved prefix 'amq\.\*'"):
            channel.exchange_declare("amq.mine")
        channel = connection.channel()
        with pytest.raises(AccessRefused, match="not permitted on the default exchange"):
            channel.exchange_declare("")
        channel = connection.channel()
        with pytest.raises(AccessRefused, match=r"deletion of system exchange 'amq\.direct'"):
            channel.exchange_delete("amq.direct")


def test_if_unused(broker: BrokerUnderTest) -> None:
    name = unique("exchange")
    with open_connection(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare(name, "fanout")
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, name)
        with pytest.raises(PreconditionFailed, match=f"exchange '{name}' .* in use"):
            channel.exchange_delete(name, if_unused=True)
        channel = connection.channel()
        channel.queue_unbind(queue, name)
        channel.exchange_delete(name, if_unused=True)


def test_auto_delete(broker: BrokerUnderTest) -> None:
    name = unique("exchange")
    with open_connection(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare(name, "fanout", auto_delete=True)
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, name)
        channel.queue_delete(queue)
        with pytest.raises(NotFound):
            channel.exchange_declare(name, passive=True)


def test_an_internal_exchange_takes_no_publishes(broker: BrokerUnderTest) -> None:
    name = unique("exchange")
    with open_connection(broker) as connection:
        channel = connection.channel()
        channel.exchange_declare(name, "fanout", internal=True)
        with pytest.raises(PublishError, match="cannot publish to internal exchange") as caught:
            channel.publish(b"", name)
        assert isinstance(caught.value.__cause__, AccessRefused)
        channel = connection.channel()
        channel.exchange_delete(name)


def test_direct(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, "amq.direct", f"{queue}.ä")
        assert _arrives(channel, queue, "amq.direct", f"{queue}.ä")
        assert not _arrives(channel, queue, "amq.direct", f"{queue}.a")
        channel.queue_unbind(queue, "amq.direct", f"{queue}.ä")
        assert not _arrives(channel, queue, "amq.direct", f"{queue}.ä")


def test_fanout(broker: BrokerUnderTest) -> None:
    exchange = unique("exchange")
    with open_channel(broker) as channel:
        channel.exchange_declare(exchange, "fanout", auto_delete=True)
        queues = [exclusive_queue(channel) for _ in range(3)]
        for queue in queues:
            channel.queue_bind(queue, exchange, "ignored")
        channel.publish(b"all", exchange, "whatever", persistent=False)
        for queue in queues:
            assert (get(channel, queue, no_ack=True)).body == b"all"


@pytest.mark.parametrize(
    ("pattern", "matches", "others"),
    [
        ("#", ["", "a", "a.b", ".", "a..b"], []),
        ("*", ["a"], ["", "a.b", "."]),
        ("a.#", ["a", "a.b", "a.b.c", "a."], ["", "b", "ab"]),
        ("#.b", ["b", "a.b", "a..b"], ["a", "b.a"]),
        ("a.*.b", ["a..b", "a.x.b"], ["a.b", "a.x.x.b"]),
        ("*.#", ["a", "a.b", "."], [""]),
        ("a.*.#.c", ["a.b.c", "a.b.x.c"], ["a.c"]),
    ],
)
def test_topic(
    broker: BrokerUnderTest, pattern: str, matches: list[str], others: list[str]
) -> None:
    exchange = unique("exchange")
    with open_channel(broker) as channel:
        channel.exchange_declare(exchange, "topic", auto_delete=True)
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, exchange, pattern)
        assert [key for key in matches if not _arrives(channel, queue, exchange, key)] == []
        assert [key for key in others if _arrives(channel, queue, exchange, key)] == []


@pytest.mark.parametrize(
    ("arguments", "matches", "others"),
    [
        ({"a": 1}, [{"a": 1}, {"a": 1, "b": 2}], [{}, {"a": 2}, {"a": "1"}]),
        ({"x-match": "all", "a": 1, "b": "x"}, [{"a": 1, "b": "x"}], [{"a": 1}]),
        ({"x-match": "any", "a": 1, "b": 2}, [{"a": 1}, {"b": 2, "a": 9}], [{"c": 1}, {"a": 2}]),
        ({"a": None}, [{"a": 1}, {"a": None}], [{"b": 1}]),
    ],
)
def test_headers(
    broker: BrokerUnderTest,
    arguments: dict[str, object],
    matches: list[dict[str, object]],
    others: list[dict[str, object]],
) -> None:
    with open_channel(broker) as channel:
        exchange = unique("exchange")
        channel.exchange_declare(exchange, "headers", auto_delete=True)
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, exchange, arguments=arguments)
        for headers in matches:
            assert _arrives(channel, queue, exchange, "", headers), headers
        for headers in others:
            assert not _arrives(channel, queue, exchange, "", headers), headers


def test_exchanges_bound_to_exchanges(broker: BrokerUnderTest) -> None:
    source, destination = unique("exchange"), unique("exchange")
    with open_channel(broker) as channel:
        channel.exchange_declare(source, "topic")
        channel.exchange_declare(destination, "fanout")
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, destination)
        channel.exchange_bind(destination, source, "a.#")
        channel.exchange_bind(destination, source, "a.#")
        assert _arrives(channel, queue, source, "a.b")
        assert not _arrives(channel, queue, source, "b")
        channel.exchange_unbind(destination, source, "a.#")
        assert not _arrives(channel, queue, source, "a.b")
        channel.exchange_unbind(destination, source, "a.#")  # no error either
        channel.exchange_delete(source)
        channel.exchange_delete(destination)


def test_an_alternate_exchange(broker: BrokerUnderTest) -> None:
    main, alternate = unique("exchange"), unique("exchange")
    with open_channel(broker) as channel:
        channel.exchange_declare(alternate, "fanout")
        channel.exchange_declare(main, "direct", arguments={"alternate-exchange": alternate})
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, alternate)
        assert _arrives(channel, queue, main, "nobody asked for this")
        channel.exchange_delete(main)
        channel.exchange_delete(alternate)


def test_bindings_need_both_ends(broker: BrokerUnderTest) -> None:
    missing = unique("none")
    with open_connection(broker) as connection:
        channel = connection.channel()
        with pytest.raises(NotFound, match=f"no exchange '{missing}'"):
            channel.exchange_bind("amq.fanout", missing)
        channel = connection.channel()
        queue = exclusive_queue(channel)
        with pytest.raises(NotFound, match=f"no exchange '{missing}'"):
            channel.queue_bind(queue, missing)
        channel = connection.channel()
        with pytest.raises(NotFound, match=f"no queue '{missing}'"):
            channel.queue_bind(missing, "amq.fanout")
        channel = connection.channel()
        with pytest.raises(AccessRefused, match="not permitted on the default exchange"):
            channel.queue_bind(queue, "", "x")
