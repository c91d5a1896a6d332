"""Channels: their numbers, their end, and what is told about it."""

from __future__ import annotations

import pytest

from leveret import (
    AccessRefused,
    ChannelClosedError,
    ConnectionClosedError,
    EncodeError,
    LocalProtocolError,
    NotAllowed,
    NotFound,
    NotImplementedByPeer,
    PreconditionFailed,
)

from ...support.brokers import BrokerUnderTest
from ...support.tasks import Signal, start
from .helpers import connect, exclusive_queue, open_channel, open_connection, unique


async def test_numbers_are_used_again(broker: BrokerUnderTest) -> None:
    async with open_connection(broker, channel_max=3) as connection:
        for _ in range(10):
            channel = await connection.channel()
            assert 1 <= channel.number <= 3
            await channel.close()
        channels = [await connection.channel() for _ in range(3)]
        assert sorted(channel.number for channel in channels) == [1, 2, 3]
        with pytest.raises(LocalProtocolError, match="all 3 channels"):
            await connection.channel()
        await channels[1].close()
        again = await connection.channel()
        assert again.number == channels[1].number
        await exclusive_queue(again)


async def test_the_number_of_a_failed_channel_is_used_again(broker: BrokerUnderTest) -> None:
    async with open_connection(broker, channel_max=1) as connection:
        for _ in range(5):
            channel = await connection.channel()
            with pytest.raises(NotFound):
                await channel.queue_declare(unique("none"), passive=True)
            assert not channel.is_open


async def test_a_closed_channel_refuses_at_once(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        await channel.close()
        await channel.close()
        assert not channel.is_open
        assert channel.close_reason is None
        with pytest.raises(ChannelClosedError):
            await channel.queue_declare()
        with pytest.raises(ChannelClosedError):
            await channel.publish(b"", routing_key="x")
        with pytest.raises(ChannelClosedError):
            channel.publish_nowait(b"", routing_key="x")
        with pytest.raises(ChannelClosedError):
            await channel.basic_publish(b"", routing_key="x")
        with pytest.raises(ChannelClosedError):
            channel.basic_ack(1)
        with pytest.raises(ChannelClosedError):
            await channel.consume("x")
        assert connection.is_open


async def test_a_failed_channel_says_why(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        other = await connection.channel()
        name = unique("none")
        with pytest.raises(NotFound) as caught:
            await channel.queue_declare(name, passive=True)
        error = caught.value
        assert error.reply_code == 404
        assert error.reply_text == f"NOT_FOUND - no queue '{name}' in vhost '{broker.vhost}'"
        assert error.operation == "queue.declare"
        assert error.arguments["queue"] == name
        assert error.channel == channel.number
        assert name in str(error)
        assert "queue.declare(" in str(error)
        assert channel.close_reason is error
        with pytest.raises(ChannelClosedError) as later:
            await channel.queue_declare()
        assert later.value.reason is error
        assert "NOT_FOUND" in str(later.value)
        await exclusive_queue(other)  # the connection and its other channels live


async def test_all_that_waits_on_a_failing_channel_fails(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        queue = await exclusive_queue(channel)
        consumer = await channel.consume(queue)
        waiting = start(consumer.get)
        publication = channel.publish_nowait(b"", unique("no exchange"), "x")
        with pytest.raises(ChannelClosedError) as caught:
            await waiting.result(2)
        assert isinstance(caught.value.reason, NotFound)
        with pytest.raises(Exception, match="publish"):
            await publication.wait(2)
        assert connection.is_open


async def test_an_error_is_raised_by_the_operation_it_is_about(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        names = [unique("missing") for _ in range(5)]
        calls = [start(channel.exchange_declare, name, passive=True) for name in names]
        raised: list[Exception] = []
        for call in calls:
            with pytest.raises((NotFound, ChannelClosedError)) as caught:
                await call.result()
            raised.append(caught.value)
        [(name, error)] = [
            (name, error)
            for name, error in zip(names, raised, strict=True)
            if isinstance(error, NotFound)
        ]
        assert error.arguments["exchange"] == name
        for other in raised:
            assert other is error or (
                isinstance(other, ChannelClosedError) and other.reason is error
            )
        assert len({id(other) for other in raised}) == 5


async def test_at_the_end_of_the_connection_each_raises_its_own_error(
    broker: BrokerUnderTest,
) -> None:
    async with await connect(broker.url) as connection:
        channel = await connection.channel()
        queue = await exclusive_queue(channel)
        first = await channel.consume(queue, consumer_tag="tag")
        calls = [start(channel.consume, queue, consumer_tag="tag") for _ in range(5)]
        raised: list[Exception] = []
        for call in calls:
            with pytest.raises((NotAllowed, ChannelClosedError, ConnectionClosedError)) as caught:
                await call.result()
            raised.append(caught.value)
        assert any(isinstance(error, NotAllowed) for error in raised)
        assert len({id(error) for error in raised}) == 5
        assert connection.close_reason in raised
        assert not first.is_active


async def test_a_nowait_error_names_the_operation_and_its_arguments(
    broker: BrokerUnderTest,
) -> None:
    async with open_connection(broker) as connection:
        for operation, arguments, call in _NOWAIT_FAULTS:
            channel = await connection.channel()
            queue = await exclusive_queue(channel)
            names = {"queue": queue, "missing": unique("none")}
            await call(channel, names)
            # the next operation that waits meets the error; what it names is not this operation
            with pytest.raises((NotFound, AccessRefused, ChannelClosedError)) as caught:
                await channel.basic_qos(1)
            error = caught.value
            if isinstance(error, ChannelClosedError):
                error = error.reason
            assert isinstance(error, NotFound | AccessRefused)
            assert error.operation == operation
            for argument in arguments:
                assert error.arguments[argument] in (names["missing"], names["queue"], "amq.fanout")
                assert str(error.arguments[argument]) in str(error)


async def _bind(channel, names) -> None:  # type: ignore[no-untyped-def]
    await channel.queue_bind(names["queue"], names["missing"], nowait=True)


async def _declare(channel, names) -> None:  # type: ignore[no-untyped-def]
    await channel.exchange_declare(names["missing"], passive=True, nowait=True)


async def _delete(channel, names) -> None:  # type: ignore[no-untyped-def]
    await channel.exchange_delete("amq.fanout", nowait=True)


async def _exchange_bind(channel, names) -> None:  # type: ignore[no-untyped-def]
    await channel.exchange_bind("amq.fanout", names["missing"], nowait=True)


_NOWAIT_FAULTS = [
    ("queue.bind", ["queue", "exchange"], _bind),
    ("exchange.declare", ["exchange"], _declare),
    ("exchange.delete", ["exchange"], _delete),
    ("exchange.bind", ["destination", "source"], _exchange_bind),
]


async def test_nowait_does_what_it_says(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        first, second = unique("exchange"), unique("exchange")
        queue = await exclusive_queue(channel)
        await channel.exchange_declare(first, "fanout", nowait=True)
        await channel.exchange_declare(second, "fanout", nowait=True)
        await channel.exchange_bind(second, first, nowait=True)
        await channel.queue_bind(queue, second, nowait=True)
        await channel.publish(b"through", first, persistent=False)
        delivery = await channel.get(queue, no_ack=True)
        assert delivery is not None
        await channel.exchange_unbind(second, first, nowait=True)
        await channel.exchange_delete(first, nowait=True)
        await channel.exchange_delete(second, nowait=True)
        await channel.basic_qos(1)
        with pytest.raises(NotFound):
            await channel.exchange_declare(first, passive=True)


async def test_errors_of_the_connection_end_it(broker: BrokerUnderTest) -> None:
    connection = await connect(broker.url)
    closed = Signal()
    connection.on_close = closed
    channel = await connection.channel()
    other = await connection.channel()
    queue = await exclusive_queue(channel)
    consumer = await channel.consume(queue, consumer_tag="mine")
    with pytest.raises(NotAllowed, match="attempt to reuse consumer tag 'mine'") as caught:
        await channel.consume(queue, consumer_tag="mine")
    error = caught.value
    assert error.reply_code == 530
    assert error.operation == "basic.consume"
    assert await closed.next() == (error,)
    assert not connection.is_open
    assert connection.close_reason is error
    assert not other.is_open
    with pytest.raises(ConnectionClosedError) as later:
        await connection.channel()
    assert later.value.reason is error
    with pytest.raises((ChannelClosedError, ConnectionClosedError)) as later_still:
        await other.queue_declare()
    assert "reuse consumer tag" in str(later_still.value)
    assert not consumer.is_active
    await connection.close()


async def test_what_the_broker_does_not_implement(broker: BrokerUnderTest) -> None:
    async def prefetch_size(channel):  # type: ignore[no-untyped-def]
        await channel.basic_qos(0, prefetch_size=10)

    async def recover(channel):  # type: ignore[no-untyped-def]
        await channel.basic_recover(False)

    async def flow(channel):  # type: ignore[no-untyped-def]
        await channel.channel_flow(False)

    for call, words in (
        (prefetch_size, "prefetch_size!=0 (10)"),
        (recover, "requeue=false"),
        (flow, "active=false"),
    ):
        connection = await connect(broker.url)
        channel = await connection.channel()
        with pytest.raises(NotImplementedByPeer) as caught:
            await call(channel)
        assert caught.value.reply_text == f"NOT_IMPLEMENTED - {words}"
        await connection.close()


async def test_flow_that_is_on_stays_on(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        assert await channel.channel_flow(True) is True


async def test_names_of_255_bytes_and_no_more(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        longest = unique("q") + "ü" * 100
        longest += "x" * (255 - len(longest.encode()))
        assert len(longest.encode()) == 255
        declared = await channel.queue_declare(longest, exclusive=True)
        assert declared.queue == longest
        await channel.exchange_declare(longest, "fanout", auto_delete=True)
        await channel.queue_bind(longest, longest, longest)
        await channel.publish(b"1", longest, longest, persistent=False)
        delivery = await channel.get(longest, no_ack=True)
        assert delivery is not None
        assert delivery.exchange == delivery.routing_key == longest

        too_long = longest + "x"
        for call in (
            lambda: channel.queue_declare(too_long),
            lambda: channel.exchange_declare(too_long),
            lambda: channel.queue_bind(longest, longest, too_long),
            lambda: channel.publish(b"", too_long),
            lambda: channel.publish(b"", longest, too_long),
            lambda: channel.basic_publish(b"", longest, too_long),
            lambda: channel.consume(too_long),
            lambda: channel.consume(longest, consumer_tag=too_long),
            lambda: channel.get(too_long),
        ):
            with pytest.raises(EncodeError, match="256"):
                await call()
        with pytest.raises(EncodeError, match="256"):
            channel.publish_nowait(b"", longest, too_long)
        # nothing was sent, nothing is out of step
        await channel.publish(b"2", longest, longest, persistent=False)
        delivery = await channel.get(longest, no_ack=True)
        assert delivery is not None
        assert delivery.body == b"2"
        assert await channel.queue_delete(longest) == 0


async def test_values_that_no_field_can_hold(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
        with pytest.raises(EncodeError):
            await channel.queue_declare(unique("q"), arguments={"x": object()})
        with pytest.raises(EncodeError):
            await channel.queue_declare(unique("q"), arguments={"x": 2**63})
        with pytest.raises(EncodeError):
            await channel.basic_qos(65536, global_=True)
        with pytest.raises(TypeError, match="bytes"):
            await channel.publish("text", routing_key=queue)  # type: ignore[arg-type]
        await channel.publish(b"fine", routing_key=queue, persistent=False)


async def test_modes_exclude_each_other(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        await channel.tx_select()
        with pytest.raises(PreconditionFailed, match="cannot switch from tx to confirm mode"):
            await channel.confirm_select()
        channel = await connection.channel()
        await channel.confirm_select()
        await channel.confirm_select()
        with pytest.raises(PreconditionFailed, match="cannot switch from confirm to tx mode"):
            await channel.tx_select()


async def test_many_channels_at_once(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:

        async def work() -> bytes:
            channel = await connection.channel()
            queue = await exclusive_queue(channel)
            body = queue.encode()
            await channel.publish(body, routing_key=queue, persistent=False)
            delivery = await channel.get(queue, no_ack=True)
            assert delivery is not None
            assert delivery.body == body
            await channel.close()
            return body

        tasks = [start(work) for _ in range(20)]
        bodies = [await task.result() for task in tasks]
        assert len(set(bodies)) == 20


async def test_one_channel_used_by_many(broker: BrokerUnderTest) -> None:
    # RabbitMQ answers basic.consume and basic.cancel late, after what was sent behind them
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)

        async def consume() -> None:
            for _ in range(15):
                consumer = await channel.consume(queue, prefetch=0)
                await consumer.cancel()

        async def declare() -> None:
            for _ in range(30):
                declared = await channel.queue_declare(queue, passive=True)
                assert declared.queue == queue
                assert await channel.get(queue) is None

        tasks = [start(work) for work in (consume, declare, consume, declare)]
        for task in tasks:
            await task.result()
        assert (await channel.queue_declare(queue, passive=True)).consumer_count == 0
