"""The queue engine: order, turns, credit, and a model that it is compared with."""

from __future__ import annotations

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leveret.broker.clock import Timers
from leveret.broker.consumers import Consumer, Receiver
from leveret.broker.queue import Entry, Home, Queue, Usage
from leveret.exceptions import AccessRefused
from leveret.wire import Published


def message(body: str) -> Published:
    return Published(1, "", "q", False, False, b"\0\0", body.encode())


class Channel(Receiver):
    """Records what it is given."""

    def __init__(self) -> None:
        super().__init__()
        self.got: list[tuple[str, Entry]] = []
        self.lost: list[str] = []

    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        self.got.append((consumer.tag, entry))

    def cancelled(self, consumer: Consumer) -> None:
        self.lost.append(consumer.tag)

    @property
    def bodies(self) -> list[str]:
        return [entry.message.body.decode() for _, entry in self.got]

    def ack(self, entry: Entry) -> None:
        entry.queue.settle(entry)
        if self.limit:
            self.settled()
        elif entry.consumer is not None:
            entry.consumer.wake()


def subscribe(queue: Queue, channel: Channel, tag: str = "c", **options: int) -> Consumer:
    consumer = Consumer(tag, queue, channel, **options)  # type: ignore[arg-type]
    queue.add_consumer(consumer)
    queue.run()
    return consumer


def publish(queue: Queue, *bodies: str) -> None:
    for body in bodies:
        queue.publish(message(body))


def drain(queue: Queue) -> list[tuple[str, bool]]:
    out = []
    while (entry := queue.take()) is not None:
        out.append((entry.message.body.decode(), entry.redelivered))
        queue.settle(entry)
    return out


def test_messages_wait_in_order() -> None:
    queue = Queue("q")
    publish(queue, "0", "1", "2")
    assert queue.message_count() == 3
    assert drain(queue) == [("0", False), ("1", False), ("2", False)]
    assert queue.take() is None


def test_requeued_messages_go_back_to_their_place() -> None:
    queue = Queue("q")
    publish(queue, "0", "1", "2", "3", "4")
    taken = [queue.take() for _ in range(3)]
    for index in (2, 0, 1):
        entry = taken[index]
        assert entry is not None
        queue.requeue(entry)
    assert drain(queue) == [("0", True), ("1", True), ("2", True), ("3", False), ("4", False)]


def test_consumers_take_turns() -> None:
    queue, channel = Queue("q"), Channel()
    subscribe(queue, channel, "a", no_ack=True)
    subscribe(queue, channel, "b", no_ack=True)
    publish(queue, *"012345")
    assert [tag for tag, _ in channel.got] == ["a", "b"] * 3


def test_prefetch_holds_deliveries_until_they_are_settled() -> None:
    queue, channel = Queue("q"), Channel()
    subscribe(queue, channel, "a", prefetch=2)
    subscribe(queue, channel, "b", prefetch=2)
    subscribe(queue, channel, "c", prefetch=1)
    publish(queue, *"0123456789")
    assert [tag for tag, _ in channel.got] == ["a", "b", "c", "a", "b"]
    channel.ack(channel.got[0][1])
    assert [tag for tag, _ in channel.got[5:]] == ["a"]
    assert channel.bodies == list("012345")


def test_the_channel_limit_is_shared() -> None:
    queue, channel = Queue("q"), Channel()
    channel.limit = 2
    subscribe(queue, channel, "a")
    subscribe(queue, channel, "b")
    publish(queue, *"0123456789")
    assert len(channel.got) == 2
    for index in range(8):
        channel.ack(channel.got[index][1])
    assert channel.bodies == list("0123456789")
    assert {tag for tag, _ in channel.got} == {"a", "b"}


def test_a_receiver_that_is_not_ready_gets_nothing_and_resumes() -> None:
    queue, channel, other = Queue("q"), Channel(), Channel()
    channel.ready = False
    subscribe(queue, channel, "slow", no_ack=True)
    publish(queue, "0", "1")
    assert channel.got == []
    subscribe(queue, other, "quick", no_ack=True)
    assert other.bodies == ["0", "1"]
    other.ready = False
    publish(queue, "2")
    channel.ready = True
    channel.resume()
    assert channel.bodies == ["2"]


def test_a_limit_that_is_used_up_does_not_hold_those_who_need_none() -> None:
    queue, other, channel = Queue("q"), Queue("other"), Channel()
    channel.limit = 1
    subscribe(queue, channel, "ack")
    subscribe(other, channel, "no-ack", no_ack=True)
    publish(queue, "0", "1")
    channel.ready = False
    publish(other, "2")
    channel.ready = True
    channel.resume()
    assert channel.bodies == ["0", "2"]


def test_priority_goes_first_while_it_has_credit() -> None:
    queue, channel = Queue("q"), Channel()
    subscribe(queue, channel, "lo", prefetch=2)
    subscribe(queue, channel, "hi", prefetch=2, priority=10)
    publish(queue, *"01234")
    assert [tag for tag, _ in channel.got] == ["hi", "hi", "lo", "lo"]


def test_exclusive_consumers() -> None:
    queue, channel = Queue("q", texts="queue 'q' in vhost '/'"), Channel()
    consumer = subscribe(queue, channel, "a", exclusive=True)
    words = r"ACCESS_REFUSED - queue 'q' in vhost '/' in exclusive use"
    with pytest.raises(AccessRefused, match=words):
        subscribe(queue, channel, "b")
    queue.remove_consumer(consumer)
    subscribe(queue, channel, "b")
    with pytest.raises(AccessRefused, match=words):
        subscribe(queue, channel, "c", exclusive=True)


def test_cancelling_keeps_what_is_unsettled() -> None:
    queue, channel = Queue("q"), Channel()
    consumer = subscribe(queue, channel, "a")
    publish(queue, "0")
    assert not queue.remove_consumer(consumer)
    assert not queue.remove_consumer(consumer)
    publish(queue, "1")
    assert channel.bodies == ["0"]
    queue.requeue(channel.got[0][1])
    queue.run()
    assert drain(queue) == [("0", True), ("1", False)]


def test_auto_delete_is_asked_for_when_the_last_consumer_goes() -> None:
    queue, channel = Queue("q", auto_delete=True), Channel()
    first, second = subscribe(queue, channel, "a"), subscribe(queue, channel, "b")
    assert not queue.remove_consumer(first)
    assert queue.remove_consumer(second)


def test_deleting_tells_the_consumers_and_forgets_what_comes_back() -> None:
    usage = Usage()
    queue, channel = Queue("q", home=Home(usage)), Channel()
    subscribe(queue, channel, "a", prefetch=1)
    subscribe(queue, channel, "b", prefetch=2)
    publish(queue, *"01234")
    assert queue.delete() == 2
    assert channel.lost == ["a", "b"]
    assert channel.parked == {}
    queue.requeue(channel.got[0][1])
    queue.settle(channel.got[1][1])
    queue.requeue(channel.got[2][1])
    assert queue.take() is None
    assert usage.bytes == 0
    assert channel.outstanding == 0


def test_expired_messages_go_at_the_front_only() -> None:
    now = [0.0]
    queue = Queue("q", home=Home(timers=Timers(lambda: now[0])))
    queue.publish(message("long"), ttl=5.0)
    queue.publish(message("short"), ttl=0.05)
    now[0] = 0.5
    assert queue.message_count() == 2
    assert drain(queue) == [("long", False)]


def test_a_message_that_expires_at_once_reaches_a_waiting_consumer_only() -> None:
    queue, channel = Queue("q"), Channel()
    queue.publish(message("lost"), ttl=0.0)
    assert queue.take() is None
    subscribe(queue, channel, no_ack=True)
    queue.publish(message("kept"), ttl=0.0)
    assert channel.bodies == ["kept"]


def test_purge_leaves_what_is_handed_out() -> None:
    usage = Usage()
    queue = Queue("q", home=Home(usage))
    publish(queue, "0", "1", "2")
    entry = queue.take()
    assert entry is not None
    assert queue.purge() == 2
    queue.requeue(entry)
    assert queue.message_count() == 1
    assert drain(queue) == [("0", True)]
    assert usage.bytes == 0


class QueueMachine(RuleBasedStateMachine):
    """A queue against a list: what was never handed out twice, lost or out of order."""

    def __init__(self) -> None:
        super().__init__()
        self.usage = Usage()
        self.queue = Queue("q", home=Home(self.usage))
        self.channels = [Channel(), Channel()]
        self.channels[1].limit = 3
        self.consumers: list[Consumer] = []
        self.ready: list[int] = []
        self.out: dict[int, Entry] = {}
        self.published = 0

    def collect(self) -> None:
        """Take over what the channels were given: each message must have been the first."""
        given = [
            (entry.position, consumer_tag, entry)
            for channel in self.channels
            for consumer_tag, entry in channel.got
        ]
        assert [position for position, _, _ in sorted(given)] == self.ready[: len(given)]
        for position, tag, entry in given:
            self.ready.remove(position)
            if not tag.startswith("noack"):
                self.out[position] = entry
        for channel in self.channels:
            channel.got.clear()

    @rule(count=st.integers(1, 5))
    def publish(self, count: int) -> None:
        for _ in range(count):
            self.ready.append(self.published)
            self.queue.publish(message(str(self.published)))
            self.published += 1
            self.collect()

    @rule(
        where=st.integers(0, 1),
        prefetch=st.integers(0, 3),
        no_ack=st.booleans(),
        priority=st.integers(-1, 1),
    )
    def subscribe(self, where: int, prefetch: int, no_ack: bool, priority: int) -> None:
        name = f"{'noack' if no_ack else 'ack'}-{len(self.consumers)}"
        consumer = Consumer(
            name,
            self.queue,
            self.channels[where],
            no_ack=no_ack,
            prefetch=prefetch,
            priority=priority,
        )
        self.queue.add_consumer(consumer)
        self.consumers.append(consumer)
        self.queue.run()
        self.collect()

    @precondition(lambda self: self.consumers)
    @rule(data=st.data())
    def cancel(self, data: st.DataObject) -> None:
        consumer = data.draw(st.sampled_from(self.consumers))
        self.consumers.remove(consumer)
        self.queue.remove_consumer(consumer)
        self.queue.run()
        self.collect()

    @rule()
    def get(self) -> None:
        entry = self.queue.take()
        if entry is None:
            assert not self.ready
        else:
            assert entry.position == self.ready.pop(0)
            self.out[entry.position] = entry

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def ack(self, data: st.DataObject) -> None:
        entry = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        self.queue.settle(entry)
        self.after(entry.consumer)

    @precondition(lambda self: self.out)
    @rule(data=st.data())
    def nack(self, data: st.DataObject) -> None:
        entry = self.out.pop(data.draw(st.sampled_from(sorted(self.out))))
        consumer = entry.consumer
        self.queue.requeue(entry)
        self.ready.append(entry.position)
        self.ready.sort()
        self.queue.run()
        self.after(consumer)

    def after(self, consumer: Consumer | None) -> None:
        if consumer is not None:
            if consumer.receiver.limit:
                consumer.receiver.settled()
            else:
                consumer.wake()
        self.collect()

    @rule(where=st.integers(0, 1))
    def pause_or_resume(self, where: int) -> None:
        channel = self.channels[where]
        channel.ready = not channel.ready
        if channel.ready:
            channel.resume()
        self.collect()

    @rule()
    def purge(self) -> None:
        assert self.queue.purge() == len(self.ready)
        self.ready.clear()

    @invariant()
    def counts(self) -> None:
        assert self.queue.message_count() == len(self.ready)
        assert list(self.queue.consumers) == self.consumers
        held = [entry for entry in self.out.values() if entry.consumer is not None]
        for channel in self.channels:
            assert channel.outstanding == sum(
                entry.consumer is not None and entry.consumer.receiver is channel for entry in held
            )
            assert not channel.limit or channel.outstanding <= channel.limit
        for consumer in self.consumers:
            assert not consumer.prefetch or consumer.unacked <= consumer.prefetch

    @invariant()
    def nobody_with_credit_waits_for_a_message(self) -> None:
        if self.ready:
            assert not any(consumer.can_take() for consumer in self.consumers)

    @invariant()
    def bytes_are_counted(self) -> None:
        assert (self.usage.bytes == 0) == (not self.ready and not self.out)


TestQueueMachine = QueueMachine.TestCase
TestQueueMachine.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
