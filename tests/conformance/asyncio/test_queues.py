"""Queues: declaring, deleting, purging, exclusiveness, limits."""

from __future__ import annotations

import pytest

from leveret import (
    AccessRefused,
    NotFound,
    PreconditionFailed,
    ResourceLocked,
)

from ...support.brokers import BrokerUnderTest
from ...support.tasks import eventually
from .helpers import (
    connect,
    count,
    exclusive_queue,
    fill,
    get,
    open_channel,
    open_connection,
    shared_queue,
    unique,
)

REFUSED = {  # since 3.13 it says what was wanted
    "rabbitmq-3": "access to queue",
    "rabbitmq-4": "configure access to queue",
}
LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue '{queue}' in vhost "
    "'{vhost}'. It could be originally declared on another connection or the exclusive property "
    "value does not match that of the original declaration."
)


async def test_declaring_says_what_is_there(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        name = unique("queue")
        declared = await channel.queue_declare(name, exclusive=True)
        assert declared == (name, 0, 0)
        await fill(channel, name, b"1", b"2")
        consumer = await channel.consume(name, prefetch=1)
        await consumer.get()
        declared = await channel.queue_declare(name, exclusive=True)
        assert (declared.message_count, declared.consumer_count) == (1, 1)
        declared = await channel.queue_declare(name, passive=True)
        assert (declared.message_count, declared.consumer_count) == (1, 1)


async def test_the_broker_chooses_names(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        names = {(await channel.queue_declare(exclusive=True)).queue for _ in range(3)}
        assert len(names) == 3
        assert all(name.startswith("amq.gen-") for name in names)
        # the empty name is the last declared queue from here on
        last = (await channel.queue_declare(exclusive=True)).queue
        await channel.queue_bind("", "amq.fanout")
        await channel.queue_unbind("", "amq.fanout")
        await fill(channel, last, b"mine")
        assert await channel.queue_purge("") == 1
        for name in names:
            await channel.queue_delete(name)


async def test_names_are_unicode(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        name = unique("Hase/兎 🐇 #%&")
        assert (await channel.queue_declare(name, exclusive=True)).queue == name
        await channel.publish(b"hop", routing_key=name, persistent=False)
        delivery = await get(channel, name, no_ack=True)
        assert delivery.routing_key == name


async def test_passive_and_missing(broker: BrokerUnderTest) -> None:
    missing = unique("none")
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        with pytest.raises(NotFound, match=f"no queue '{missing}'"):
            await channel.queue_declare(missing, passive=True)
        channel = await connection.channel()
        with pytest.raises(NotFound, match=f"no queue '{missing}'"):
            await channel.queue_purge(missing)
        channel = await connection.channel()
        with pytest.raises(NotFound, match=f"no queue '{missing}'"):
            await channel.get(missing)
        channel = await connection.channel()
        with pytest.raises(NotFound, match=f"no queue '{missing}'") as caught:
            await channel.consume(missing)
        assert caught.value.operation == "basic.consume"
        channel = await connection.channel()
        assert await channel.queue_delete(missing) == 0
        await channel.queue_unbind(missing, "amq.fanout")


async def test_reserved_names(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        with pytest.raises(AccessRefused, match=r"queue name 'amq\.mine' contains reserved prefix"):
            await channel.queue_declare("amq.mine")


async def test_declaring_it_otherwise(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, **{"x-message-ttl": 60000}) as queue:
        where = f"for queue '{queue}' in vhost '{broker.vhost}'"
        async with open_connection(broker) as connection:
            channel = await connection.channel()
            with pytest.raises(PreconditionFailed) as caught:
                await channel.queue_declare(queue, durable=True, arguments={"x-message-ttl": 60001})
            assert caught.value.reply_text == (
                f"PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' {where}: "
                "received '60001' but current is '60000'"
            )
            assert caught.value.arguments["arguments"] == {"x-message-ttl": 60001}
            channel = await connection.channel()
            with pytest.raises(PreconditionFailed, match="inequivalent arg 'durable'"):
                await channel.queue_declare(queue, arguments={"x-message-ttl": 60000})
            channel = await connection.channel()
            with pytest.raises(PreconditionFailed, match="inequivalent arg 'auto_delete'"):
                await channel.queue_declare(
                    queue, durable=True, auto_delete=True, arguments={"x-message-ttl": 60000}
                )


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"x-message-ttl": "1000"}, "expected integer, got longstr"),
        ({"x-message-ttl": -1}, "{value_negative,-1}"),
        ({"x-expires": 0}, "{value_zero,0}"),
        ({"x-max-length": -1}, "{value_negative,-1}"),
        ({"x-overflow": "burst"}, "invalid_overflow"),
        ({"x-max-priority": 256}, "{max_value_exceeded,256}"),
        ({"x-dead-letter-routing-key": "x"}, "routing_key_but_no_dlx_defined"),
        ({"x-single-active-consumer": "yes"}, "{unacceptable_type,longstr}"),
    ],
)
async def test_arguments_that_are_refused(
    broker: BrokerUnderTest, arguments: dict[str, object], words: str
) -> None:
    async with open_channel(broker) as channel:
        with pytest.raises(PreconditionFailed) as caught:
            await channel.queue_declare(unique("queue"), durable=True, arguments=arguments)
        assert f"invalid arg '{next(iter(arguments))}'" in caught.value.reply_text
        assert words in caught.value.reply_text


async def test_exclusive_is_for_one_connection(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as owner, open_connection(broker) as other:
        queue = await exclusive_queue(owner)
        words = LOCKED.format(queue=queue, vhost=broker.vhost)
        for call in (
            lambda channel: channel.queue_declare(queue, exclusive=True),
            lambda channel: channel.queue_declare(queue, passive=True),
            lambda channel: channel.queue_delete(queue),
            lambda channel: channel.queue_purge(queue),
            lambda channel: channel.queue_bind(queue, "amq.fanout"),
            lambda channel: channel.consume(queue),
            lambda channel: channel.get(queue),
        ):
            channel = await other.channel()
            with pytest.raises(ResourceLocked) as caught:
                await call(channel)
            assert caught.value.reply_text == words
            assert caught.value.retryable
        assert await count(owner, queue) == 0


async def test_exclusive_goes_with_its_connection(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel)
    async with open_connection(broker) as connection:

        async def is_gone() -> bool:
            channel = await connection.channel()
            try:
                await channel.queue_declare(queue, passive=True)
            except NotFound:
                return True
            except ResourceLocked:
                return False
            return False

        await eventually(is_gone)


async def test_auto_delete_goes_with_its_last_consumer(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        queue = unique("queue")
        await channel.queue_declare(queue, auto_delete=True, durable=True)
        consumer = await channel.consume(queue)
        await consumer.cancel()
        with pytest.raises(NotFound):
            await channel.queue_declare(queue, passive=True)


async def test_purge_and_delete_count(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        queue = await exclusive_queue(channel, b"1", b"2", b"3")
        await get(channel, queue)  # unsettled, so not counted
        assert await channel.queue_purge(queue) == 2
        assert await channel.queue_purge(queue) == 0
        await fill(channel, queue, b"4")
        assert await channel.queue_delete(queue) == 1
        assert await channel.queue_delete(queue) == 0


async def test_delete_with_conditions(broker: BrokerUnderTest) -> None:
    async with shared_queue(broker, b"1") as queue, open_connection(broker) as connection:
        where = f"queue '{queue}' in vhost '{broker.vhost}'"
        channel = await connection.channel()
        with pytest.raises(PreconditionFailed, match=f"{where} not empty"):
            await channel.queue_delete(queue, if_empty=True)
        channel = await connection.channel()
        consumer = await channel.consume(queue)
        other = await connection.channel()
        with pytest.raises(PreconditionFailed, match=f"{where} in use"):
            await other.queue_delete(queue, if_unused=True)
        (await consumer.get()).ack()
        await consumer.cancel()
        await channel.queue_delete(queue, if_unused=True, if_empty=True)


async def test_permissions(broker: BrokerUnderTest) -> None:
    if not broker.has_permissions:  # every user of the embedded broker may do everything
        async with await connect(broker.url_for("limited", "limited")) as connection:
            await exclusive_queue(await connection.channel())
        return
    queue = unique("queue")
    async with await connect(broker.url_for("limited", "limited")) as connection:
        channel = await connection.channel()
        with pytest.raises(AccessRefused) as caught:
            await channel.queue_declare(queue)
        assert caught.value.reply_text == (
            f"ACCESS_REFUSED - {REFUSED[broker.name]} '{queue}' in vhost '{broker.vhost}' "
            "refused for user 'limited'"
        )
