"""Publishes that are held up while too much is queued, and who is woken when it has left."""

from __future__ import annotations

from leveret.client.channel import BaseChannel
from leveret.client.core import SEND_LIMIT, SEND_PIECES, BaseCore

from .waiting import Waiting, send

BODY = bytes(50_000)


def publish(core: BaseCore, channel: BaseChannel, body: bytes = BODY) -> None:
    """Queue a message, and look, as a transport does."""
    channel.protocol.send_publish("", "q", b"\0\0", body, False)
    core.look_whether_held()


def test_too_much_holds_publishes_up(core: BaseCore, channel: BaseChannel) -> None:
    assert not core.held
    while core.protocol.bytes_waiting() < SEND_LIMIT:
        assert core.may_publish(channel)
        publish(core, channel)
    assert core.held
    assert not core.may_publish(channel)
    one = Waiting()
    assert core.wants_to_publish(channel, one)
    send(core, SEND_LIMIT // 2)
    assert one.woken
    assert not core.held


def test_too_many_small_ones_hold_publishes_up(core: BaseCore, channel: BaseChannel) -> None:
    for _ in range(SEND_PIECES):
        assert core.may_publish(channel)
        assert not core.held
        publish(core, channel, b"small")
    assert core.protocol.bytes_waiting() < SEND_LIMIT // 2
    assert core.held
    one = Waiting()
    assert core.wants_to_publish(channel, one)
    core.wake_if_drained()
    assert not one.woken
    send(core, 0)
    assert one.woken
    assert not core.held
    publish(core, channel, b"small")
    assert not core.held


def test_who_waits_is_not_forgotten_when_another_may(core: BaseCore, channel: BaseChannel) -> None:
    """There is room for one who asks now, though not enough of it yet to wake those who wait."""
    while core.protocol.bytes_waiting() < SEND_LIMIT:
        publish(core, channel)
    one = Waiting()
    assert core.wants_to_publish(channel, one)
    send(core, SEND_LIMIT - 1)
    assert core.protocol.bytes_waiting() > SEND_LIMIT // 2
    assert not one.woken
    assert core.may_publish(channel)
    publish(core, channel)
    send(core, 0)
    assert one.woken
    assert not core.held


def test_who_waits_without_need_is_woken_as_well(core: BaseCore, channel: BaseChannel) -> None:
    while core.protocol.bytes_waiting() < SEND_LIMIT:
        publish(core, channel)
    core.held = False  # another thread has looked just before
    one = Waiting()
    assert core.wants_to_publish(channel, one)
    send(core, 0)
    assert one.woken
