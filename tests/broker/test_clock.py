"""Timers by hand, and brokers whose time is moved."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest
from broker_peer import Clock, Peer

import leveret
import leveret.asyncio
from leveret import wire
from leveret.broker import AsyncBroker, Broker, VirtualClock
from leveret.broker.clock import STALE_ENTRIES, Timers
from leveret.broker.node import Node
from leveret.exceptions import LocalProtocolError

HALF_AN_HOUR = 30 * 60
TTL = {"x-message-ttl": HALF_AN_HOUR * 1000, "x-dead-letter-exchange": "amq.fanout"}


class Alarm:
    """Counts how often it was called, and asks for more."""

    def __init__(self, timers: Timers, *again: float) -> None:
        self.timer_at: float | None = None
        self.rang: list[float] = []
        self._timers = timers
        self._again = list(again)

    def on_time(self) -> None:
        self.rang.append(self._timers.clock())
        if self._again:
            self._timers.at_latest(self, self._again.pop(0))


def test_the_earliest_moment_counts() -> None:
    clock = Clock()
    timers = Timers(clock)
    earlier: list[float | None] = []
    timers.on_earlier = lambda: earlier.append(timers.next_deadline())
    first, second = Alarm(timers), Alarm(timers)
    timers.at_latest(first, 1010.0)
    timers.at_latest(first, 1020.0)  # the earlier moment will do
    timers.at_latest(second, 1015.0)
    timers.at_latest(second, 1005.0)
    assert earlier == [1010.0, 1005.0]
    for clock.now in (1004.0, 1005.0, 1011.0, 1030.0):
        timers.run()
    assert (first.rang, second.rang) == ([1011.0], [1005.0])
    assert timers.next_deadline() is None


def test_what_a_call_makes_due_waits_for_the_next_time() -> None:
    clock = Clock()
    timers = Timers(clock)
    alarm = Alarm(timers, 1000.0, 1000.0)
    timers.at_latest(alarm, 1000.0)
    for calls in (1, 2, 3, 3):
        timers.run()
        assert len(alarm.rang) == calls


def test_cancelled_moments_take_no_memory() -> None:
    timers = Timers(Clock())
    for number in range(100 * STALE_ENTRIES):
        alarm = Alarm(timers)
        timers.at_latest(alarm, 2000.0 + number)
        timers.cancel(alarm)
        timers.cancel(alarm)
    assert len(timers._heap) <= STALE_ENTRIES + 1
    kept = Alarm(timers)
    timers.at_latest(kept, 3000.0)
    assert kept.timer_at == 3000.0


def test_ten_thousand_queues_expire_once_each(node: Node, clock: Clock, peer: Peer) -> None:
    for number in range(10_000):
        arguments: dict[str, object] = {"x-expires": 1000 + number % 7}
        peer.send(wire.QueueDeclare(f"q{number}", nowait=True, arguments=arguments))
    clock.now += 0.5
    for number in range(0, 10_000, 2):  # half of them are used again
        peer.send(wire.BasicGet(f"q{number}"))
    assert len(node.timers._heap) == 10_000
    clock.now += 0.51
    node.run_timers()
    assert set(node.hosts["/"].queues) == {f"q{number}" for number in range(0, 10_000, 2)}
    clock.now += 0.5
    node.run_timers()
    assert not node.hosts["/"].queues
    assert node.timers.next_deadline() is None


def test_a_virtual_clock_stops_at_each_deadline() -> None:
    clock = VirtualClock(1000.0)
    timers = Timers(clock)

    class Follower:
        def next_deadline(self) -> float | None:
            return timers.next_deadline()

        def run_timers(self) -> None:
            timers.run()

    follower = Follower()
    clock.attach(follower)
    alarm = Alarm(timers, 1020.0, 1050.0)
    timers.at_latest(alarm, 1010.0)
    clock.advance(30.0)
    assert (alarm.rang, clock()) == ([1010.0, 1020.0], 1030.0)
    clock.detach(follower)
    clock.advance(100.0)
    assert (len(alarm.rang), clock()) == (2, 1130.0)
    with pytest.raises(LocalProtocolError, match="moved by -1"):
        clock.advance(-1)


def test_half_an_hour_passes_at_once() -> None:
    clock = VirtualClock()
    with (
        Broker(clock=clock) as broker,
        leveret.connect(broker.url) as connection,
        connection.channel() as channel,
    ):
        dead = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(dead, "amq.fanout")
        queue = channel.queue_declare(exclusive=True, arguments=TTL).queue
        channel.publish(b"old", routing_key=queue)
        clock.advance(HALF_AN_HOUR - 0.001)
        assert channel.get(dead) is None
        clock.advance(0.001)
        delivery = channel.get(dead, no_ack=True)
        assert delivery is not None
        assert delivery.headers["x-first-death-reason"] == "expired"
        deaths = delivery.headers["x-death"]
        assert isinstance(deaths, list)
        assert deaths[0]["time"].timestamp() == int(clock())


def test_what_is_due_goes_though_time_stands() -> None:
    clock = VirtualClock()
    with (
        Broker(clock=clock) as broker,
        leveret.connect(broker.url) as connection,
        connection.channel() as channel,
    ):
        dead = channel.queue_declare(exclusive=True).queue
        channel.queue_bind(dead, "amq.fanout")
        queue = channel.queue_declare(exclusive=True, arguments=TTL).queue
        channel.publish(b"late", routing_key=queue)
        delivery = channel.get(queue)
        assert delivery is not None
        clock.advance(HALF_AN_HOUR)
        delivery.nack(requeue=True)
        assert next(channel.consume(dead)).body == b"late"


async def test_time_is_moved_from_the_loop_of_the_broker() -> None:
    clock = VirtualClock()
    async with (
        AsyncBroker(clock=clock) as broker,
        await leveret.asyncio.connect(broker.url) as connection,
    ):
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True, arguments=TTL)).queue
        await channel.publish(b"old", routing_key=queue)
        clock.advance(HALF_AN_HOUR)
        assert (await channel.queue_declare(queue, passive=True)).message_count == 0
    clock.advance(HALF_AN_HOUR)  # and nobody is there


async def test_real_time_passes_by_itself() -> None:
    async with AsyncBroker() as broker, await leveret.asyncio.connect(broker.url) as connection:
        channel = await connection.channel()
        dead = (await channel.queue_declare(exclusive=True)).queue
        await channel.queue_bind(dead, "amq.fanout")
        consumer = await channel.consume(dead, no_ack=True)
        for name in ("30", "10", "100", "50"):
            queue = await channel.queue_declare(exclusive=True, arguments=TTL)
            message = leveret.Properties(expiration=name)
            await channel.publish(name.encode(), routing_key=queue.queue, properties=message)
        async with asyncio.timeout(10):
            bodies = [(await consumer.get()).body for _ in range(4)]
        assert sorted(bodies) == [b"10", b"100", b"30", b"50"]


def test_the_example_of_the_documentation_runs() -> None:
    page = Path(__file__).parents[2] / "docs" / "embedded-broker.md"
    (code,) = re.findall(r"^```python\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
    assert "clock.advance" in code
    exec(compile(code, page.name, "exec"), {})
