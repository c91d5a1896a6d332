"""Contents: any size, any frames, interleaved; and the bytes on their way out."""

from __future__ import annotations

import pickle
import subprocess
import sys
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leveret import wire
from leveret.exceptions import EncodeError, RemoteProtocolError
from leveret.protocol import (
    ChannelState,
    ClientOptions,
    Connection,
    ConnectionClosed,
    ConsumerCancelled,
    Deliveries,
    ServerOptions,
    State,
)
from leveret.protocol.content import ContentAssembly

from .pair import NO_PROPERTIES, Pair, decode, deliver, drain, frame, header, of, one, send


@pytest.mark.parametrize("frame_max", [4096, 8192, 0])
@pytest.mark.parametrize("size", [0, 1, 4087, 4088, 4089, 8184, 8185, 65536, 65537, 1_000_000])
def test_sizes(frame_max: int, size: int) -> None:
    pair = Pair(ClientOptions(), ServerOptions(frame_max=frame_max)).open()
    channel = pair.consuming()
    body = bytes(range(256)) * (size // 256 + 1)
    body = body[:size]
    send(channel, body)
    pair.pump()
    (published,) = pair.published()
    assert published.body == body
    assert type(published.body) is bytes
    pair.at_server(1).send_deliver("t", 1, False, "", "q", NO_PROPERTIES, body)
    pair.to_client()
    assert one(wire.Delivery, pair.client_events).body == body
    if frame_max:
        position = 8
        while position < len(pair.client_sent):
            length = int.from_bytes(pair.client_sent[position + 3 : position + 7], "big") + 8
            assert length <= frame_max
            position += length


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
@pytest.mark.parametrize("size", [10, 200_000])
def test_buffers_are_copied_where_they_may_change(kind: type, size: int, pair: Pair) -> None:
    source = bytearray(b"a" * size)
    channel = pair.channel()
    send(channel, kind(source))
    source[:] = b"b" * size
    pair.pump()
    assert pair.published()[0].body == b"a" * size


def test_contents_of_channels_are_interleaved(pair: Pair) -> None:
    numbers = [pair.consuming(tag=f"t{n}").number for n in (1, 2, 3)]
    streams = []
    for number in numbers:
        data = deliver(1, bytes([number]) * 300, number, f"t{number}", frame_max=58)
        streams.append(split_frames(data))
    for frames in zip(*streams, strict=True):
        for piece in frames:
            pair.client.receive_data(piece, 0.0)
    deliveries = of(wire.Delivery, pair.client.events())
    assert sorted((d.channel, d.body) for d in deliveries) == [
        (n, bytes([n]) * 300) for n in numbers
    ]


def split_frames(data: bytes) -> list[bytes]:
    frames, position = [], 0
    while position < len(data):
        end = position + 8 + int.from_bytes(data[position + 3 : position + 7], "big")
        frames.append(data[position:end])
        position = end
    return frames


def test_other_methods_may_come_between_contents_of_another_channel(pair: Pair) -> None:
    pair.consuming()
    pair.answers[wire.QueueDeclare] = None
    second = pair.channel()
    second.send_request(wire.QueueDeclare("q"), "declare")
    first, *rest = split_frames(deliver(1, b"x" * 100, 1, "t", frame_max=50))
    reply = wire.QueueDeclareOk("q").encode(2)
    for piece in (first, reply, wire.HEARTBEAT_FRAME, *rest):
        pair.client.receive_data(piece, 0.0)
    assert len(of(wire.Delivery, pair.client.events())) == 1
    assert pair.client.state is State.OPEN


def test_a_body_as_large_as_the_field(pair: Pair) -> None:
    """2^63 bytes are announced; what is there costs, or the 4 MiB that anybody is trusted with."""
    pair.consuming()
    size = 1 << 63
    start = wire.BasicDeliver("t", 1, False, "", "q").encode(1) + header(1, size)
    pair.client.receive_data(start, 0.0)
    chunk = frame(3, 1, bytes(131072 - 8))
    tracemalloc.start()
    for _ in range(16):
        pair.client.receive_data(chunk, 0.0)
    assert tracemalloc.get_traced_memory()[0] < 5 << 20
    tracemalloc.stop()
    assert pair.client.state is State.OPEN
    assert pair.client.events() == []


def test_empty_body_frames_are_legal_and_cost_nothing(pair: Pair) -> None:
    pair.consuming()
    start = wire.BasicDeliver("t", 1, False, "", "q").encode(1) + header(1, 2)
    pair.client.receive_data(start + frame(3, 1, b"a"), 0.0)
    empty = frame(3, 1) * 100
    tracemalloc.start()
    for _ in range(100):
        pair.client.receive_data(empty, 0.0)
    assert tracemalloc.get_traced_memory()[0] < 40_000
    tracemalloc.stop()
    pair.client.receive_data(frame(3, 1, b"b") + frame(3, 1), 0.0)
    assert pair.client.state is State.CLOSED  # the last one belongs to nothing
    assert one(wire.Delivery, pair.client.events()).body == b"ab"


@pytest.mark.parametrize("whole", [True, False])
def test_the_largest_body_a_server_takes(whole: bool) -> None:
    """In one piece or in many, the limit is the same."""
    pair = Pair(server_options=ServerOptions(max_body=100)).open()
    channel = pair.channel()
    send(channel, bytes(100))
    send(channel, bytes(101))
    data = drain(pair.client)
    for position in range(0, len(data), len(data) if whole else 7):
        pair.server.receive_data(data[position : position + (len(data) if whole else 7)], 0.0)
    events = pair.server.events()
    assert len(of(wire.Published, events)) == 1
    close = decode(drain(pair.server))[-1]
    assert isinstance(close, wire.ConnectionClose)
    assert (close.reply_code, close.class_id, close.method_id) == (501, 60, 40)
    assert close.reply_text == (
        "FRAME_ERROR - content body size 101 exceeds maximum allowed size 100"
    )


def test_a_frame_that_is_too_large_is_refused_before_it_is_there() -> None:
    pair = Pair(ClientOptions(frame_max=8192)).open()
    pair.consuming()
    pair.client.receive_data(b"\x03\0\1" + (8185).to_bytes(4, "big"), 0.0)
    error = one(ConnectionClosed, pair.client.events()).error
    assert isinstance(error, RemoteProtocolError)
    assert error.reply_code == wire.ReplyCode.FRAME_ERROR
    assert error.channel == 1


def test_half_a_frame_is_not_looked_at_again_and_again(pair: Pair) -> None:
    """A frame that comes a byte at a time costs its length, not its square."""
    pair.consuming()
    data = deliver(1, bytes(20_000))
    decoded = 0

    def count(frame_: object, event: str, argument: object) -> None:
        nonlocal decoded
        name = frame_.f_code.co_name if event == "call" else getattr(argument, "__name__", "")  # type: ignore[attr-defined]
        if event in ("call", "c_call") and name == "decode_frames":
            decoded += 1

    sys.setprofile(count)
    try:
        for byte in data:
            pair.client.receive_data(bytes([byte]), 0.0)
    finally:
        sys.setprofile(None)
    assert len(of(wire.Delivery, pair.client.events())) == 1
    assert 3 <= decoded < 20


# -- out ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("frame_max", [0, 131072])
def test_large_bodies_leave_in_chunks(frame_max: int) -> None:
    pair = Pair(ClientOptions(), ServerOptions(frame_max=frame_max)).open()
    channel = pair.channel()
    body = bytes(3 << 20)
    send(channel, body)
    send(channel, b"next")
    waiting = pair.client.bytes_waiting()
    assert waiting > len(body)
    pieces = []
    while piece := pair.client.data_to_send():
        pieces.append(piece)
        waiting -= len(piece)
        assert pair.client.bytes_waiting() == waiting
    assert waiting == 0
    assert max(map(len, pieces)) <= 3 * 262144
    pair.server.receive_data(b"".join(pieces), 0.0)
    bodies = [p.body for p in of(wire.Published, pair.server.events())]
    assert bodies == [body, b"next"]


def test_many_small_pieces_leave_in_chunks_and_in_order(pair: Pair) -> None:
    channel = pair.channel()
    for number in range(20_000):
        send(channel, b"%05d" % number)
    pieces = []
    while piece := pair.client.data_to_send():
        pieces.append(piece)
    assert max(map(len, pieces)) < 300_000
    pair.server.receive_data(b"".join(pieces), 0.0)
    bodies = [int(p.body) for p in of(wire.Published, pair.server.events())]
    assert bodies == list(range(20_000))


def test_the_last_bytes_of_a_large_body_leave_with_those_before(pair: Pair) -> None:
    send(pair.channel(), bytes(1_048_576))
    sizes = []
    while piece := pair.client.data_to_send():
        sizes.append(len(piece))
    assert len(sizes) == 4
    assert min(sizes) > 200_000


def test_properties_larger_than_a_frame(pair: Pair) -> None:
    channel = pair.channel()
    with pytest.raises(EncodeError):
        send(channel, raw_properties=bytes(131072))
    assert not pair.client.has_data_to_send()


def test_a_delivery_class_of_the_callers() -> None:
    class Mine(wire.Delivery):
        __slots__ = ("more",)

    pair = Pair()
    pair.client = Connection.client(ClientOptions(), Mine)
    pair.client.initiate(0.0)
    pair.open()
    pair.answers[wire.BasicGet] = lambda at_server, method: at_server.send_get_ok(
        2, False, "", "q", 0, NO_PROPERTIES, b"got"
    )
    channel = pair.consuming()
    pair.deliver(channel, 1)
    for piece in deliver(3, b"cut"):
        pair.client.receive_data(bytes([piece]), 0.0)
    channel.send_request(wire.BasicGet("q"), None)
    pair.pump()
    assert type(pair.replies()[-1].reply) is Mine
    assert [type(e) for e in of(wire.Delivery, pair.client_events)] == [Mine, Mine]


# -- bodies that are received into their place -------------------------------------------------


def receive_into(pair: Pair, data: bytes, sizes: list[int]) -> int:
    """Feed the client as a transport does that can receive into a buffer, in reads of `sizes`.

    Returns:
        How many reads there were.
    """
    client, at, turn = pair.client, 0, 0
    while at < len(data):
        size = sizes[turn % len(sizes)]
        turn += 1
        space = client.body_space()
        if space is None:
            size = min(size, 4096) if client.in_body else size
            client.receive_data(data[at : at + size], 0.0)
            at += size
            continue
        count = min(len(space), size, len(data) - at)
        space[:count] = data[at : at + count]
        client.body_filled(count, 0.0)
        at += count
    return turn


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.integers(1, 150_000), min_size=1, max_size=8),
    st.sampled_from([0, 1, 5000, 131_064, 131_065, 300_000, 5_000_000]),
    st.sampled_from([4096, 9000, 131_072]),
)
def test_a_body_received_into_its_place(sizes: list[int], size: int, frame_max: int) -> None:
    pair = Pair(ClientOptions(), ServerOptions(frame_max=frame_max)).open()
    pair.consuming()
    body = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    data = deliver(1, body, 1, frame_max=frame_max) + deliver(2, b"next", 1)
    receive_into(pair, data, [each + size // 40 for each in sizes])
    assert [d.body for d in of(wire.Delivery, pair.client.events())] == [body, b"next"]
    assert not pair.client.in_body
    assert pair.client.body_space() is None


def test_one_read_for_each_frame_of_a_body(pair: Pair) -> None:
    pair.consuming()
    body = bytes(range(256)) * 5_000
    frames = -(-len(body) // (131_072 - 8))
    reads = receive_into(pair, deliver(1, body, 1, frame_max=131_072), [65_536, *[1_000_000] * 99])
    assert of(wire.Delivery, pair.client.events())[0].body == body
    assert reads <= frames + 2


def test_a_short_last_frame_is_of_a_large_body_too(pair: Pair) -> None:
    pair.consuming()
    data = deliver(1, bytes(131_064 + 64), 1, frame_max=131_072)
    pair.client.receive_data(data[:-60], 0.0)
    assert pair.client.in_body
    pair.client.receive_data(data[-60:], 0.0)
    small = deliver(2, bytes(100), 1)
    pair.client.receive_data(small[:-60], 0.0)
    assert not pair.client.in_body


TWO_FRAMES = deliver(1, bytes(200_000), 1, frame_max=131_072)


def cut_in_a_body(pair: Pair) -> None:
    """A body of two frames has come up to the middle of the first."""
    pair.client.receive_data(TWO_FRAMES[:100_000], 0.0)
    assert pair.client.body_space() is not None


def test_a_wrong_end_in_a_place(pair: Pair) -> None:
    pair.consuming()
    cut_in_a_body(pair)
    space = pair.client.body_space()
    assert space is not None
    space[-8:] = bytes(8)
    pair.client.body_filled(len(space), 0.0)
    error = one(ConnectionClosed, pair.client.events()).error
    assert "0x00 in place of the end of the frame" in str(error)


THREE_FRAMES = deliver(1, bytes(390_000), 1, frame_max=131_072)
SECOND = THREE_FRAMES.index(b"\xce\x03\0\x01", 200) + 1  # where the second frame begins


@pytest.mark.parametrize(
    ("at", "value", "words"),
    [
        (-1, 0, "0x00 in place of the end of the frame"),
        (0, 2, "expected content body, got non content body frame instead"),
        (2, 2, "expected 'channel.open'"),
        (4, 2, "a frame of 196600 bytes, where 131064 are allowed"),
        (4, 3, "a frame of 262136 bytes, where 131064 are allowed"),
    ],
)
def test_another_frame_between_those_of_a_body(
    pair: Pair, at: int, value: int, words: str
) -> None:
    pair.consuming()
    data = bytearray(THREE_FRAMES)
    data[SECOND + at] = value
    receive_into(pair, bytes(data), [65_536, *[1_000_000] * 99])
    assert words in str(one(ConnectionClosed, pair.client.events()).error)


def test_a_frame_that_goes_on_behind_the_body(pair: Pair) -> None:
    channel = pair.consuming()
    data = bytearray(TWO_FRAMES)
    data[SECOND + 5] = 0xFF
    receive_into(pair, bytes(data) + b"\xce" * 100_000, [65_536, *[1_000_000] * 99])
    error = one(ConnectionClosed, pair.client.events()).error
    assert "content body frame exceeds remaining content size" in str(error)
    assert channel.state is ChannelState.CLOSED


def test_a_frame_of_another_channel_between_those_of_a_body(pair: Pair) -> None:
    pair.consuming()
    pair.consuming()
    other = deliver(1, bytes(50_000), 2)
    data = THREE_FRAMES[:SECOND] + other + THREE_FRAMES[SECOND:]
    receive_into(pair, data, [65_536, *[1_000_000] * 99])
    assert [len(d.body) for d in of(wire.Delivery, pair.client.events())] == [50_000, 390_000]


def test_a_channel_is_closed_while_a_body_is_received_into_its_place(pair: Pair) -> None:
    channel = pair.consuming()
    pair.client.receive_data(THREE_FRAMES[:100_000], 0.0)
    channel.send_close()
    close_ok = wire.ChannelCloseOk().encode(1)
    receive_into(pair, THREE_FRAMES[100_000:] + close_ok, [1_000_000])
    assert of(wire.Delivery, pair.client.events()) == []
    assert channel.state is ChannelState.CLOSED
    assert not pair.client.in_body


@pytest.mark.parametrize("who", ["channel", "connection"])
def test_what_closes_in_the_middle_of_a_body(pair: Pair, who: str) -> None:
    channel = pair.consuming()
    cut_in_a_body(pair)
    if who == "channel":
        channel.send_close()
    else:
        pair.client.send_close()
    pair.client.receive_data(TWO_FRAMES[100_000:], 0.0)
    assert of(wire.Delivery, pair.client.events()) == []
    assert not pair.client.in_body
    assert pair.client.state is (State.OPEN if who == "channel" else State.CLOSING)


def test_a_body_that_never_ends_is_collected_in_silence() -> None:
    # Before 3.13, only Python's development mode tells what a finaliser could not do.
    program = """
import gc
from leveret import wire
from leveret.protocol.content import ContentAssembly

assembly = ContentAssembly(wire.BasicDeliver("t", 1, False, "", "q"), wire.Delivery)
assembly.receive(wire.ContentHeader(1, 60, 10, b"\\0\\0"))
assembly.take(b"half")
cycle = [assembly.space(2, 0), assembly]
cycle.append(cycle)
del assembly, cycle
assert gc.collect()
"""
    command = [sys.executable, "-X", "dev", "-c", program]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=30, check=True)
    assert ran.stderr == ""


def test_a_body_is_dropped_while_it_is_received_into() -> None:
    assembly = ContentAssembly(wire.BasicDeliver("t", 1, False, "", "q"), wire.Delivery)
    assembly.receive(wire.ContentHeader(1, 60, 10, b"\0\0"))
    space = assembly.space(10, 0)
    with pickle.PickleBuffer(space).raw() as held:
        del assembly  # an exception in its finaliser is an error of this test
        space[:4] = b"half"
        assert held[:4] == b"half"


def test_the_peer_is_heard_while_a_body_fills() -> None:
    pair = Pair(ClientOptions(heartbeat=10), ServerOptions(heartbeat=60)).open()
    pair.consuming()
    cut_in_a_body(pair)
    pair.client.body_filled(10, 100.0)
    pair.client.tick(110.0)
    assert pair.client.state is State.OPEN
    pair.client.tick(121.0)
    assert pair.client.state is State.CLOSED


# -- what comes together -----------------------------------------------------------------------


def test_deliveries_of_many_consumers_in_turn_are_one_event(pair: Pair) -> None:
    channels = [pair.consuming() for _ in range(3)]
    for number, channel in enumerate(channels):
        channel.consumers["t"].owner = number
    data = [deliver(tag, b"%d" % tag, channel.number) for tag in (1, 2) for channel in channels]
    data += [wire.BasicCancel("t", True).encode(2), deliver(3, b"3", 1), deliver(4, b"4", 1)]
    pair.client.receive_data(b"".join(data), 0.0)
    in_turn, cancelled, last = pair.client.events()
    assert isinstance(in_turn, Deliveries)
    assert in_turn.owner is None
    assert [each.owner for each in in_turn.deliveries] == [0, 1, 2, 0, 1, 2]
    assert [each.delivery_tag for each in in_turn.deliveries] == [1, 1, 1, 2, 2, 2]
    assert isinstance(cancelled, ConsumerCancelled)
    assert isinstance(last, Deliveries)
    assert last.owner == 0
    assert [each.body for each in last.deliveries] == [b"3", b"4"]


def taken(pair: Pair, *pieces: bytes) -> list[bytes]:
    """The bodies that a consumer gets of what comes in one read, the first delivery among it."""
    pair.client.receive_data(b"".join([deliver(1, b"first"), *pieces]), 0.0)
    return [each.body for each in of(wire.Delivery, pair.client.events())]


def test_a_delivery_inside_of_another_is_a_fault(pair: Pair) -> None:
    pair.consuming()
    half = deliver(2, b"second")[: -len(frame(3, 1, b"second"))]
    assert taken(pair, half, deliver(2, b"other")) == [b"first"]
    assert pair.client.state is State.CLOSED


def test_a_delivery_in_pieces_between_whole_ones(pair: Pair) -> None:
    channel = pair.consuming()
    data = deliver(2, b"second")
    pair.client.receive_data(deliver(1, b"first") + data[:-8], 0.0)
    pair.client.receive_data(data[-8:] + deliver(3, b"third") + deliver(4, b"fourth"), 0.0)
    bodies = [each.body for each in of(wire.Delivery, pair.client.events())]
    assert bodies == [b"first", b"second", b"third", b"fourth"]
    assert len(channel.unsettled) == 4


def test_deliveries_after_a_cancel_go_back(pair: Pair) -> None:
    channel = pair.consuming()
    assert taken(pair) == [b"first"]
    channel.send_method(wire.BasicCancel("t", nowait=True))
    drain(pair.client)
    pair.client.receive_data(deliver(2), 0.0)
    assert decode(drain(pair.client)) == [wire.BasicReject(2, True)]
    assert pair.client.events() == []


def test_deliveries_after_a_close_are_dropped(pair: Pair) -> None:
    channel = pair.consuming()
    assert taken(pair) == [b"first"]
    channel.send_close()
    pair.client.receive_data(deliver(2), 0.0)
    assert pair.client.events() == []


def test_deliveries_of_a_consumer_whose_tag_is_used_again(pair: Pair) -> None:
    channel = pair.consuming()
    assert taken(pair) == [b"first"]
    channel.send_method(wire.BasicCancel("t", nowait=True))
    channel.send_method(wire.BasicConsume("q", "t", no_ack=True, nowait=True), "another")
    pair.client.receive_data(deliver(2), 0.0)
    assert [each.owner for each in of(wire.Delivery, pair.client.events())] == ["another"]
    assert len(channel.unsettled) == 1
