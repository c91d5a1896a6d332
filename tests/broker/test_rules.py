"""Queues with rules: time to live, limits, priorities, and what they bury."""

from __future__ import annotations

from typing import Any

import pytest
from broker_peer import Clock
from test_queue import Channel, drain, message, subscribe

from leveret import wire
from leveret.broker.clock import Timers
from leveret.broker.consumers import Consumer
from leveret.broker.queue import EXPIRED_AT_ONCE, Home, Queue, Reason, Usage
from leveret.broker.rules import RuledQueue
from leveret.exceptions import AccessRefused


class Place(Home):
    """Where a queue lives in these tests; keeps what it is told."""

    def __init__(self) -> None:
        self.clock = Clock()
        super().__init__(Usage(), Timers(self.clock))
        self.buried: list[tuple[str, Reason]] = []
        self.lapsed_queues: list[Queue] = []

    def bury(self, queue: Queue, message: wire.Content, reason: Reason) -> None:
        self.buried.append((message.body.decode(), reason))

    def lapsed(self, queue: Queue) -> None:
        self.lapsed_queues.append(queue)
        queue.delete()

    def pass_time(self, seconds: float) -> None:
        self.clock.now += seconds
        self.timers.run()

    def bodies(self, reason: Reason) -> list[str]:
        assert all(why is reason for _, why in self.buried)
        return [body for body, _ in self.buried]


@pytest.fixture
def place() -> Place:
    return Place()


def ruled(place: Place, **arguments: Any) -> RuledQueue:
    given = {f"x-{name.replace('_', '-')}": value for name, value in arguments.items()}
    return RuledQueue("q", home=place, arguments={"x-dead-letter-exchange": ""} | given)


def publish(queue: Queue, *bodies: str, ttl: float | None = None) -> list[bool]:
    return [queue.publish(message(body), ttl) for body in bodies]


def test_the_shorter_time_to_live_counts(place: Place) -> None:
    queue = ruled(place, message_ttl=1000)
    publish(queue, "short", ttl=0.5)
    publish(queue, "long", ttl=5.0)
    place.pass_time(0.5)
    assert place.bodies(Reason.EXPIRED) == ["short"]
    place.pass_time(0.5)
    assert place.bodies(Reason.EXPIRED) == ["short", "long"]
    assert place.usage.bytes == 0
    assert place.timers.next_deadline() is None


def test_a_message_behind_one_that_stays_waits_for_it(place: Place) -> None:
    queue = ruled(place)
    publish(queue, "stays")
    publish(queue, "goes", ttl=1.0)
    place.pass_time(2.0)
    assert place.buried == []
    entry = queue.take()
    assert entry is not None
    place.pass_time(0.0)
    assert place.bodies(Reason.EXPIRED) == ["goes"]


def test_a_message_expires_behind_one_that_a_consumer_has(place: Place) -> None:
    queue, channel = ruled(place), Channel()
    publish(queue, "stays")
    publish(queue, "goes", ttl=1.0)
    subscribe(queue, channel, prefetch=1)
    assert channel.bodies == ["stays"]
    place.pass_time(1.0)
    assert place.bodies(Reason.EXPIRED) == ["goes"]


def test_what_comes_back_keeps_its_deadline(place: Place) -> None:
    queue = ruled(place, message_ttl=1000)
    publish(queue, "0")
    entry = queue.take()
    assert entry is not None
    place.pass_time(5.0)
    assert place.buried == []  # what is handed out does not expire
    queue.requeue(entry)
    place.pass_time(0.0)
    assert place.bodies(Reason.EXPIRED) == ["0"]


def test_no_time_at_all_is_for_a_consumer_that_waits(place: Place) -> None:
    queue, channel = ruled(place, message_ttl=0), Channel()
    subscribe(queue, channel, prefetch=1)
    publish(queue, "now", "late")
    assert channel.bodies == ["now"]
    assert place.bodies(Reason.EXPIRED) == ["late"]


def test_many_expired_messages_go_in_turns(place: Place) -> None:
    queue = ruled(place, message_ttl=1000)
    publish(queue, *("x" * (EXPIRED_AT_ONCE + 1)))
    place.pass_time(1.0)
    assert len(place.buried) == EXPIRED_AT_ONCE
    assert place.timers.next_deadline() == place.clock()
    place.pass_time(0.0)
    assert len(place.buried) == EXPIRED_AT_ONCE + 1


def test_a_full_queue_drops_what_is_in_front(place: Place) -> None:
    queue = ruled(place, max_length=2)
    assert publish(queue, *"0123") == [True] * 4
    assert place.bodies(Reason.MAXLEN) == ["0", "1"]
    assert drain(queue) == [("2", False), ("3", False)]


def test_a_message_that_has_expired_behind_one_that_is_dropped(place: Place) -> None:
    queue = ruled(place, max_length=2)
    publish(queue, "stays")
    publish(queue, "goes", ttl=1.0)
    place.pass_time(1.0)
    assert place.buried == []
    publish(queue, "new")
    place.pass_time(0.0)
    assert place.buried == [("stays", Reason.MAXLEN), ("goes", Reason.EXPIRED)]


def test_what_comes_back_to_a_full_queue_is_in_front(place: Place) -> None:
    queue = ruled(place, max_length=1)
    publish(queue, "0")
    entry = queue.take()
    assert entry is not None
    publish(queue, "1")
    queue.requeue(entry)
    assert place.bodies(Reason.MAXLEN) == ["0"]
    assert drain(queue) == [("1", False)]


def test_bytes_count_those_of_ready_bodies(place: Place) -> None:
    queue = ruled(place, max_length_bytes=10)
    publish(queue, "0" * 4, "1" * 4)
    entry = queue.take()
    assert entry is not None
    publish(queue, "2" * 6)
    assert place.buried == []
    queue.requeue(entry)
    assert place.bodies(Reason.MAXLEN) == ["0" * 4]
    publish(queue, "3" * 11)  # does not even fit alone
    assert drain(queue) == []
    assert len(place.buried) == 4
    queue.publish(message("4" * 10))
    assert queue.purge() == 1
    queue.publish(message("5" * 10))
    assert drain(queue) == [("5" * 10, False)]


@pytest.mark.parametrize("mode", ["reject-publish", "reject-publish-dlx"])
def test_a_full_queue_refuses_what_is_new(place: Place, mode: str) -> None:
    queue = ruled(place, max_length=1, overflow=mode)
    assert publish(queue, *"01") == [True, False]
    assert place.bodies(Reason.MAXLEN) == (["1"] if mode == "reject-publish-dlx" else [])
    entry = queue.take()
    assert entry is not None
    assert publish(queue, "2") == [True]
    queue.requeue(entry)  # that is no publish
    assert drain(queue) == [("0", True), ("2", False)]


def test_a_queue_without_room_refuses_though_a_consumer_waits(place: Place) -> None:
    queue, channel = ruled(place, max_length=0, overflow="reject-publish"), Channel()
    subscribe(queue, channel, no_ack=True)
    assert publish(queue, "0") == [False]
    other = ruled(place, max_length=0)
    subscribe(other, channel, no_ack=True)
    assert publish(other, "1") == [True]
    assert channel.bodies == ["1"]


def test_rejected_messages_are_buried_but_not_of_a_queue_that_is_gone(place: Place) -> None:
    queue = ruled(place)
    publish(queue, *"0123")
    entries = [queue.take() for _ in range(3)]
    for entry in entries[:2]:
        assert entry is not None
        queue.reject(entry)
    assert place.bodies(Reason.REJECTED) == ["0", "1"]
    queue.delete()
    assert entries[2] is not None
    queue.reject(entries[2])
    assert len(place.buried) == 2
    assert place.usage.bytes == 0


def test_nothing_is_buried_without_an_exchange(place: Place) -> None:
    queue = RuledQueue("q", home=place, arguments={"x-max-length": 0})
    publish(queue, "0")
    assert place.buried == []


def prioritized(queue: Queue, *priorities: int | None) -> None:
    for number, priority in enumerate(priorities):
        raw = wire.Properties(priority=priority).encode()
        queue.publish(
            wire.Published(1, "", "q", False, False, raw, f"{priority}#{number}".encode())
        )


def test_higher_priorities_are_in_front(place: Place) -> None:
    queue = ruled(place, max_priority=5)
    prioritized(queue, None, 1, 5, 0, 9, 3, 5, 2)
    bodies = [body for body, _ in drain(queue)]
    assert bodies == ["5#2", "9#4", "5#6", "3#5", "2#7", "1#1", "None#0", "0#3"]


def test_a_priority_is_kept_by_what_comes_back(place: Place) -> None:
    queue = ruled(place, max_priority=5)
    prioritized(queue, 1, 5, 5, 3)
    entries = [queue.take(), queue.take()]
    for entry in reversed(entries):
        assert entry is not None
        queue.requeue(entry)
    assert [body for body, _ in drain(queue)] == ["5#1", "5#2", "3#3", "1#0"]


def test_a_full_queue_with_priorities_drops_the_highest(place: Place) -> None:
    queue = ruled(place, max_priority=5, max_length=2)
    prioritized(queue, 1, 5, 3)
    assert place.bodies(Reason.MAXLEN) == ["5#1"]
    assert [body for body, _ in drain(queue)] == ["3#2", "1#0"]


def test_a_low_priority_expires_after_a_high_one(place: Place) -> None:
    queue = ruled(place, max_priority=5, message_ttl=1000)
    prioritized(queue, 1)
    place.clock.now += 0.5
    prioritized(queue, 4)
    place.pass_time(0.6)
    assert place.buried == []
    assert queue.message_count() == 2
    place.pass_time(0.4)
    assert place.bodies(Reason.EXPIRED) == ["4#0", "1#0"]


def test_a_queue_lapses_when_it_is_not_used(place: Place) -> None:
    queue = ruled(place, expires=1000)
    for use in (queue.touch, queue.take, lambda: subscribe(queue, Channel())):
        place.pass_time(0.9)
        use()
    place.pass_time(9.0)  # it has a consumer
    (consumer,) = queue.consumers
    queue.remove_consumer(consumer)
    publish(queue, "0")
    for _ in range(2):
        place.pass_time(0.4)
        publish(queue, "1")  # that is no use
        queue.purge()
    assert place.lapsed_queues == []
    place.pass_time(0.2)
    assert place.lapsed_queues == [queue]
    assert place.buried == []
    queue.touch()
    assert place.timers.next_deadline() is None


def test_a_single_active_consumer(place: Place) -> None:
    queue, channel = Queue("q", arguments={"x-single-active-consumer": True}), Channel()
    first = subscribe(queue, channel, "a", prefetch=1)
    second = subscribe(queue, channel, "b", no_ack=True)
    subscribe(queue, channel, "c", no_ack=True)
    third = subscribe(queue, channel, "d", no_ack=True, priority=5)
    publish(queue, *"012")
    assert channel.got[0][0] == "a"
    assert len(channel.got) == 1  # it has no credit, and nobody takes its place
    queue.remove_consumer(second)
    queue.run()
    assert len(channel.got) == 1
    queue.remove_consumer(first)
    queue.run()
    assert [tag for tag, _ in channel.got[1:]] == ["d", "d"]
    queue.remove_consumer(third)
    publish(queue, "3")
    assert channel.got[-1][0] == "c"
    with pytest.raises(AccessRefused, match="in exclusive use"):
        queue.add_consumer(Consumer("e", queue, channel, exclusive=True))
    queue.delete()
    assert channel.lost == ["c"]
    assert channel.parked == {}
    with pytest.raises(AccessRefused, match="in exclusive use"):
        empty = Queue("q", arguments={"x-single-active-consumer": True})
        empty.add_consumer(Consumer("e", empty, channel, exclusive=True))
