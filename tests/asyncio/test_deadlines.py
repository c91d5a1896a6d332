"""Many deadlines on one timer: none is late for another's sake, and none outlives its wait."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

import leveret.asyncio
from leveret.asyncio.waiter import Deadlines, Waiter, Wakes
from leveret.broker import AsyncBroker
from leveret.client.deadline import Deadline
from leveret.exceptions import DeadlineExceeded

LATE = 0.5  # seconds; what a busy machine may add
LONG = 60.0


async def expiry(deadlines: Deadlines, timeout: float) -> float:
    """How long a wait with this timeout takes, in seconds."""
    begun = time.monotonic()
    loop = asyncio.get_running_loop()
    waiter = Waiter(loop, Wakes(loop))
    deadlines.add(waiter, Deadline(timeout), "the test")
    try:
        with pytest.raises(DeadlineExceeded, match="the test did not end within"):
            await waiter.future
    finally:
        deadlines.remove(waiter)
    return time.monotonic() - begun


async def test_each_at_its_time() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    timeouts = [number / 1000 for number in range(200)]
    random.Random(1).shuffle(timeouts)
    taken = await asyncio.gather(*(expiry(deadlines, timeout) for timeout in timeouts))
    for timeout, seconds in zip(timeouts, taken, strict=True):
        assert timeout - 0.001 <= seconds <= timeout + LATE  # the clock of the loop may be coarse


async def test_a_shorter_one_comes_later() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    long = asyncio.create_task(expiry(deadlines, LONG))
    await asyncio.sleep(0)
    assert await expiry(deadlines, 0.01) <= LATE
    assert not long.done()
    assert await expiry(deadlines, 0) <= LATE
    long.cancel()


async def test_what_has_ended_is_forgotten() -> None:
    deadlines = Deadlines(asyncio.get_running_loop())
    waiter = Waiter(loop := asyncio.get_running_loop(), Wakes(loop))
    deadlines.add(waiter, Deadline(0.01), "the test")
    waiter.set_result("here")
    assert await expiry(deadlines, 0.02) <= LATE
    assert waiter.result() == "here"
    deadlines.remove(waiter)
    assert not deadlines._waiting
    deadlines.tidy()
    assert deadlines._timer is None


async def test_nothing_is_left_of_a_connection_that_has_ended() -> None:
    async with (
        AsyncBroker() as broker,
        leveret.asyncio.connect(broker.url, timeout=LONG) as connection,
        connection.channel() as channel,
    ):
        queue = (await channel.queue_declare()).queue
        consumer = await channel.consume(queue)
        waiting = [asyncio.create_task(consumer.get()) for _ in range(3)]
        await asyncio.sleep(0)
        deadlines = connection._core._deadlines
        assert deadlines._timer is not None
        await connection.close()
        assert deadlines._timer is None
        ends = await asyncio.gather(*waiting, return_exceptions=True)
        assert all(isinstance(end, leveret.LeveretError) for end in ends)
        assert not deadlines._waiting
