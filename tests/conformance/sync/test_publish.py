# Made by tools/async_to_sync.py from conformance/asyncio/test_publish.py: change it there.
"""Publishing: every publish ends in exactly one of the five outcomes."""

from __future__ import annotations

import random

import pytest

from leveret import (
    AccessRefused,
    ChannelClosedError,
    ConfigurationError,
    DeadlineExceeded,
    NotFound,
    Outcome,
    PreconditionFailed,
    Properties,
    PublishError,
    PublishFailures,
    PublishNacked,
    PublishNotSent,
    PublishReturned,
    PublishUnknown,
)

from ...support.brokers import BrokerUnderTest
from ...support.threads import Signal, start
from .helpers import (
    count,
    exclusive_queue,
    get,
    has,
    open_channel,
    open_connection,
    unique,
)


def test_confirmed(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        assert channel.publish(b"it", routing_key=queue) is None
        # confirmed means that the queue has it: no waiting
        delivery = channel.get(queue)
        assert delivery is not None
        assert delivery.body == b"it"
        assert delivery.properties.delivery_mode == 2


def test_bodies_of_any_bytes_like_kind(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        mutable = bytearray(b"xyz")
        publications = [
            channel.publish_nowait(body, routing_key=queue)
            for body in (b"xyz", mutable, memoryview(b"-xyz-")[1:4])
        ]
        mutable[:] = b"abc"  # the caller's again once publish has returned
        for publication in publications:
            publication.wait()
            assert (get(channel, queue, no_ack=True)).body == b"xyz"


def test_persistence_is_the_default_and_the_properties_win(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        for properties, persistent, expected in (
            (None, True, 2),
            (None, False, None),
            (Properties(delivery_mode=1), True, 1),
            (Properties(delivery_mode=2), False, 2),
            (Properties(app_id="x"), True, 2),
        ):
            channel.publish(
                b"", routing_key=queue, properties=properties, persistent=persistent
            )
            found = get(channel, queue, no_ack=True)
            assert found.properties.delivery_mode in {expected, expected or 1}


def test_returned(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        key = unique("nobody")
        with pytest.raises(PublishReturned) as caught:
            channel.publish(b"body", "amq.direct", key, Properties(message_id="m1"))
        error = caught.value
        assert (error.reply_code, error.reply_text) == (312, "NO_ROUTE")
        assert (error.exchange, error.routing_key) == ("amq.direct", key)
        assert error.delivery_tag == 1
        assert error.returned.body == b"body"
        assert error.returned.properties.message_id == "m1"
        assert key in str(error)
        assert not error.retryable
        # the channel is as it was
        queue = exclusive_queue(channel)
        channel.publish(b"body", routing_key=queue)


def test_what_is_not_mandatory_is_confirmed_and_gone(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        channel.publish(b"", "amq.direct", unique("nobody"), mandatory=False)


def test_nacked(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(
            channel, **{"x-max-length": 1, "x-overflow": "reject-publish"}
        )
        channel.publish(b"1", routing_key=queue)
        with pytest.raises(PublishNacked) as caught:
            channel.publish(b"2", routing_key=queue)
        assert caught.value.retryable
        assert caught.value.routing_key == queue
        (get(channel, queue)).ack()
        channel.publish(b"3", routing_key=queue)


def test_refused_by_an_error_of_the_channel(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        missing = unique("none")
        for exchange, properties, kind, words in (
            (missing, None, NotFound, f"no exchange '{missing}'"),
            ("", Properties(user_id="bob"), PreconditionFailed, "user_id property set to 'bob'"),
            ("", Properties(expiration="abc"), PreconditionFailed, "invalid expiration 'abc'"),
            (
                "",
                Properties(headers={"CC": "not a list"}),
                PreconditionFailed,
                "unacceptable_type_in_header",
            ),
        ):
            channel = connection.channel()
            with pytest.raises(PublishNacked, match=words) as caught:
                channel.publish(b"", exchange, "key", properties)
            reason = caught.value.__cause__
            assert isinstance(reason, kind)
            assert reason.operation == "basic.publish"
            assert reason.arguments["routing_key"] == "key"
            assert not channel.is_open
            with pytest.raises(ChannelClosedError):
                channel.publish(b"", routing_key="key")
        assert connection.is_open


def test_publishes_after_a_refused_one_were_not_taken(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        keeper = connection.channel()
        queue = exclusive_queue(keeper)
        channel = connection.channel()
        missing = unique("none")
        publications = []
        for number in range(10):
            try:
                publications.append(
                    channel.publish_nowait(b"%d" % number, missing if number == 5 else "", queue)
                )
            except ChannelClosedError:  # a quick broker has closed it by now: the rest is not sent
                assert number > 5
                break
        outcomes = []
        for publication in publications:
            try:
                publication.wait()
            except PublishError:
                pass
            outcomes.append(publication.outcome)
        assert outcomes[5] is Outcome.NACKED
        # what came before may be unknown, for the confirms may have been overtaken
        assert set(outcomes[:5]) <= {Outcome.CONFIRMED, Outcome.UNKNOWN}
        assert set(outcomes[6:]) <= {Outcome.NOT_SENT}
        has(keeper, queue, 5)


def test_a_publication_tells_its_outcome(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        good = channel.publish_nowait(b"1", routing_key=queue)
        bad = channel.publish_nowait(b"2", routing_key=unique("nobody"))
        assert good.delivery_tag == 1
        assert bad.delivery_tag == 2
        waiting = [start(good.wait), start(good.wait)]
        for waiter in waiting:
            waiter.result()
        good.wait()
        assert good.outcome is Outcome.CONFIRMED
        assert good.error is None
        for _ in range(2):
            with pytest.raises(PublishReturned):
                bad.wait()
        assert bad.outcome is Outcome.RETURNED
        assert isinstance(bad.error, PublishReturned)
        assert (good.exchange, good.routing_key, good.body) == ("", queue, b"1")
        assert "confirmed" in repr(good)


def test_many_returned_and_confirmed_interleaved(broker: BrokerUnderTest) -> None:
    chance = random.Random(7)
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        missing = [unique("nobody") for _ in range(3)]
        publications = []
        with channel.publisher(max_in_flight=50) as publisher:
            for number in range(600):
                key = chance.choice([queue, *missing])
                mandatory = chance.random() < 0.7
                publication = publisher.publish(
                    b"%d" % (number % 7), routing_key=key, mandatory=mandatory, persistent=False
                )
                assert publisher.in_flight <= 50
                publications.append(publication)
            with pytest.raises(PublishFailures) as caught:
                publisher.flush()
            assert publisher.in_flight == 0
        expected = [
            Outcome.RETURNED if p.routing_key != queue and p.mandatory else Outcome.CONFIRMED
            for p in publications
        ]
        assert [p.outcome for p in publications] == expected
        returned = [p for p in publications if p.outcome is Outcome.RETURNED]
        assert [(e.routing_key, e.delivery_tag) for e in caught.value.errors] == [
            (p.routing_key, p.delivery_tag) for p in returned
        ]
        for publication in returned:
            assert publication.error.returned.body == publication.body
        assert str(len(returned)) in str(caught.value)
        has(channel, queue, sum(p.routing_key == queue for p in publications))


def test_leaving_the_publishers_block_waits_for_all(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        with channel.publisher(max_in_flight=10) as publisher:
            publications = [
                publisher.publish(b"x", routing_key=queue) for _ in range(100)
            ]
        assert {p.outcome for p in publications} == {Outcome.CONFIRMED}
        assert count(channel, queue) == 100
        with pytest.raises(PublishFailures) as caught:
            with channel.publisher() as publisher:
                publisher.publish(b"x", routing_key=queue)
                publisher.publish(b"x", routing_key=unique("nobody"))
        assert [type(error) for error in caught.value.errors] == [PublishReturned]


def test_errors_are_raised_once(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        publisher = channel.publisher(2)
        publisher.publish(b"x", routing_key=unique("nobody"))
        with pytest.raises(PublishFailures):
            publisher.flush()
        publisher.flush()
        with pytest.raises(ConfigurationError):
            channel.publisher(0)


def test_an_error_in_the_publishers_block_wins(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        with pytest.raises(KeyError):
            with channel.publisher() as publisher:
                publisher.publish(b"x", routing_key=unique("nobody"))
                raise KeyError("mine")


def test_wait_for_confirms(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        channel.wait_for_confirms()
        publications = [channel.publish_nowait(b"x", routing_key=queue) for _ in range(50)]
        channel.wait_for_confirms()
        assert {p.outcome for p in publications} == {Outcome.CONFIRMED}


def test_several_publishers_on_one_channel(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)

        def work() -> None:
            with channel.publisher(max_in_flight=7) as publisher:
                for _ in range(60):
                    publisher.publish(b"x", routing_key=queue, persistent=False)

        tasks = [start(work) for _ in range(4)]
        for task in tasks:
            task.result()
        assert count(channel, queue) == 240


def test_basic_publish_and_its_returns(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        returned = Signal()
        channel.on_return = returned
        queue = exclusive_queue(channel)
        missing = unique("nobody")
        channel.basic_publish(b"1", routing_key=missing, mandatory=True)
        channel.basic_publish(b"2", routing_key=missing)  # gone without a word
        channel.basic_publish(b"3", routing_key=queue, mandatory=True)
        channel.basic_publish(
            b"4", "amq.direct", missing, Properties(type="t"), mandatory=True
        )
        (first,) = returned.next()
        assert (first.body, first.exchange, first.routing_key) == (b"1", "", missing)
        assert (first.reply_code, first.reply_text) == (312, "NO_ROUTE")
        (second,) = returned.next()
        assert (second.body, second.exchange) == (b"4", "amq.direct")
        assert second.properties.type == "t"
        delivery = get(channel, queue)
        assert delivery.body == b"3"
        assert delivery.properties.delivery_mode in (None, 1)
        assert len(returned.calls) == 2


def test_both_kinds_of_publish_on_one_channel(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        returned = Signal()
        channel.on_return = returned
        missing = unique("nobody")
        channel.confirm_select()
        for number in range(20):
            channel.basic_publish(b"same", routing_key=missing, mandatory=True)
            publication = channel.publish_nowait(b"same", routing_key=missing)
            if number % 2:
                with pytest.raises(PublishReturned):
                    publication.wait()
        with pytest.raises(PublishFailures) as caught:  # those that nobody was told of
            channel.wait_for_confirms()
        assert [error.delivery_tag % 4 for error in caught.value.errors] == [2] * 10
        for _ in range(20):
            returned.next()
        assert len(returned.calls) == 20


def test_a_publish_from_before_confirm_mode_comes_back(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        returned = Signal()
        channel.on_return = returned
        queue = exclusive_queue(channel)
        channel.queue_bind(queue, "amq.headers", arguments={"for": queue})
        channel.basic_publish(b"before", "amq.headers", "k", mandatory=True)
        channel.publish(b"after", "amq.headers", "k", Properties(headers={"for": queue}))
        (message,) = returned.next()
        assert message.body == b"before"


def test_waiting_for_confirms_tells_of_each_failure_once(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue, missing = exclusive_queue(channel), unique("nobody")
        publications = [
            channel.publish_nowait(b"%d" % number, routing_key=missing if number % 2 else queue)
            for number in range(6)
        ]
        with pytest.raises(PublishReturned):
            publications[3].wait()
        with pytest.raises(PublishFailures, match="2 messages were not confirmed") as caught:
            channel.wait_for_confirms()
        failed = [error.publication for error in caught.value.errors]
        assert failed == [publications[1], publications[5]]
        assert [publication.body for publication in failed] == [b"1", b"5"]
        channel.wait_for_confirms()


def test_a_publisher_that_never_flushes_is_told(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        publisher = channel.publisher(max_in_flight=100)
        missing = unique("nobody")
        with pytest.raises(PublishFailures, match="were not confirmed") as caught:
            for _ in range(5000):
                publisher.publish(b"", routing_key=missing)
        assert len(caught.value.errors) == 1000
        with pytest.raises(PublishFailures):
            publisher.flush()
        publisher.flush()


def test_a_publisher_left_by_an_error_of_the_user_has_a_note(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        with pytest.raises(KeyError) as caught:
            with channel.publisher() as publisher:
                publication = publisher.publish(b"", routing_key=unique("nobody"))
                with pytest.raises(PublishReturned):
                    publication.wait()
                publication = publisher.publish(b"", routing_key=unique("nobody"))
                channel.wait_for_confirms()
                raise KeyError("the user's own")
        assert caught.value.__notes__ == [
            "of the publisher's messages, 1 were not confirmed and 0 have no outcome yet"
        ]


def test_a_publication_may_be_polled(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        publication = channel.publish_nowait(b"it", routing_key=queue)
        for _ in range(2000):
            try:
                publication.wait(timeout=0)
            except DeadlineExceeded:
                continue
            break
        else:
            publication.wait()
        assert publication.outcome is Outcome.CONFIRMED
        channel.publish(b"more", routing_key=queue)


def test_whether_a_refused_publish_may_be_tried_again(broker: BrokerUnderTest) -> None:
    with open_connection(broker) as connection:
        channel = connection.channel()
        with pytest.raises(PublishNacked) as caught:
            channel.publish(b"", unique("none"))
        assert isinstance(caught.value.__cause__, NotFound)
        assert not caught.value.retryable


def test_a_callback_of_returns_that_raises(
    broker: BrokerUnderTest, caplog: pytest.LogCaptureFixture
) -> None:
    with open_channel(broker) as channel:
        returned = Signal()

        def callback(message: object) -> None:
            returned(message)
            raise RuntimeError("the callback's own")

        channel.on_return = callback
        for _ in range(2):
            channel.basic_publish(b"", routing_key=unique("nobody"), mandatory=True)
        returned.next()
        returned.next()
        assert "the callback's own" in caplog.text
        assert channel.is_open


def test_a_user_id_that_is_right(broker: BrokerUnderTest) -> None:
    with open_channel(broker) as channel:
        queue = exclusive_queue(channel)
        channel.publish(b"", routing_key=queue, properties=Properties(user_id="guest"))
        assert (get(channel, queue)).properties.user_id == "guest"


def test_outcomes_are_different_classes() -> None:
    kinds = [PublishReturned, PublishNacked, PublishNotSent, PublishUnknown, PublishFailures]
    for one in kinds:
        assert issubclass(one, PublishError)
        assert not any(issubclass(one, other) for other in kinds if other is not one)
    assert not issubclass(AccessRefused, PublishError)
