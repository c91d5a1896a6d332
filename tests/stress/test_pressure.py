"""Consumers that do not keep up, peers that do not read: memory stays bounded, time too."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import leveret
import leveret.asyncio
from leveret.client.consumer import BUFFER_BYTES, BUFFER_LIMIT
from leveret.client.core import SEND_LIMIT
from leveret.exceptions import DeadlineExceeded, LeveretError

from .peer import run_peer

MESSAGES = 100_000
SLACK = 3_000  # deliveries that one read may bring beyond the limit
CLOSE_SECONDS = 6.0


def fill(url: str, queue: str, messages: int, body: bytes) -> None:
    """Put messages into a new queue."""
    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.queue_declare(queue)
        with channel.publisher() as publisher:
            for _ in range(messages):
                publisher.publish(body, routing_key=queue)


def test_a_slow_consumer_without_acks(server: str) -> None:
    fill(server, "slow", MESSAGES, b"x" * 100)
    gate = threading.Event()
    first = threading.Event()
    last = threading.Event()
    count = 0

    def slow(_: leveret.Delivery) -> None:
        nonlocal count
        first.set()
        gate.wait(30)
        count += 1
        if count == MESSAGES:
            last.set()

    with leveret.connect(server, heartbeat=1) as connection:
        channel = connection.channel()
        consumer = channel.basic_consume("slow", slow, no_ack=True)
        assert first.wait(5)
        held = consumer._subscription.deliveries
        try:
            assert not last.wait(4)  # four heartbeat intervals
            assert BUFFER_LIMIT <= len(held) < BUFFER_LIMIT + SLACK
            # an answer comes behind what the broker has sent before it, and with it
            for _ in range(3):
                start = time.monotonic()
                connection.channel(timeout=10).close()
                assert time.monotonic() - start < 5
        finally:
            gate.set()
        assert last.wait(60)
        channel.queue_delete("slow")


async def test_a_slow_task_without_acks(server: str) -> None:
    await asyncio.to_thread(fill, server, "slow-task", MESSAGES, b"x" * 100)
    gate = asyncio.Event()
    first = asyncio.Event()
    last = asyncio.Event()
    count = 0

    async def slow(_: leveret.Delivery) -> None:
        nonlocal count
        first.set()
        await gate.wait()
        count += 1
        if count == MESSAGES:
            last.set()

    async with await leveret.asyncio.connect(server, heartbeat=1) as connection:
        channel = await connection.channel()
        consumer = await channel.basic_consume("slow-task", slow, no_ack=True)
        await asyncio.wait_for(first.wait(), 5)
        held = consumer._subscription.deliveries
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(last.wait(), 4)
        assert BUFFER_LIMIT <= len(held) < BUFFER_LIMIT + SLACK
        for _ in range(3):
            async with asyncio.timeout(5):
                await (await connection.channel()).close()
        gate.set()
        await asyncio.wait_for(last.wait(), 60)
        await channel.queue_delete("slow-task")


def test_large_bodies_count_by_their_bytes(server: str) -> None:
    size = 1_000_000
    fill(server, "slow-large", 200, bytes(size))
    with leveret.connect(server) as connection, connection.channel() as channel:
        consumer = channel.consume("slow-large", no_ack=True)
        wait = threading.Event()
        wait.wait(1)
        held = len(consumer._subscription.deliveries)
        assert held * size < 3 * BUFFER_BYTES
        for _ in range(200):
            assert len(consumer.get(10).body) == size
        channel.queue_delete("slow-large")


@pytest.mark.parametrize("way", ["cancel", "drop", "close"])
def test_a_full_consumer_that_ends_frees_the_connection(server: str, way: str) -> None:
    fill(server, "ends", 30_000, b"x")
    with leveret.connect(server) as connection:
        channel = connection.channel()
        consumer = channel.consume("ends", no_ack=True)
        subscription = consumer._subscription
        end = time.monotonic() + 10
        while not subscription.full and time.monotonic() < end:
            threading.Event().wait(0.01)
        assert subscription.full
        if way == "cancel":
            consumer.cancel()
        elif way == "drop":
            del consumer
        else:
            channel.close()
        other = connection.channel()
        assert other.queue_declare("ends", passive=True).consumer_count == 0
        assert not connection._core._full
        # a consumer waits without counting as one who waits for an answer
        queue = other.queue_declare(exclusive=True).queue
        with other.consume(queue) as waiting:
            other.publish(b"1", routing_key=queue)
            assert waiting.get(5).body == b"1"
        other.queue_delete("ends")


def test_iterating_after_a_cancel_without_acks_gives_the_rest(server: str) -> None:
    fill(server, "rest", 1000, b"x")
    with leveret.connect(server) as connection, connection.channel() as channel:
        consumer = channel.consume("rest", no_ack=True)
        consumer.get(5)
        consumer.cancel()
        left = channel.queue_delete("rest")
        assert 1 + sum(1 for _ in consumer) + left == 1000


def test_a_consumer_without_acks_that_is_dropped_leaves_the_channel_alone(server: str) -> None:
    """What is under way to it when it is cancelled must not be settled."""
    with leveret.connect(server) as connection, connection.channel() as channel:
        for _ in range(5):
            fill(server, "dropped", 5000, b"x")
            consumer = channel.consume("dropped", no_ack=True)
            consumer.get(5)
            del consumer
            channel.queue_declare("dropped", passive=True)
        assert channel.is_open
        channel.queue_delete("dropped")


def test_a_flood_to_a_deaf_peer() -> None:
    body = bytes(500_000)
    with run_peer("deaf") as url:
        connection = leveret.connect(url)
        channel = connection.channel()
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            for _ in range(1000):
                channel.basic_publish(body, timeout=0.5)
        assert time.monotonic() - start < 5
        assert connection._core.protocol.bytes_waiting() < SEND_LIMIT + 2 * len(body)
        with pytest.raises((leveret.PublishNotSent, leveret.PublishUnknown)):
            channel.publish(body, timeout=0.2)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            connection.close(timeout=0.5)
        assert time.monotonic() - start < CLOSE_SECONDS
        with pytest.raises(LeveretError):
            channel.basic_publish(b"")


async def test_a_flood_of_tasks_to_a_deaf_peer() -> None:
    body = bytes(500_000)
    with run_peer("deaf") as url:
        connection = await leveret.asyncio.connect(url)
        channel = await connection.channel()
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            for _ in range(1000):
                await channel.basic_publish(body, timeout=0.5)
        assert time.monotonic() - start < 5
        assert connection._core.protocol.bytes_waiting() < SEND_LIMIT + 2 * len(body)
        with pytest.raises((leveret.PublishNotSent, leveret.PublishUnknown)):
            await channel.publish(body, timeout=0.2)
        start = time.monotonic()
        with pytest.raises(DeadlineExceeded):
            await connection.close(timeout=0.5)
        assert time.monotonic() - start < CLOSE_SECONDS
        with pytest.raises(LeveretError):
            await channel.basic_publish(b"")
