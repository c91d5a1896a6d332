"""Publishing over a connection that breaks: what was not sent, and what may have arrived."""

from __future__ import annotations

import pytest

from leveret import (
    ChannelClosedError,
    ConnectionClosedError,
    ConnectionLost,
    DeadlineExceeded,
    Outcome,
    PublishError,
    PublishFailures,
    PublishNotSent,
    PublishUnknown,
)

from ...support.brokers import BrokerUnderTest
from ...support.proxy import Proxy
from ...support.tasks import start
from .helpers import connect, count, has, open_channel, shared_queue

MIB = 1024 * 1024


async def test_a_publisher_tells_of_each_publish_when_the_connection_breaks(
    broker: BrokerUnderTest,
) -> None:
    async with shared_queue(broker) as queue, open_channel(broker) as watcher:
        with Proxy(broker.url) as proxy:
            connection = await connect(proxy.url)
            channel = await connection.channel()
            proxy.hold_to_client()
            sent = 0
            with pytest.raises(PublishFailures) as caught:
                async with channel.publisher(max_in_flight=50) as publisher:
                    for _ in range(50):
                        await publisher.publish(b"", routing_key=queue)
                        sent += 1
                    await has(watcher, queue, 50)
                    proxy.cut()
                    while True:
                        await publisher.publish(b"", routing_key=queue)
                        sent += 1
            assert isinstance(caught.value.__cause__, ChannelClosedError | ConnectionClosedError)
            assert len(caught.value.errors) == sent
            assert sum(isinstance(error, PublishUnknown) for error in caught.value.errors) >= 50
            await connection.close()


@pytest.mark.parametrize("reset", [False, True])
async def test_unknown_when_the_confirm_is_lost(broker: BrokerUnderTest, reset: bool) -> None:
    async with shared_queue(broker) as queue, open_channel(broker) as watcher:
        with Proxy(broker.url) as proxy:
            connection = await connect(proxy.url)
            channel = await connection.channel()
            await channel.publish(b"1", routing_key=queue)
            proxy.hold_to_client()
            publishing = start(channel.publish, b"2", routing_key=queue)
            await has(watcher, queue, 2)  # it has arrived, which the publisher cannot know
            proxy.cut(reset=reset)
            with pytest.raises(PublishUnknown) as caught:
                await publishing.result(5)
            assert isinstance(caught.value.__cause__, ConnectionLost)
            assert not caught.value.retryable
            assert caught.value.routing_key == queue
            assert caught.value.delivery_tag == 2
            with pytest.raises((ChannelClosedError, ConnectionClosedError)):
                await channel.publish(b"3", routing_key=queue)
            await connection.close()
        assert await count(watcher, queue) == 2


async def test_unknown_at_the_deadline_and_known_later(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue:
        with Proxy(broker.url) as proxy:
            async with await connect(proxy.url) as connection:
                channel = await connection.channel()
                await channel.publish(b"1", routing_key=queue)
                proxy.hold_to_client()
                with pytest.raises(PublishUnknown) as caught:
                    await channel.publish(b"2", routing_key=queue, timeout=0.1)
                assert isinstance(caught.value.__cause__, DeadlineExceeded)
                publication = channel.publish_nowait(b"3", routing_key=queue)
                with pytest.raises(DeadlineExceeded):
                    await publication.wait(0.05)
                publisher = channel.publisher(1)
                await publisher.publish(b"4", routing_key=queue)
                with pytest.raises(DeadlineExceeded):
                    await publisher.publish(b"never sent", routing_key=queue, timeout=0.05)
                with pytest.raises(DeadlineExceeded):
                    await publisher.flush(0.05)
                with pytest.raises(DeadlineExceeded):
                    await channel.wait_for_confirms(timeout=0.05)
                assert publication.outcome is Outcome.PENDING
                proxy.release()
                await publication.wait()
                await publisher.flush()
                await channel.publish(b"5", routing_key=queue)
                assert await count(channel, queue) == 5


async def test_not_sent_never_arrives(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue, open_channel(broker) as watcher:
        with Proxy(broker.url) as proxy:
            connection = await connect(proxy.url)
            channel = await connection.channel()
            await channel.publish(b"first", routing_key=queue)
            proxy.hold_to_broker()
            body = bytes(MIB)
            publications = [
                channel.publish_nowait(body, routing_key=queue, persistent=False)
                for _ in range(24)
            ]
            with pytest.raises(PublishNotSent) as caught:  # so much is queued that it waits
                await channel.publish(b"late", routing_key=queue, timeout=0.1)
            assert isinstance(caught.value.__cause__, DeadlineExceeded)
            assert caught.value.retryable
            with pytest.raises(DeadlineExceeded):
                await channel.basic_publish(b"late", routing_key=queue, timeout=0.05)
            proxy.cut()
            outcomes = []
            for publication in publications:
                with pytest.raises(PublishError):
                    await publication.wait(5)
                outcomes.append(publication.outcome)
            unknown = outcomes.count(Outcome.UNKNOWN)
            assert outcomes == [Outcome.UNKNOWN] * unknown + [Outcome.NOT_SENT] * (24 - unknown)
            assert outcomes[-1] is Outcome.NOT_SENT
            assert unknown
            await connection.close()
        assert 1 <= await count(watcher, queue) <= 1 + unknown


async def test_a_publish_that_waits_for_room_goes_on(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue:
        with Proxy(broker.url) as proxy:
            async with await connect(proxy.url) as connection:
                channel = await connection.channel()
                await channel.publish(b"first", routing_key=queue)
                proxy.hold_to_broker()
                publications = [
                    channel.publish_nowait(bytes(MIB), routing_key=queue, persistent=False)
                    for _ in range(12)
                ]
                late = [
                    start(channel.publish, b"late", routing_key=queue),
                    start(channel.basic_publish, b"late", routing_key=queue),
                ]
                with pytest.raises(DeadlineExceeded):
                    await publications[-1].wait(0.1)
                assert not any(task.done for task in late)
                proxy.release()
                for task in late:
                    await task.result()
                for publication in publications:
                    await publication.wait()
                await has(channel, queue, 15)


async def test_a_publish_that_waits_for_room_is_told_of_the_end(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue:
        with Proxy(broker.url) as proxy:
            connection = await connect(proxy.url)
            channel = await connection.channel()
            await channel.publish(b"first", routing_key=queue)
            proxy.hold_to_broker()
            for _ in range(12):
                channel.publish_nowait(bytes(MIB), routing_key=queue, persistent=False)
            late = [
                start(channel.publish, b"late", routing_key=queue),
                start(channel.basic_publish, b"late", routing_key=queue),
                start(channel.publisher().publish, b"late", routing_key=queue),
            ]
            with pytest.raises(DeadlineExceeded):
                await channel.wait_for_confirms(timeout=0.1)
            assert not any(task.done for task in late)
            proxy.cut()
            for task in late:
                with pytest.raises(
                    (ChannelClosedError, ConnectionClosedError, PublishNotSent)
                ) as caught:
                    await task.result(5)
                assert caught.value.retryable
            await connection.close()


async def test_confirms_that_came_before_the_end_count(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue:
        with Proxy(broker.url) as proxy:
            connection = await connect(proxy.url)
            channel = await connection.channel()
            publications = [
                channel.publish_nowait(b"x", routing_key=queue, persistent=False)
                for _ in range(50)
            ]
            await channel.wait_for_confirms()
            proxy.cut()
            await connection.close()
        assert {p.outcome for p in publications} == {Outcome.CONFIRMED}


async def test_an_ordinary_close_leaves_nothing_unsaid(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker) as queue, open_channel(broker) as watcher:
        connection = await connect(broker.url)
        channel = await connection.channel()
        publications = [
            channel.publish_nowait(b"x", routing_key=queue, persistent=False) for _ in range(200)
        ]
        await connection.close()
        assert Outcome.PENDING not in {p.outcome for p in publications}
        await has(watcher, queue, 200)  # they left before the connection was closed
        assert Outcome.NOT_SENT not in {p.outcome for p in publications}


async def test_closing_while_the_broker_takes_nothing(broker: BrokerUnderTest) -> None:
    with Proxy(broker.url) as proxy:
        connection = await connect(proxy.url)
        channel = await connection.channel()
        proxy.hold_to_broker()
        publication = channel.publish_nowait(bytes(16 * MIB), routing_key="x")
        with pytest.raises(DeadlineExceeded):
            await connection.close(timeout=0.2)
        assert not connection.is_open
        with pytest.raises(PublishError):
            await publication.wait(5)
