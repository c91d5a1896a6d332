"""Direct reply-to: requests and their answers without a queue of answers."""

from __future__ import annotations

import pytest

from leveret import PreconditionFailed, Properties, PublishNacked, PublishReturned

from ...support.brokers import BrokerUnderTest
from ...support.tasks import start
from .helpers import exclusive_queue, open_channel, open_connection, shared_queue

REPLIES = "amq.rabbitmq.reply-to"
# RabbitMQ 3 returns every mandatory answer, although the caller gets it; 4 returns none
RETURNS_ANSWERS = {"rabbitmq-3": True, "rabbitmq-4": False, "embedded": False}


async def test_requests_and_answers(broker: BrokerUnderTest) -> None:
    async with (
        shared_queue(broker) as queue,
        open_channel(broker) as client,
        open_channel(broker) as server,
    ):
        requests = await server.consume(queue)

        async def serve() -> None:
            for _ in range(5):
                request = await requests.get()
                assert request.properties.reply_to.startswith(f"{REPLIES}.")
                await server.publish(
                    request.body.upper(),
                    routing_key=request.properties.reply_to,
                    properties=Properties(correlation_id=request.properties.correlation_id),
                    mandatory=False,
                    persistent=False,
                )
                request.ack()

        serving = start(serve)
        answers = await client.consume(REPLIES, no_ack=True)
        for number in range(5):
            await client.publish(
                b"ask %d" % number,
                routing_key=queue,
                properties=Properties(reply_to=REPLIES, correlation_id=str(number)),
                persistent=False,
            )
            answer = await answers.get()
            assert answer.body == b"ASK %d" % number
            assert answer.properties.correlation_id == str(number)
        await serving.result()


async def test_a_mandatory_answer(broker: BrokerUnderTest) -> None:
    async with open_channel(broker) as channel:
        answers = await channel.consume(REPLIES, no_ack=True)
        queue = await exclusive_queue(channel)
        await channel.publish(
            b"ask", routing_key=queue, properties=Properties(reply_to=REPLIES), persistent=False
        )
        request = await channel.get(queue, no_ack=True)
        assert request is not None
        reply_to = request.properties.reply_to
        assert reply_to is not None
        if RETURNS_ANSWERS[broker.name]:
            with pytest.raises(PublishReturned):
                await channel.publish(b"answer", routing_key=reply_to)
        else:
            await channel.publish(b"answer", routing_key=reply_to)
        assert (await answers.get()).body == b"answer"


async def test_what_reply_to_wants(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        channel = await connection.channel()
        with pytest.raises(PreconditionFailed, match="reply consumer cannot acknowledge"):
            await channel.consume(REPLIES)
        channel = await connection.channel()
        first = await channel.consume(REPLIES, no_ack=True)
        with pytest.raises(PreconditionFailed, match="reply consumer already set"):
            await channel.consume(REPLIES, no_ack=True)
        assert not first.is_active
        channel = await connection.channel()
        with pytest.raises(PublishNacked, match="fast reply consumer does not exist"):
            await channel.publish(
                b"", routing_key="x", properties=Properties(reply_to=REPLIES), mandatory=False
            )
