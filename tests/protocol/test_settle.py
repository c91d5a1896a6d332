"""Settling: what the broker is told is what the user said, in fewer frames."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from leveret import DeliverySettledError, wire
from leveret.protocol import ClientChannel, State
from leveret.protocol.settle import Acks, SettleTracker

from .pair import NO_PROPERTIES, Pair, decode, deliver, drain


def frames(pair: Pair) -> list[tuple[int, bool]]:
    """The acks that leave now."""
    acks = decode(drain(pair.client))
    assert all(isinstance(ack, wire.BasicAck) for ack in acks), acks
    return [(a.delivery_tag, a.multiple) for a in acks if isinstance(a, wire.BasicAck)]


def with_deliveries(pair: Pair, count: int) -> ClientChannel:
    channel = pair.consuming()
    pair.deliver(channel, *range(1, count + 1))
    return channel


def gather(channel: ClientChannel, *tags: int) -> None:
    """Ack as callers do that hold no lock."""
    acks = channel._connection.acks
    for tag in tags:
        acks.waiting.append((channel.unsettled, tag))
        acks.noted = True


def test_acks_of_any_thread_leave_as_one(pair: Pair) -> None:
    channel = with_deliveries(pair, 6)
    gather(channel, 2, 1, 3)
    assert pair.client.has_data_to_send()
    assert frames(pair) == [(3, True)]
    gather(channel, 5)
    assert len(channel.unsettled) == 2
    assert frames(pair) == [(5, False)]
    gather(channel, 4, 4)  # by two threads at the same time
    assert frames(pair) == [(4, False)]
    assert frames(pair) == []


def test_acks_of_any_thread_come_before_what_follows(pair: Pair) -> None:
    channel = with_deliveries(pair, 4)
    gather(channel, 1, 2, 3)
    channel.send_nack(4)
    assert decode(drain(pair.client)) == [wire.BasicAck(3, True), wire.BasicNack(4, False, True)]


@pytest.mark.parametrize("what", ["multiple", "nack", "tx", "recover", "close", "end"])
def test_when_acks_need_a_look_at_once(pair: Pair, what: str) -> None:
    channel = pair.consuming()
    assert channel.unsettled.gathers
    pair.deliver(channel, 1, 2)
    if what == "multiple":
        channel.send_ack(2, multiple=True)
    elif what == "nack":
        channel.send_nack(2, multiple=True)
    elif what == "tx":
        channel.send_request(wire.TxSelect(), None)
    elif what == "recover":
        channel.send_request(wire.BasicRecover(True), None)
    elif what == "close":
        channel.send_close()
    else:
        pair.client.send_close()
    assert not channel.unsettled.gathers


def test_an_ack_behind_a_recover_is_not_sent(pair: Pair) -> None:
    """A thread has seen that it may, and then another one has sent basic.recover."""
    channel = with_deliveries(pair, 2)
    channel.send_request(wire.BasicRecover(True), None)
    gather(channel, 1)
    assert [type(item) for item in decode(drain(pair.client))] == [wire.BasicRecover]
    pair.pump()
    gather(channel, 2)
    assert frames(pair) == []


def test_an_ack_behind_a_tx_select_leaves_by_itself(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    channel.send_request(wire.TxSelect(), None)
    gather(channel, 1, 2)
    assert decode(drain(pair.client))[1:] == [wire.BasicAck(1), wire.BasicAck(2)]


def test_acks_in_order_leave_as_one(pair: Pair) -> None:
    channel = with_deliveries(pair, 5)
    for tag in (1, 2, 3):
        channel.send_ack(tag)
    assert pair.client.has_data_to_send()
    assert frames(pair) == [(3, True)]
    channel.send_ack(4)
    assert frames(pair) == [(4, False)]
    assert frames(pair) == []
    assert len(channel.unsettled) == 1


def test_acks_out_of_order_do_not(pair: Pair) -> None:
    channel = with_deliveries(pair, 5)
    for tag in (2, 4, 1, 3):
        channel.send_ack(tag)
    assert frames(pair) == [(2, False), (4, False), (3, True)]
    assert len(channel.unsettled) == 1


def test_an_ack_without_need_counts_for_nothing(pair: Pair) -> None:
    channel = pair.consuming()
    channel.send_request(wire.BasicConsume("q", "free", no_ack=True), None)
    pair.pump()
    pair.deliver(channel, 1)
    pair.deliver(channel, 2, consumer_tag="free")
    pair.deliver(channel, 3)
    channel.send_ack(1)
    channel.send_ack(3)
    assert frames(pair) == [(3, True)]


@pytest.mark.parametrize("what", ["publish", "request", "method", "nack", "reject", "close"])
def test_acks_do_not_fall_behind_what_follows(pair: Pair, what: str) -> None:
    channel = with_deliveries(pair, 4)
    channel.send_ack(1)
    channel.send_ack(2)
    if what == "publish":
        channel.send_publish("", "q", NO_PROPERTIES, b"x", False)
    elif what == "request":
        channel.send_request(wire.TxSelect(), None)
    elif what == "method":
        channel.send_method(wire.QueueDelete("q", nowait=True))
    elif what == "nack":
        channel.send_nack(3)
    elif what == "reject":
        channel.send_reject(3)
    else:
        channel.send_close()
    first, second = decode(drain(pair.client))
    assert first == wire.BasicAck(2, True)
    assert not isinstance(second, wire.BasicAck)


def test_acks_leave_before_the_connection_closes(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    channel.send_ack(1)
    channel.send_ack(2)
    pair.client.send_close()
    assert [type(item) for item in decode(drain(pair.client))] == [
        wire.BasicAck,
        wire.ConnectionClose,
    ]


def test_acks_leave_before_a_fault_is_answered(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    channel.send_ack(1)
    pair.client.receive_data(b"\xff" * 20, 0.0)
    assert [type(item) for item in decode(drain(pair.client))] == [
        wire.BasicAck,
        wire.ConnectionClose,
    ]


def test_acks_of_many_channels_in_turns(pair: Pair) -> None:
    channels = [with_deliveries(pair, 4) for _ in range(3)]
    for tag in (1, 2, 3, 4):
        for channel in channels:
            channel.send_ack(tag)
    acks = decode(drain(pair.client))
    assert acks == [wire.BasicAck(4, True)] * 3
    assert [ack.channel for ack in acks] == [1, 2, 3]


def test_acks_of_many_channels_may_wait(pair: Pair) -> None:
    """Until one of them has many beside what its prefetch leaves."""
    channels = [with_deliveries(pair, 40) for _ in range(50)]
    limited = channels[7]
    limited.send_request(wire.BasicQos(0, 60), None)
    drain(pair.client)
    for tag in (1, 2, 3):
        for channel in channels:
            gather(channel, tag)
    assert pair.client.acks_may_wait()
    gather(limited, 4, 5)  # 5 wait, and there is room for 25
    assert pair.client.acks_may_wait()
    gather(limited, 6, 7)  # 7, and 27
    assert not pair.client.acks_may_wait()
    assert pair.client.has_data_to_send()
    acks = decode(drain(pair.client))
    assert {(ack.channel, ack.delivery_tag) for ack in acks if isinstance(ack, wire.BasicAck)} == {
        (channel.number, 7 if channel is limited else 3) for channel in channels
    }
    assert len(acks) == len(channels)
    assert pair.client.acks_may_wait()


def test_acks_that_were_looked_at_leave_in_order_with_their_channel(pair: Pair) -> None:
    """What one channel sends takes along its own acks, and leaves those of others to wait."""
    one, other = (with_deliveries(pair, 5) for _ in range(2))
    gather(one, 1)
    gather(other, 2, 1)
    assert pair.client.acks_may_wait()
    one.send_publish("", "q", NO_PROPERTIES, b"x", False)
    gather(one, 2)
    acks = decode(drain(pair.client))
    assert [(ack.channel, getattr(ack, "delivery_tag", None)) for ack in acks] == [
        (1, 1),
        (1, None),
        (1, 2),
        (2, 2),
    ]
    assert not pair.client.has_data_to_send()


def test_acks_of_a_channel_whose_number_is_used_again(pair: Pair) -> None:
    """A thread has seen that it may, and then the channel was closed, and another one opened."""
    channel = with_deliveries(pair, 2)
    pair.at_server(1).send_close(406, "x")
    pair.pump()
    again = with_deliveries(pair, 2)
    assert again.number == channel.number
    drain(pair.client)
    gather(channel, 1)
    assert drain(pair.client) == b""
    gather(again, 1)
    assert frames(pair) == [(1, False)]


def test_acks_of_a_dead_channel_do_not_leave(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    channel.send_ack(1)
    pair.at_server(1).send_close(406, "x")
    pair.to_client()
    assert [type(item) for item in decode(drain(pair.client))] == [wire.ChannelCloseOk]


def test_all_means_all_that_came(pair: Pair) -> None:
    """The broker would count what is still under way."""
    channel = with_deliveries(pair, 3)
    channel.send_ack(3)
    channel.send_ack(0, multiple=True)
    assert frames(pair) == [(3, False), (2, True)]
    channel.send_ack(0, multiple=True)
    channel.send_nack(0, multiple=True)
    assert frames(pair) == []
    pair.deliver(channel, 4, 5)
    channel.send_nack(0, multiple=True)
    assert decode(drain(pair.client)) == [wire.BasicNack(5, True, True)]


def test_a_transaction_merges_nothing(pair: Pair) -> None:
    """After a rollback the first delivery is unsettled again, and nobody has acked it."""
    channel = with_deliveries(pair, 3)
    channel.send_request(wire.TxSelect(), None)
    channel.send_ack(1)
    channel.send_request(wire.TxRollback(), None)
    drain(pair.client)
    channel.send_ack(2)
    channel.send_ack(3)
    assert frames(pair) == [(2, False), (3, False)]


def test_recover(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    assert not channel.unsettled.is_lost(1)
    channel.send_request(wire.BasicRecover(True), None)
    assert channel.unsettled.is_lost(1)
    pair.deliver(channel, 3)
    assert channel.unsettled.is_lost(3)
    pair.pump()
    assert len(channel.unsettled) == 0
    pair.deliver(channel, 4)
    assert [channel.unsettled.is_lost(tag) for tag in (1, 2, 3, 4)] == [True, True, True, False]
    channel.send_ack(4)
    assert frames(pair) == [(4, False)]


def test_recover_async(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    channel.send_method(wire.BasicRecoverAsync(True))
    assert channel.unsettled.is_lost(2)
    assert len(channel.unsettled) == 0


@pytest.mark.parametrize("tag", [0, 2, 4, 6, 7, 99])
@pytest.mark.parametrize("multiple", [False, True])
def test_what_is_not_unsettled_is_not_settled(pair: Pair, tag: int, multiple: bool) -> None:
    """Settled ones, one without need of an ack, ones never seen: RabbitMQ closes the channel."""
    channel = pair.consuming()
    channel.send_request(wire.BasicConsume("q", "free", no_ack=True), None)
    pair.pump()
    pair.deliver(channel, 1, 2, 3)
    pair.deliver(channel, 4, consumer_tag="free")
    pair.deliver(channel, 5, 6)
    channel.send_ack(2)
    channel.send_ack(6)
    drain(pair.client)
    calls: list[Callable[[], None]] = [
        lambda: channel.send_ack(tag, multiple),
        lambda: channel.send_nack(tag, multiple),
        lambda: channel.send_reject(tag),
    ]
    for call in calls[2:] if multiple and not tag else calls:
        with pytest.raises(DeliverySettledError, match=f"delivery {tag} "):
            call()
    channel.give_back(tag)
    assert not pair.client.has_data_to_send()
    for still in (5, 3, 1):
        channel.send_ack(still)
    assert frames(pair) == [(5, False), (3, False), (1, False)]


def test_in_a_transaction_the_broker_decides(pair: Pair) -> None:
    channel = with_deliveries(pair, 1)
    channel.send_request(wire.TxSelect(), None)
    channel.send_ack(1)
    channel.send_request(wire.TxRollback(), None)
    drain(pair.client)
    channel.send_ack(1)
    assert frames(pair) == [(1, False)]


def test_what_recover_takes_back_is_not_settled(pair: Pair) -> None:
    channel = with_deliveries(pair, 2)
    channel.send_request(wire.BasicRecover(True), None)
    drain(pair.client)
    for _ in range(2):
        for tag in (1, 2):
            with pytest.raises(DeliverySettledError, match="recover"):
                channel.send_ack(tag)
        channel.give_back(2)
        assert not pair.client.has_data_to_send()
        pair.client.receive_data(wire.BasicRecoverOk().encode(1), 0.0)


def test_a_delivery_to_nobody_is_not_refused_while_recovering(pair: Pair) -> None:
    channel = pair.consuming()
    channel.send_method(wire.BasicCancel("t", nowait=True))
    channel.send_request(wire.BasicRecover(True), None)
    drain(pair.client)
    pair.client.receive_data(deliver(1), 0.0)
    assert not pair.client.has_data_to_send()
    assert pair.client.state is State.OPEN


# -- against a broker that keeps a set ---------------------------------------------------------


class Broker:
    """The unacked deliveries of one channel, as RabbitMQ keeps them."""

    def __init__(self) -> None:
        self.unacked: dict[int, None] = {}
        self.next_tag = 1
        self.transaction: list[int] | None = None

    def handle(self, item: wire.Item) -> wire.Method | None:
        if isinstance(item, wire.BasicAck | wire.BasicNack):
            self.settle(item.delivery_tag, item.multiple)
        elif isinstance(item, wire.BasicReject):
            self.settle(item.delivery_tag, False)
        elif isinstance(item, wire.BasicRecover):
            self.unacked.clear()
            return wire.BasicRecoverOk()
        elif isinstance(item, wire.TxSelect):
            self.transaction = []
            return wire.TxSelectOk()
        elif isinstance(item, wire.TxRollback):
            assert self.transaction is not None
            tags = sorted([*self.unacked, *self.transaction])
            self.unacked = dict.fromkeys(tags)
            self.transaction = []
            return wire.TxRollbackOk()
        elif isinstance(item, wire.BasicQos):
            return wire.BasicQosOk()
        else:
            raise AssertionError(item)
        return None

    def settle(self, tag: int, multiple: bool) -> None:
        if multiple and tag == 0:
            found = list(self.unacked)
        else:
            assert tag in self.unacked, f"unknown delivery tag {tag}"
            found = [t for t in self.unacked if t == tag or (multiple and t < tag)]
        for number in found:
            del self.unacked[number]
        if self.transaction is not None:
            self.transaction += found


class Settling(RuleBasedStateMachine):
    """A client settles at random; `mine` is what its user has yet to settle."""

    def __init__(self) -> None:
        super().__init__()
        self.pair = Pair().open()
        self.channel = self.pair.consuming()
        self.channel.send_request(wire.BasicConsume("q", "free", no_ack=True), None)
        self.pair.pump()
        self.broker = Broker()
        self.under_way: list[bytes] = []  # from the broker
        self.tags_under_way: list[list[int]] = []
        self.mine: dict[int, None] = {}
        self.settled_in_transaction: list[int] = []
        self.recovering = 0

    # the broker

    @rule(count=st.integers(1, 5), free=st.booleans())
    def deliver(self, count: int, free: bool) -> None:
        for _ in range(count):
            tag = self.broker.next_tag
            self.broker.next_tag += 1
            if not free:
                self.broker.unacked[tag] = None
            self.under_way.append(
                b"".join(
                    [
                        wire.encode_deliver(
                            1, "free" if free else "t", tag, False, "", "q", b"\0\0", b"x", 0
                        )  # type: ignore[list-item]
                    ]
                )
            )
            self.tags_under_way.append([] if free else [tag])

    @rule()
    def reach_the_broker(self) -> None:
        for item in decode(drain(self.pair.client)):
            reply = self.broker.handle(item)
            if reply is not None:
                self.under_way.append(reply.encode(1))
                self.tags_under_way.append([])

    @rule(count=st.integers(1, 10))
    def reach_the_client(self, count: int) -> None:
        for data, tags in zip(self.under_way[:count], self.tags_under_way, strict=False):
            self.pair.client.receive_data(data, 0.0)
            for tag in tags:
                if not self.channel.unsettled.is_lost(tag):
                    self.mine[tag] = None
        del self.under_way[:count], self.tags_under_way[:count]

    # the user

    def take(self, index: int, multiple: bool) -> int:
        tag = list(self.mine)[index % len(self.mine)]
        for number in list(self.mine):
            if number == tag or (multiple and number < tag):
                del self.mine[number]
                self.settled_in_transaction.append(number)
        return tag

    @precondition(lambda self: self.mine)
    @rule(index=st.integers(0, 20), multiple=st.booleans())
    def ack(self, index: int, multiple: bool) -> None:
        self.channel.send_ack(self.take(index, multiple), multiple)

    @precondition(lambda self: self.mine)
    @rule(count=st.integers(1, 8))
    def ack_in_order(self, count: int) -> None:
        for _ in range(min(count, len(self.mine))):
            self.channel.send_ack(self.take(0, False))

    @precondition(lambda self: self.mine and self.channel.unsettled.gathers)
    @rule(indices=st.lists(st.integers(0, 20), min_size=1, max_size=5))
    def ack_without_a_lock(self, indices: list[int]) -> None:
        for index in indices[: len(self.mine)]:
            gather(self.channel, self.take(index, False))

    @precondition(lambda self: self.mine)
    @rule(index=st.integers(0, 20), multiple=st.booleans())
    def nack(self, index: int, multiple: bool) -> None:
        self.channel.send_nack(self.take(index, multiple), multiple)

    @precondition(lambda self: self.mine)
    @rule(index=st.integers(0, 20))
    def reject(self, index: int) -> None:
        self.channel.send_reject(self.take(index, False))

    @precondition(lambda self: not self.channel.unsettled.transactional)
    @rule()
    def ack_all(self) -> None:
        if self.mine:
            self.take(len(self.mine) - 1, True)
        self.channel.send_ack(0, multiple=True)

    @rule()
    def ask(self) -> None:
        self.channel.send_request(wire.BasicQos(0, 10), None)

    @precondition(lambda self: not self.channel.unsettled.transactional)
    @rule()
    def recover(self) -> None:
        self.channel.send_request(wire.BasicRecover(True), None)
        self.mine.clear()

    @precondition(lambda self: not self.channel.unsettled.is_lost(10**9))
    @rule()
    def start_transactions(self) -> None:
        if not self.channel.unsettled.transactional:
            self.settled_in_transaction = []
            self.channel.send_request(wire.TxSelect(), None)

    @precondition(lambda self: self.channel.unsettled.transactional)
    @rule()
    def roll_back(self) -> None:
        self.channel.send_request(wire.TxRollback(), None)
        for tag in self.settled_in_transaction:
            self.mine[tag] = None
        self.mine = dict.fromkeys(sorted(self.mine))
        self.settled_in_transaction = []

    @invariant()
    def the_broker_knows(self) -> None:
        assert self.pair.client.state is State.OPEN

    @rule()
    def all_arrives(self) -> None:
        self.reach_the_broker()
        self.reach_the_client(len(self.under_way))
        assert set(self.broker.unacked) == set(self.mine)
        if not self.channel.unsettled.transactional:
            assert len(self.channel.unsettled) == len(self.mine)

    def teardown(self) -> None:
        self.all_arrives()


Settling.TestCase.settings = settings(
    max_examples=120,
    stateful_step_count=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestSettling = Settling.TestCase


# -- the price ---------------------------------------------------------------------------------


def delivered(tracker: SettleTracker, first: int, last: int) -> None:
    for tag in range(first, last + 1):
        tracker.delivered(tag)


def seconds(unsettled: int, count: int, last: bool) -> float:
    """The price of `count` deliveries and their acks with others unsettled."""
    tracker = SettleTracker(1, Acks())
    delivered(tracker, 1, unsettled)
    start = time.thread_time()
    for tag in range(unsettled + 1, unsettled + count + 1):
        tracker.delivered(tag)
        tracker.ack(tag if last else tag - unsettled)
    return time.thread_time() - start


@pytest.mark.parametrize("last", [False, True])
def test_the_price_of_an_ack_does_not_depend_on_what_is_unsettled(last: bool) -> None:
    few = min(seconds(1, 5000, last) for _ in range(3))
    many = min(seconds(1_000_000, 5000, last) for _ in range(3))
    assert many < few * 20


def test_tags_that_no_broker_gives() -> None:
    tracker = SettleTracker(1, Acks())
    tracker.delivered(0)
    assert len(tracker) == 0
    tracker.delivered(2**64 - 1)
    assert len(tracker) == 1
    assert tracker.highest() == 2**64 - 1
    tracker.delivered(0)
    assert len(tracker) == 1
    tracker.settle(2**64 - 1, False)
    assert len(tracker) == 0


def test_one_old_delivery_does_not_make_the_rest_pile_up() -> None:
    tracker = SettleTracker(1, Acks())
    tracker.delivered(1)
    tag = 1
    for _ in range(1000):
        delivered(tracker, tag + 1, tag + 50)
        for number in range(tag + 1, tag + 51):
            tracker.settle(number, False)
        tag += 50
        assert len(tracker) == 1
    tracker.delivered(tag + 1)
    assert tracker.pieces < 300


def test_two_old_deliveries_neither() -> None:
    tracker = SettleTracker(1, Acks())
    for tag in range(1, 20_000):
        tracker.delivered(tag)
        if tag > 2:
            tracker.settle(tag - 1, False)
        assert tracker.pieces < 300
    assert len(tracker) == 2
    assert tracker.highest() == 19_999
