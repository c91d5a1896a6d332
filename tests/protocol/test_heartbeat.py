"""Heartbeats as deadlines, on a clock that the test turns."""

from __future__ import annotations

import pytest

from leveret import wire
from leveret.exceptions import HeartbeatTimeout
from leveret.protocol import ClientOptions, Connection, ConnectionClosed, ServerOptions, State

from .pair import Pair, deliver, drain, of, one, send

HEARTBEAT = wire.HEARTBEAT_FRAME


def beating(interval: int = 10) -> Pair:
    return Pair(ClientOptions(heartbeat=interval), ServerOptions(heartbeat=60)).open()


def is_open(pair: Pair) -> bool:
    return pair.client.state is State.OPEN


def run(pair: Pair, until: float, *, deaf: bool = False) -> tuple[list[float], list[float]]:
    """Call each side when it asks for it; when each of them sent something.

    Args:
        deaf: nothing of the server's arrives.
    """
    sent: tuple[list[float], list[float]] = ([], [])
    while True:
        deadlines = [side.next_deadline() for side in (pair.client, pair.server)]
        pair.now = min([d for d in deadlines if d is not None], default=until)
        if pair.now >= until:
            pair.now = until
            return sent
        for side in (pair.client, pair.server):
            side.tick(pair.now)
        if pair.to_server():
            sent[0].append(pair.now)
        data = drain(pair.server)
        if data:
            sent[1].append(pair.now)
            if not deaf:
                pair.client.receive_data(data, pair.now)
        pair.client_events += pair.client.events()


def test_an_idle_connection_lives() -> None:
    pair = beating()
    sent = run(pair, 10_000.0)
    assert pair.client.state is pair.server.state is State.OPEN
    for times in sent:
        gaps = [b - a for a, b in zip([0.0, *times], times, strict=False)]
        assert max(gaps) <= 10.0
        assert min(gaps) >= 5.0
    assert set(pair.client_sent[-80:]) == set(HEARTBEAT)


def test_no_heartbeats_where_none_were_agreed() -> None:
    pair = Pair(ClientOptions(heartbeat=0)).open()
    for side in (pair.client, pair.server):
        assert side.next_deadline() is None
        side.tick(1e9)
        assert side.state is State.OPEN
        assert not side.has_data_to_send()


def test_no_deadline_before_tune() -> None:
    client = Connection.client(ClientOptions(heartbeat=1))
    client.initiate(0.0)
    assert client.next_deadline() is None


@pytest.mark.parametrize("silent", ["client", "server"])
def test_two_silent_intervals_end_it(silent: str) -> None:
    pair = beating()
    side = pair.server if silent == "client" else pair.client
    while side.state is State.OPEN:
        deadline = side.next_deadline()
        assert deadline is not None
        assert deadline > pair.now or deadline == 20.0
        pair.now = deadline
        side.tick(pair.now)
        drain(side)
    assert pair.now == 20.0
    error = one(ConnectionClosed, side.events()).error
    assert isinstance(error, HeartbeatTimeout)
    assert "20.0 s" in str(error)
    assert "interval 10 s" in str(error)
    assert side.next_deadline() is None
    side.tick(100.0)
    assert side.events() == []


def test_not_a_moment_earlier() -> None:
    pair = beating()
    pair.client.tick(19.999)
    assert is_open(pair)
    pair.client.tick(20.0)
    assert not is_open(pair)


def test_any_byte_received_counts() -> None:
    pair = beating()
    message = deliver(1, b"x" * 100)
    channel = pair.consuming()
    for number, byte in enumerate(message):
        now = 15.0 * (number + 1)
        pair.client.tick(now)
        drain(pair.client)
        assert is_open(pair), number
        pair.client.receive_data(bytes([byte]), now)
    assert len(of(wire.Delivery, pair.client.events())) == 1
    assert len(channel.unsettled) == 1


def test_nothing_received_does_not_count() -> None:
    pair = beating()
    pair.client.receive_data(b"", 19.0)
    pair.client.tick(20.0)
    assert not is_open(pair)


def test_publishing_only() -> None:
    """What is published keeps the server content; the server's heartbeats keep the client so."""
    pair = beating()
    channel = pair.channel()
    before = len(pair.client_sent)
    for step in range(1, 2000):
        pair.now = step * 0.5
        send(channel, b"x")
        for side in (pair.client, pair.server):
            side.tick(pair.now)
        pair.pump()
    assert pair.client.state is pair.server.state is State.OPEN
    assert HEARTBEAT not in pair.client_sent[before:]
    assert len(pair.published()) == 1999


def test_what_is_sent_makes_heartbeats_needless() -> None:
    pair = beating()
    channel = pair.channel()
    for step in range(1, 200):
        send(channel, b"x")
        drain(pair.client)
        pair.client.heard(step * 2.5)
        pair.client.tick(step * 2.5)
        assert drain(pair.client) == b""
    pair.client.tick(500.0)
    assert drain(pair.client) == b""
    pair.client.tick(505.0)
    assert drain(pair.client) == HEARTBEAT


def test_publishing_only_to_a_dead_peer_is_noticed() -> None:
    pair = beating()
    channel = pair.channel()
    while pair.client.state is State.OPEN:
        pair.now += 1.0
        send(channel, b"x")
        pair.client.tick(pair.now)
        drain(pair.client)
    assert pair.now == 20.0


def test_a_caller_that_stopped_reading_is_not_misled() -> None:
    pair = beating()
    for step in range(1, 100):
        pair.client.heard(step * 10.0)
        pair.client.tick(step * 10.0)
    assert is_open(pair)
    pair.client.tick(99 * 10.0 + 20.0)
    assert not is_open(pair)


def test_heartbeats_do_not_pile_up_behind_a_full_socket() -> None:
    pair = beating()
    channel = pair.channel()
    send(channel, b"x")
    for step in range(1, 1000):
        pair.client.heard(step * 5.0)
        pair.client.tick(step * 5.0)
    assert pair.client.bytes_waiting() < 100


def test_silence_while_closing_ends_in_peace() -> None:
    pair = beating()
    pair.client.send_close(token="bye")
    drain(pair.client)
    pair.client.tick(20.0)
    closed = one(ConnectionClosed, pair.client.events())
    assert closed.error is None
    assert closed.tokens == ["bye"]


def test_a_late_tick_sends_one_heartbeat() -> None:
    pair = beating(60)
    pair.client.tick(31.0)
    pair.client.tick(119.0)
    assert drain(pair.client) == HEARTBEAT
    assert pair.client.next_deadline() == 120.0
