# Made by tools/async_to_sync.py from conformance/asyncio/test_dead_letters.py: change it there.
"""Dead letters: why messages become one, what their headers say, where they do not go."""

from __future__ import annotations

import time

from leveret import Delivery, Properties

from ...support.brokers import BrokerUnderTest
from .helpers import (
    count,
    exclusive_queue,
    get,
    has,
    open_channel,
    open_connection,
    put,
    unique,
    with_grave,
)

CLOCKS = 5  # seconds that the clocks of two machines may differ


def deaths(delivery: Delivery) -> list[tuple[object, object, object]]:
    """The queue, the reason and the number of each death, the latest first."""
    record = delivery.headers["x-death"]
    assert isinstance(record, list)
    return [(death["queue"], death["reason"], death["count"]) for death in record]


def test_the_record_of_a_death(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel)
        put(
            channel,
            queue,
            b"m",
            expiration="60000",
            priority=3,
            message_id="id",
            headers={"a": 1, "CC": ["elsewhere"]},
        )
        (get(channel, queue)).nack(requeue=False)
        delivery = get(channel, dead)
        assert (delivery.body, delivery.exchange, delivery.routing_key) == (b"m", "", dead)
        assert (delivery.properties.priority, delivery.properties.message_id) == (3, "id")
        assert delivery.properties.expiration is None
        headers = dict(delivery.headers)
        record = headers.pop("x-death")
        assert isinstance(record, list)
        (death,) = record
        assert abs(death.pop("time").timestamp() - time.time()) < CLOCKS
        assert death == {
            "count": 1,
            "reason": "rejected",
            "queue": queue,
            "exchange": "",
            "routing-keys": [queue, "elsewhere"],
            "original-expiration": "60000",
        }
        expected = {
            "a": 1,
            "CC": ["elsewhere"],
            "x-first-death-exchange": "",
            "x-first-death-queue": queue,
            "x-first-death-reason": "rejected",
            "x-last-death-exchange": "",
            "x-last-death-queue": queue,
            "x-last-death-reason": "rejected",
        }
        if broker.name == "rabbitmq-3":  # it drops CC, and knows the first death only
            expected = {
                name: value
                for name, value in expected.items()
                if name != "CC" and not name.startswith("x-last")
            }
        assert headers == expected


def test_a_record_by_a_client_is_not_read(broker: BrokerUnderTest) -> None:
    if broker.name == "rabbitmq-3":  # it counts on from there
        return
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel)
        forged = {"count": 7, "reason": "rejected", "queue": queue}
        headers = {"x-death": [forged], "x-first-death-queue": "mine"}
        put(channel, queue, b"m", headers=headers)
        delivery = get(channel, queue)
        assert delivery.headers == headers
        delivery.nack(requeue=False)
        delivery = get(channel, dead)
        assert deaths(delivery) == [(queue, "rejected", 1)]
        assert delivery.headers["x-first-death-queue"] == queue


def test_reasons(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        dead = exclusive_queue(channel)
        letters: dict[str, object] = {
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": dead,
        }
        queue = exclusive_queue(channel, **letters)
        for settle in ("nack", "reject"):
            put(channel, queue, b"no")
            getattr(get(channel, queue), settle)(requeue=False)
            assert deaths(get(channel, dead)) == [(queue, "rejected", 1)]
        queue = exclusive_queue(channel, **(letters | {"x-message-ttl": 10}))
        put(channel, queue, b"late")
        assert deaths(get(channel, dead)) == [(queue, "expired", 1)]
        queue = exclusive_queue(channel, b"1", **(letters | {"x-max-length": 1}))
        put(channel, queue, b"2")
        delivery = get(channel, dead)
        assert (delivery.body, deaths(delivery)) == (b"1", [(queue, "maxlen", 1)])


def test_many_are_rejected_in_their_order(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, dead = with_grave(channel)
        for number in range(5):
            put(channel, queue, b"%d" % number)
        deliveries = [get(channel, queue) for _ in range(5)]
        deliveries[-1].nack(multiple=True, requeue=False)
        has(channel, dead, 5)
        bodies = [(get(channel, dead)).body for _ in range(5)]
        assert bodies == [b"0", b"1", b"2", b"3", b"4"]


def test_without_a_key_it_goes_where_it_went(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        exchange, key = unique("exchange"), unique("key")
        channel.exchange_declare(exchange, "direct", auto_delete=True)
        targets = {}
        for suffix in ("", "-cc", "-bcc"):
            targets[suffix] = exclusive_queue(channel)
            channel.queue_bind(targets[suffix], exchange, key + suffix)
        queue = exclusive_queue(channel, **{"x-dead-letter-exchange": exchange})
        channel.queue_bind(queue, "amq.direct", key)
        channel.publish(
            b"m",
            exchange="amq.direct",
            routing_key=key,
            properties=Properties(headers={"CC": [f"{key}-cc"], "BCC": [f"{key}-bcc"]}),
            persistent=False,
        )
        (get(channel, queue)).nack(requeue=False)
        for target in targets.values():
            delivery = get(channel, target)
            assert (delivery.exchange, delivery.routing_key) == (exchange, key)
            assert "BCC" not in delivery.headers
            assert delivery.headers["x-first-death-exchange"] == "amq.direct"
            record = delivery.headers["x-death"]
            assert isinstance(record, list)
            assert record[0]["routing-keys"] == [key, f"{key}-cc"]


def test_deaths_are_counted(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        first, second = unique("first"), unique("second")
        channel.queue_declare(
            first,
            exclusive=True,
            arguments={
                "x-dead-letter-exchange": "",
                "x-dead-letter-routing-key": second,
                "x-message-ttl": 10,
            },
        )
        channel.queue_declare(
            second,
            exclusive=True,
            arguments={"x-dead-letter-exchange": "", "x-dead-letter-routing-key": first},
        )
        put(channel, first, b"m")
        for record in (
            [(first, "expired", 1)],
            [(first, "expired", 2), (second, "rejected", 1)],
            [(first, "expired", 3), (second, "rejected", 2)],
        ):
            delivery = get(channel, second)
            assert deaths(delivery) == record
            assert delivery.headers["x-first-death-queue"] == first
            delivery.nack(requeue=False)


def test_a_message_does_not_go_round_by_itself(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        seen = exclusive_queue(channel)
        exchange, loop = unique("exchange"), unique("loop")
        channel.exchange_declare(exchange, "fanout", auto_delete=True)
        arguments = {"x-dead-letter-exchange": exchange, "x-message-ttl": 10}
        channel.queue_declare(loop, exclusive=True, arguments=arguments)
        for queue in (seen, loop):
            channel.queue_bind(queue, exchange)
        put(channel, loop, b"m")
        assert deaths(get(channel, seen)) == [(loop, "expired", 1)]
        has(channel, loop, 0)
        assert count(channel, seen) == 0


def test_a_rejected_message_may_come_back(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"m", **{"x-dead-letter-exchange": ""})
        for _ in range(3):
            (get(channel, queue)).nack(requeue=False)
        assert deaths(get(channel, queue)) == [(queue, "rejected", 3)]


def test_an_exchange_that_is_not_there(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel, b"m", **{"x-dead-letter-exchange": unique("none")})
        (get(channel, queue)).nack(requeue=False)
        put(channel, queue, b"next")
        assert (get(channel, queue)).body == b"next"


def test_a_rejection_in_a_transaction_waits_for_the_commit(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel, transacted = [connection.channel() for _ in range(2)]
        queue, dead = with_grave(channel)
        put(channel, queue, b"m")
        transacted.tx_select()
        (get(transacted, queue)).nack(requeue=False)
        assert transacted.get(queue) is None  # the broker has read the nack
        assert count(channel, dead) == 0
        transacted.tx_commit()
        assert (get(channel, dead)).body == b"m"
