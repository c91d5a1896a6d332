"""Deliveries that are taken while the others that came with them are dealt out."""

from __future__ import annotations

import pytest

from leveret import wire
from leveret.client.channel import BaseChannel
from leveret.client.consumer import Subscription
from leveret.client.core import BaseCore

from .waiting import Waiting


def content(tag: str, number: int) -> bytes:
    frames = wire.encode_deliver(1, tag, number, False, "", "q", b"\0\0", b"body", 0)
    assert isinstance(frames, bytes)
    return frames


@pytest.mark.parametrize("tags", ["aa", "ab"])
def test_what_another_thread_has_settled_already(
    core: BaseCore, channel: BaseChannel, tags: str
) -> None:
    channel.protocol.send_request(wire.BasicQos(0, 10, False), Waiting())
    settled = []
    for tag in "ab":
        consumer = Subscription(channel, "q", no_ack=False)

        def settle(consumer: Subscription = consumer) -> None:
            delivery = consumer.deliveries.popleft()
            delivery.ack()
            settled.append(delivery.delivery_tag)

        channel.protocol.send_method(wire.BasicConsume("q", tag, nowait=True), consumer)
        for _ in tags * 2:
            assert consumer.wants(Waiting(settle))  # type: ignore[arg-type]
    core.protocol.receive_data(wire.BasicQosOk().encode(1), 0.0)
    core.dispatch()
    core.protocol.acks.noted = True  # the transport knows that there are some
    frames = [content(tag, number) for number, tag in enumerate(tags * 2, 1)]
    core.protocol.receive_data(b"".join(frames), 0.0)
    core.dispatch()
    assert settled == [1, 2, 3, 4]
