"""A publisher that several tasks share."""

from __future__ import annotations

import asyncio

import pytest

import leveret.asyncio
from leveret.broker import AsyncBroker


@pytest.mark.parametrize("limit", [1, 2, 7])
async def test_its_window_holds_for_all_of_them(limit: int) -> None:
    async with (
        AsyncBroker() as broker,
        leveret.asyncio.connect(broker.url) as connection,
        connection.channel() as channel,
    ):
        publisher = channel.publisher(limit)
        most = 0

        async def publish() -> None:
            nonlocal most
            for _ in range(5):
                await publisher.publish(b"", mandatory=False)
                most = max(most, publisher.in_flight)

        await asyncio.gather(*(publish() for _ in range(20)))
        await publisher.flush()
        assert most == limit
