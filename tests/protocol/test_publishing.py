"""A publish in one step (`wire.queue_publish`) does what `ClientChannel.send_publish` does."""

from __future__ import annotations

import threading
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from leveret import ChannelClosedError, EncodeError, wire
from leveret.client.publisher import BasePublication, Window
from leveret.protocol import ClientChannel
from leveret.sync.publisher import make_publication

from .pair import NO_PROPERTIES, Pair, drain

HEADERS = wire.Properties(headers={"a": 1}, delivery_mode=2).encode()
names = st.sampled_from(["", "q", "é" * 127, "a" * 255, "\udcff", "a" * 256, "x" * 300, 5, None])
large = b"x" * 131072
bodies = st.sampled_from([b"", b"x", b"x" * 4000, large, bytearray(b"ab"), memoryview(b"a")])
raws = st.sampled_from([NO_PROPERTIES, NO_PROPERTIES, HEADERS, b"", large, None])
flags = st.sampled_from([True, False, 1, None])
kinds = st.sampled_from(["none", "plain", "window"])
publishes = st.lists(st.tuples(names, names, raws, bodies, flags, kinds), min_size=1, max_size=6)


def at_once(
    lock: Any, channel: ClientChannel, message: tuple[Any, ...], publication: BasePublication | None
) -> int:
    """As the clients do it."""
    queued = wire.queue_publish(lock, channel, *message, publication)
    return step_by_step(lock, channel, message, publication) if queued < 0 else queued


def step_by_step(
    _: Any, channel: ClientChannel, message: tuple[Any, ...], publication: BasePublication | None
) -> int:
    queued = channel.send_publish(*message, publication)
    if publication is not None and publication.window is not None:
        publication.window.in_flight += 1
    return queued


def told(way: Any, lock: Any, confirms: bool, calls: list[tuple[Any, ...]]) -> list[Any]:
    """All that is seen of some publishes."""
    pair = Pair().open()
    channel = pair.confirming() if confirms else pair.channel()
    window = Window(10)
    seen: list[Any] = []
    made = []
    for *message, kind in calls:
        publication = None
        if kind != "none" and confirms:
            given = window if kind == "window" else None
            publication = make_publication(
                None, message[0], message[1], message[3], message[4], given
            )
            made.append(publication)
        try:
            seen.append(way(lock, channel, tuple(message), publication))
        except Exception as error:
            seen.append((type(error), str(error)))
    seen += [(p.delivery_tag, p.position, p.raw_properties, p.outcome) for p in made]
    seen += [channel._last_exchange, channel._last_routing_key, channel._names_vary]
    seen += [window.in_flight, pair.client.bytes_queued, pair.client.bytes_sent]
    if channel.confirms is not None:
        seen += [channel.confirms._tag, list(channel.confirms._open), len(channel.confirms)]
    seen.append(drain(pair.client))
    return seen


@given(confirms=st.booleans(), locked=st.booleans(), calls=publishes)
def test_both_ways(confirms: bool, locked: bool, calls: list[tuple[Any, ...]]) -> None:
    lock = threading.RLock() if locked else None
    assert told(at_once, lock, confirms, calls) == told(step_by_step, lock, confirms, calls)
    if lock is not None:
        assert not lock._is_owned()  # type: ignore[attr-defined]


MESSAGE = ("", "q", NO_PROPERTIES, b"body", False, None)


@pytest.fixture
def in_one_step() -> None:
    if wire.CODEC == "pure":
        pytest.skip("in Python a publish is always made step by step")


@pytest.mark.usefixtures("in_one_step")
def test_it_is_the_usual_way(pair: Pair) -> None:
    pair.open()
    assert wire.queue_publish(threading.RLock(), pair.channel(), *MESSAGE) > 0
    publication = make_publication(None, "", "q", b"", False, Window(1))
    assert wire.queue_publish(None, pair.confirming(), *MESSAGE[:5], publication) > 0
    assert publication.delivery_tag == publication.window.in_flight == 1


@pytest.mark.usefixtures("in_one_step")
def test_what_is_left_to_the_caller(pair: Pair) -> None:
    """Where more is to be done, or the thread is in the middle of something, nothing is."""
    pair.open()
    lock, channel = threading.RLock(), pair.channel()
    before = pair.client.bytes_queued
    with lock:
        assert wire.queue_publish(lock, channel, *MESSAGE) < 0
    pair.client.acks.noted = True
    assert wire.queue_publish(lock, channel, *MESSAGE) < 0
    pair.client.acks.noted = False
    assert wire.queue_publish(lock, pair.confirming(), *MESSAGE) < 0  # has to be numbered
    before = pair.client.bytes_queued
    channel.send_close()
    closed = pair.client.bytes_queued
    assert wire.queue_publish(lock, channel, *MESSAGE) < 0
    assert pair.client.bytes_queued == closed > before
    with pytest.raises(ChannelClosedError):
        channel.send_publish(*MESSAGE)
    with pytest.raises(EncodeError):
        pair.channel().send_publish("a" * 256, *MESSAGE[1:])


def parts(channel: ClientChannel, publication: BasePublication) -> dict[str, Any]:
    """The objects of a publish whose slots the compiled step reads."""
    connection = channel._connection
    return {
        "channel": channel,
        "connection": connection,
        "limits": connection.limits,
        "acks": connection.acks,
        "tracker": channel.confirms,
        "publication": publication,
        "window": publication.window,
    }


@pytest.mark.parametrize(
    ("part", "slot"),
    [
        ("channel", "state"),
        ("channel", "number"),
        ("channel", "_connection"),
        ("channel", "confirms"),
        ("connection", "out"),
        ("connection", "bytes_queued"),
        ("connection", "bytes_sent"),
        ("connection", "limits"),
        ("connection", "acks"),
        ("limits", "frame_max"),
        ("acks", "noted"),
        ("tracker", "_tag"),
        ("tracker", "_open"),
        ("publication", "window"),
        ("window", "in_flight"),
    ],
)
@pytest.mark.usefixtures("in_one_step")
def test_an_empty_slot_is_left_to_the_caller(pair: Pair, part: str, slot: str) -> None:
    """Not read, which would be the end of the process; and nothing was done."""
    pair.open()
    channel = pair.confirming()
    publication = make_publication(None, "", "q", b"", False, Window(1))
    before = pair.client.bytes_queued
    found = parts(channel, publication)[part]
    value = getattr(found, slot)
    object.__delattr__(found, slot)
    assert wire.queue_publish(None, channel, *MESSAGE[:5], publication) < 0
    object.__setattr__(found, slot, value)
    assert pair.client.bytes_queued == before
    assert not publication.delivery_tag
    assert wire.queue_publish(None, channel, *MESSAGE[:5], publication) > 0


@pytest.mark.usefixtures("in_one_step")
def test_a_class_that_lacks_a_slot_leaves_the_usual_way(pair: Pair) -> None:
    class Other:
        __slots__ = ("_connection", "confirms", "number", "other", "state")

    pair.open()
    channel = pair.confirming()
    for other in (Other(), None):
        with pytest.raises(AttributeError):
            wire.queue_publish(None, other, *MESSAGE)
    publication = make_publication(None, "", "q", b"", False, None)
    assert wire.queue_publish(None, channel, *MESSAGE[:5], publication) > 0


def test_threads_that_publish_at_the_same_time(pair: Pair) -> None:
    """Each publish has a number of its own, and they leave in the order of their numbers."""
    pair.open()
    channel, lock = pair.confirming(), threading.RLock()
    window = Window(10_000)
    drain(pair.client)
    made: list[BasePublication] = []

    def run(name: str) -> None:
        for number in range(500):
            body = f"{name}{number}".encode()
            publication = make_publication(None, "", "q", body, False, window)
            message = ("", "q", NO_PROPERTIES, body, False)
            if wire.queue_publish(lock, channel, *message, publication) < 0:
                with lock:
                    step_by_step(lock, channel, message, publication)
            made.append(publication)

    threads = [threading.Thread(target=run, args=(name,)) for name in "abcd"]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert sorted(p.delivery_tag for p in made) == list(range(1, 2001))
    assert window.in_flight == 2000
    items, _, _ = wire.decode_frames(drain(pair.client), 0, 0)
    by_number = sorted(made, key=lambda publication: publication.delivery_tag)
    assert [item.body for item in items] == [publication.body for publication in by_number]  # type: ignore[union-attr]
