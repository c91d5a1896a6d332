"""`next` and `ack` do the same in compiled steps and in Python, whatever they meet."""

from __future__ import annotations

import inspect
import sys
from itertools import islice
from typing import Any

import pytest

import leveret
from leveret import wire
from leveret.client.consumer import Subscription
from leveret.client.delivery import Delivery

SECONDS = 10.0
COMPILED = wire.CODEC == "compiled"


def declared(channel: leveret.Channel, messages: int) -> str:
    """A queue with so many messages."""
    queue = channel.queue_declare("", exclusive=True).queue
    for number in range(messages):
        channel.basic_publish(b"%d" % number, routing_key=queue)
    return queue


@pytest.fixture
def deliveries(channel: leveret.Channel) -> list[Delivery]:
    """Three, with acks noted already: those that follow are usual ones."""
    consumer = channel.consume(declared(channel, 4), prefetch=10)
    found = [consumer.get(SECONDS) for _ in range(4)]
    found.pop(0).ack()
    acks = found[0].owner.acks  # type: ignore[attr-defined]
    acks.noted = True
    return found


def calls_of(function: Any, *arguments: Any) -> list[str]:
    """The functions of Python that a call steps into."""
    names: list[str] = []
    before = sys.getprofile()
    sys.setprofile(
        lambda frame, event, _: names.append(frame.f_code.co_name) if event == "call" else None
    )
    try:
        function(*arguments)
    finally:
        sys.setprofile(before)
    return names


@pytest.mark.skipif(not COMPILED, reason="of the compiled codec")
def test_the_usual_ones_take_no_step_in_python(channel: leveret.Channel) -> None:
    consumer = channel.consume(declared(channel, 4), prefetch=10)
    consumer.get(SECONDS).ack()
    while len(consumer._deliveries) < 3:
        consumer.get(SECONDS).ack()
    consumer._subscription.acks.noted = True
    delivery = next(consumer)
    assert calls_of(delivery.ack) == []
    assert calls_of(next, consumer) == []
    assert calls_of(list, islice(consumer, 1)) == []


@pytest.mark.parametrize("names", [{}, {"multiple": False}])
def test_an_ack_leaves(
    channel: leveret.Channel, deliveries: list[Delivery], names: dict[str, bool]
) -> None:
    queue = deliveries[0].routing_key
    for delivery in deliveries[:2]:
        delivery.ack(**names)
        with pytest.raises(leveret.DeliverySettledError, match="settled already"):
            delivery.ack()
    channel.queue_declare(queue, passive=True)
    assert channel.protocol.unsettled.highest() == deliveries[2].delivery_tag
    assert len(channel.protocol.unsettled) == 1


def test_multiple_acks_all_before(channel: leveret.Channel, deliveries: list[Delivery]) -> None:
    deliveries[2].ack(multiple=True)
    assert len(channel.protocol.unsettled) == 0


def test_wrong_arguments_change_nothing(
    channel: leveret.Channel, deliveries: list[Delivery]
) -> None:
    with pytest.raises(TypeError, match=r"takes 1 positional argument but 2 were given"):
        deliveries[0].ack(True)  # type: ignore[misc]
    with pytest.raises(TypeError, match="unexpected keyword argument 'many'"):
        deliveries[0].ack(many=True)  # type: ignore[call-arg]
    with pytest.raises((AttributeError, TypeError)):
        Delivery.ack(object())  # type: ignore[arg-type]
    assert len(channel.protocol.unsettled) == 3
    deliveries[0].ack()
    assert len(channel.protocol.unsettled) == 2


def test_an_ack_that_nobody_knows_of_is_told(deliveries: list[Delivery]) -> None:
    acks = deliveries[0].owner.acks  # type: ignore[attr-defined]
    acks.noted = False
    deliveries[0].ack()
    assert acks.noted


def test_an_ack_in_a_transaction_takes_the_long_way(channel: leveret.Channel) -> None:
    queue = declared(channel, 2)
    channel.tx_select()
    consumer = channel.consume(queue, prefetch=10)
    first, second = consumer.get(SECONDS), consumer.get(SECONDS)
    acks = consumer._subscription.acks
    acks.noted = True
    first.ack()
    second.ack()
    assert acks.waiting == []
    with pytest.raises(leveret.DeliverySettledError, match="settled already"):
        second.ack()
    channel.tx_commit()


def test_without_acks_there_is_nothing_to_settle(channel: leveret.Channel) -> None:
    consumer = channel.consume(declared(channel, 1), no_ack=True)
    delivery = consumer.get(SECONDS)
    consumer._subscription.acks.noted = True
    with pytest.raises(leveret.DeliverySettledError, match="no_ack"):
        delivery.ack()
    assert consumer._subscription.acks.waiting == []


def test_a_delivery_of_a_class_of_ones_own(deliveries: list[Delivery]) -> None:
    class Counted(Delivery):
        __slots__ = ("acks",)
        acks: int

        def ack(self, *, multiple: bool = False) -> None:
            self.acks = getattr(self, "acks", 0) + 1
            super().ack(multiple=multiple)

    one = deliveries[0]
    own = Counted(1, one.consumer_tag, one.delivery_tag, False, "", "q", b"\0\0", b"")
    own.owner = one.owner
    own.ack()
    assert own.acks == 1
    with pytest.raises(leveret.DeliverySettledError):
        own.ack()


def test_an_owner_of_a_class_of_ones_own(deliveries: list[Delivery]) -> None:
    class Counting(Subscription):
        __slots__ = ()
        counted: list[Delivery] = []  # noqa: RUF012

        def ack(self, delivery: Delivery, multiple: bool) -> None:
            self.counted.append(delivery)

    subscription: Any = deliveries[0].owner
    deliveries[0].owner = Counting(subscription.channel, "q", False)
    deliveries[0].ack()
    assert Counting.counted == deliveries[:1]


@pytest.mark.parametrize("name", ["owner", "delivery_tag"])
def test_a_delivery_that_lacks_something(deliveries: list[Delivery], name: str) -> None:
    delattr(deliveries[0], name)
    with pytest.raises(AttributeError):
        deliveries[0].ack()


@pytest.mark.parametrize("name", ["unsettled", "acks", "no_ack"])
def test_an_owner_that_lacks_something(deliveries: list[Delivery], name: str) -> None:
    subscription: Any = deliveries[0].owner
    owner = Subscription(subscription.channel, "q", False)
    delattr(owner, name)
    deliveries[0].owner = owner
    with pytest.raises(AttributeError):
        deliveries[0].ack()


def test_what_a_method_is_for_can_be_read() -> None:
    assert str(inspect.signature(Delivery.ack)) in (
        "(self, /, *, multiple=False)",
        "(self, *, multiple: 'bool' = False) -> 'None'",
    )
    assert "too late; the broker requeues it" in (inspect.getdoc(Delivery.ack) or "")


# -- next --------------------------------------------------------------------------------------


def test_next_ends_when_the_consumer_does(channel: leveret.Channel) -> None:
    consumer = channel.consume(declared(channel, 2), no_ack=True)
    assert [next(consumer).body for _ in range(2)] == [b"0", b"1"]
    consumer.cancel()
    assert next(consumer, None) is None
    assert list(consumer) == []
    assert iter(consumer) is consumer


def test_a_full_consumer_has_room_again(channel: leveret.Channel) -> None:
    consumer = channel.consume(declared(channel, 3), no_ack=True)
    consumer.get(SECONDS)
    subscription = consumer._subscription
    while len(subscription.deliveries) < 2:
        channel.queue_declare(subscription.queue, passive=True)
    subscription.full = True
    subscription.resume_at = 5
    assert next(consumer).body == b"1"
    assert not subscription.full
    assert next(consumer).body == b"2"


def test_a_consumer_of_a_class_of_ones_own(channel: leveret.Channel) -> None:
    class Upper(leveret.Consumer):
        __slots__ = ()

        def __next__(self) -> Any:
            return super().__next__().body * 2

    consumer = channel.consume(declared(channel, 2), no_ack=True)
    own = Upper(channel, consumer._subscription)
    assert next(own) == b"00"
    assert list(islice(own, 1)) == [b"11"]


def test_a_consumer_without_its_inside(channel: leveret.Channel) -> None:
    consumer = channel.consume(declared(channel, 1), no_ack=True)
    subscription = consumer._subscription
    del consumer._subscription
    with pytest.raises(AttributeError):
        next(consumer)
    consumer._subscription = subscription
    with pytest.raises((AttributeError, TypeError)):
        leveret.Consumer.__next__(object())  # type: ignore[arg-type]
