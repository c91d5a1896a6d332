"""Deliveries to their owners, and acks into frames: what is done once a message, over a whole read.

Deliveries of many channels come mixed, one of each, and their acks leave so. What a channel costs
then is to find it, a few objects that are not in the processor's cache; so each loop here goes over
many messages, touches few objects for each, and the compiled twins ask for those of the next ones
ahead of time.

The classes are the parts of the upper layers' objects that these loops read and write, and no more:
what they mean is said there. An upper layer's class inherits from one of them and adds its own.
`Unsettled` and `Queue` have compiled twins, too, which are smaller. Whatever is out of the ordinary
is left to that layer.
"""

from __future__ import annotations

import struct
from collections import deque
from collections.abc import Sequence
from itertools import islice
from typing import Any, Final

from .constants import FRAME_END
from .content import Delivery, Item
from .methods import BasicAck

__all__ = [
    "Acked",
    "Inbox",
    "Lane",
    "Queue",
    "Unsettled",
    "claim",
    "deal",
    "encode_acks",
    "hasten_ack",
    "hasten_next",
    "settle",
]

#: Where deliveries wait: of a deque, what is used of it. None is no delivery.
Queue = deque

_ACK: Final = BasicAck.key
_pack = struct.Struct(">BHIIQ?B").pack  # a basic.ack, as in `encoders`


class Unsettled:
    """The deliveries of one channel that want to be settled, and acks that have not left.

    Attributes:
        channel: its number.
        below, last: the tags between the two, `last` included, are unsettled; `last` is the
            highest that has come.
        plain: no other tags are unsettled, and the lowest ones may be acked with `multiple`.
        count: acks that have not left, of what were the lowest tags.
        front: the highest tag of them.
        gathers: whether acks may be put aside for `settle`. Here, for who acks looks at it.
        prefetch: how many deliveries the broker sends ahead.

    The numbers are not negative, and have at most 64 bits.
    """

    __slots__ = ("below", "channel", "count", "front", "gathers", "last", "plain", "prefetch")

    below: int
    channel: int
    count: int
    front: int
    gathers: bool
    last: int
    plain: bool
    prefetch: int


class Lane:
    """A consumer on its channel.

    Attributes:
        consumer_tag: its name there.
        owner: becomes the owner of its deliveries.
        unsettled: of its channel; None where deliveries want no settling.
        siblings: all lanes of the channel, by consumer tag.
    """

    __slots__ = ("consumer_tag", "owner", "siblings", "unsettled")

    def __init__(
        self,
        consumer_tag: str,
        owner: Any,
        unsettled: Unsettled | None,
        siblings: dict[str | None, Lane],
    ) -> None:
        self.consumer_tag: str | None = consumer_tag
        self.owner = owner
        self.unsettled = unsettled
        self.siblings = siblings


class Acked:
    """Acks of all channels of a connection.

    Attributes:
        noted: who sends knows that there are some.
        waiting: those that nobody has looked at, for `settle`.
    """

    __slots__ = ("noted", "waiting")

    noted: bool
    waiting: list[Any]


class Inbox:
    """Where deliveries of one consumer wait to be taken.

    Attributes:
        deliveries: received and not taken yet.
        check_at: with how many there `receive` has to take a delivery; 0 for each.
        full: whoever takes one has to look whether there is room again.
        no_ack: they want no settling.
        acks, unsettled: where their acks go, and of which channel they are.
    """

    __slots__ = (
        "acks",
        "check_at",
        "deliveries",
        "full",
        "no_ack",
        "unsettled",
    )

    acks: Acked
    check_at: int
    deliveries: Queue[Any]
    full: bool
    no_ack: bool
    unsettled: Unsettled

    def receive(self, deliveries: list[Any]) -> None:
        """Take deliveries, whatever the state."""
        raise NotImplementedError


def claim(items: Sequence[Item], start: int, lanes: list[Lane | None]) -> tuple[int, Any]:
    """Give the deliveries from `start` on to the owners of their lanes, as far as they have some.

    Args:
        items: from `decode_frames`.
        lanes: by channel number, that of its last delivery; None is put there where a channel's
            deliveries have to be looked at. Changes where another consumer of the channel is next.

    Returns:
        The position of the first item that is not such a delivery, or whose tag does not follow
        while others are unsettled. The owner, where all have the same; else None.
    """
    position = start
    known = len(lanes)
    lane: Lane | None = None
    number = consumer_tag = unsettled = owner = only = None
    item: Any
    for item in islice(items, start, None):
        if not isinstance(item, Delivery):
            break
        if item.channel != number or item.consumer_tag != consumer_tag:
            number, consumer_tag = item.channel, item.consumer_tag
            lane = lanes[number] if number < known else None
            if lane is None:
                break
            if lane.consumer_tag is not consumer_tag:
                if lane.consumer_tag != consumer_tag:
                    lane = lane.siblings.get(consumer_tag)
                    if lane is None:
                        break
                    lanes[number] = lane
                lane.consumer_tag = item.consumer_tag  # the next one has the same object
            unsettled, owner = lane.unsettled, lane.owner
        if unsettled is not None:
            tag = item.delivery_tag
            last = unsettled.last
            if tag != last + 1:
                if tag <= last or unsettled.below != last:
                    break
                unsettled.below = tag - 1
            unsettled.last = tag
        item.owner = owner
        if owner is not only:
            only = owner if position == start else None
        position += 1
    return position, only


def deal(deliveries: Sequence[Delivery]) -> None:
    """Put each delivery into its owner's inbox, as `Inbox.receive` does, with no call for most."""
    for delivery in deliveries:
        owner: Any = delivery.owner
        waiting = owner.deliveries
        if len(waiting) + 1 < owner.check_at:
            waiting.append(delivery)
        else:
            owner.receive([delivery])


def hasten_ack(delivery_class: type[Delivery], inbox_class: type[Inbox], settled: object) -> None:
    """Have the usual `delivery.ack()` take no step in Python; any other one is what it was.

    Usual is one that does no more than this: of a delivery whose owner is an inbox that wants
    settling, `(inbox.unsettled, delivery_tag)` is added to `inbox.acks.waiting`, while
    `unsettled.gathers` and `acks.noted`, and `settled` becomes the owner. In Python there is no
    shorter way than the method itself.

    Args:
        delivery_class: has the method `ack`. Objects of its subclasses go the other way.
        inbox_class: whose `ack` does that. The same for its subclasses.
    """


def hasten_next(consumer_class: type[Any], inbox: str) -> None:
    """Have the usual `next(consumer)` take no step in Python; any other one is what it was.

    Usual is one that does no more than take the first delivery of the inbox, which is not full.

    Args:
        consumer_class: has the method `__next__`.
        inbox: the name of the slot where it has its inbox.
    """


def settle(
    acked: Sequence[tuple[Unsettled, int]], touched: list[Unsettled], share: int
) -> tuple[list[tuple[Unsettled, int]], bool]:
    """Count the acks of deliveries that are the lowest unsettled ones of their channels.

    Args:
        acked: of any channels, in the order in which they were acked.
        touched: those with acks that have not left; who has the first one is added.
        share: acks that wait are many from one part in so many of what the prefetch leaves.

    Returns:
        The other acks; and whether those counted now have become many on one of the channels.
    """
    rest: list[tuple[Unsettled, int]] = []
    many = _settle_run(acked, touched, share)
    if many is not None:
        return rest, many
    many = False
    for pair in acked:
        unsettled, tag = pair
        last = unsettled.last
        if unsettled.plain and unsettled.below + 1 == tag <= last:
            unsettled.below = unsettled.front = tag
            count = unsettled.count
            if not count:
                touched.append(unsettled)
            unsettled.count = count = count + 1
            if count * share >= unsettled.prefetch - (last - tag):
                many = True
        else:
            rest.append(pair)
    return rest, many


def _settle_run(
    acked: Sequence[tuple[Unsettled, int]], touched: list[Unsettled], share: int
) -> bool | None:
    """Where all are ordinary ones of one channel, count them at once: whether they are many."""
    if len(acked) < 2 or acked[0][0] is not acked[-1][0]:
        return None
    unsettled, first = acked[0]
    last = first + len(acked) - 1
    if not unsettled.plain or first != unsettled.below + 1 or last > unsettled.last:
        return None
    if [tag for each, tag in acked if each is unsettled] != list(range(first, last + 1)):
        return None
    unsettled.below = unsettled.front = last
    if not unsettled.count:
        touched.append(unsettled)
    unsettled.count += len(acked)
    return unsettled.count * share >= unsettled.prefetch - (unsettled.last - last)


def encode_acks(touched: Sequence[Unsettled]) -> bytes:
    """A basic.ack for each that has acks of the lowest tags, which then have left."""
    frames: list[bytes] = []
    for unsettled in touched:
        count = unsettled.count
        if count:
            many = count > 1
            frames.append(_pack(1, unsettled.channel, 13, _ACK, unsettled.front, many, FRAME_END))
            unsettled.count = 0
    return b"".join(frames)
