"""A channel that both sides close at once."""

from __future__ import annotations

import pytest
from tests.support.scripted import STEPS, scripted_broker
from tests.support.threads import start

from leveret import wire
from leveret.compat import amqp
from leveret.compat.amqp import abstract_channel

SECONDS = 5.0  # less than a close waits for its answer
OPEN_OK = wire.ChannelOpenOk().encode(1)
CLOSE_OK = wire.ChannelCloseOk().encode(1)
CLOSE = wire.ChannelClose(404, "NOT_FOUND", 60, 40).encode(1)


@pytest.fixture
def broker():
    with scripted_broker(script=STEPS[:-1]) as made:
        yield made


@pytest.fixture
def channel(broker):
    connection = amqp.Connection(broker.address, login_method="PLAIN", connect_timeout=SECONDS)
    connection.connect()
    yield connection.channel()
    connection.collect()


def close_both(broker, channel):
    closing = start(channel.close)
    peer = broker.peer
    assert broker.read()[7:11] == b"\0\x14\0\x28"
    peer.sendall(CLOSE)
    assert broker.read() == CLOSE_OK
    return closing


def serve(broker, *answers):
    for answer in answers:
        broker.read()
        broker.peer.sendall(answer)


@pytest.mark.parametrize("comes", ["never", "at once", "before open-ok", "after open-ok"])
def test_the_broker_may_owe_its_answer_for_ever(broker, channel, comes):
    """Its own close is one; where the answer comes nevertheless, it is nobody else's."""
    connection = channel.connection
    close_both(broker, channel).result(SECONDS)
    assert connection.channels.keys() == {0}
    assert not channel.is_open
    broker.peer.sendall(CLOSE_OK if comes == "at once" else b"")
    before = CLOSE_OK if comes == "before open-ok" else b""
    after = CLOSE_OK if comes == "after open-ok" else b""
    declared = wire.QueueDeclareOk("q", 1, 2).encode(1)
    serving = start(serve, broker, before + OPEN_OK + after, declared, CLOSE_OK)
    again = connection.channel()
    assert again.channel_id == 1
    assert again.queue_declare("q").message_count == 1
    assert again.is_open
    assert start(again.close).result(SECONDS) is not None
    serving.result(SECONDS)
    assert connection.connected
    assert connection.channels.keys() == {0}


def test_a_close_that_was_given_up_ends_with_the_brokers(broker, channel, monkeypatch):
    connection = channel.connection
    monkeypatch.setattr(abstract_channel, "CLOSE_SECONDS", 0.05)
    with pytest.raises(TimeoutError):
        channel.close()
    assert connection.channels.keys() == {0, 1}
    broker.read()
    broker.peer.sendall(CLOSE)
    connection.drain_events(timeout=SECONDS)
    assert broker.read() == CLOSE_OK
    assert connection.channels.keys() == {0}
