"""Bytes as they come: cut anywhere, and wrong anywhere."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import example, given, settings
from hypothesis import strategies as st

from leveret import wire
from leveret.protocol import (
    ClientOptions,
    Connection,
    ConnectionClosed,
    ServerOptions,
    State,
)

from .pair import NO_PROPERTIES, Pair, deliver, drain, flat, frame, header, joined, publish, send

FRAME_MAX = 8192


def seen(event: object) -> object:
    """An event as a value."""
    if isinstance(event, wire.Method):
        return (event.channel, repr(event))
    slots = [
        name
        for cls in type(event).__mro__
        for name in getattr(cls, "__slots__", ())
        if name not in ("_properties", "channel", "publications", "reason")
    ]
    values = [(name, seen_value(getattr(event, name))) for name in slots]
    return (type(event).__name__, getattr(getattr(event, "channel", 0), "number", 0), values)


def seen_value(value: object) -> object:
    if isinstance(value, wire.Method | wire.Content):
        return seen(value)
    return repr(value)


def cut(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    places = sorted({place % (len(data) + 1) for place in cuts} | {0, len(data)})
    return [data[a:b] for a, b in pairwise(places)]


# -- a server that sends -----------------------------------------------------------------------


def busy_client() -> Pair:
    """A client with something of everything open."""
    pair = Pair(ClientOptions(frame_max=FRAME_MAX)).open()
    for number in (1, 2):
        channel = pair.confirming()
        channel.send_request(wire.BasicConsume("q", "t"), None, f"owner {number}")
    pair.pump()
    for number in (1, 2):
        channel = pair.client.channels[number]  # type: ignore[assignment]
        for body in (b"a", b"b", b"c"):
            send(channel, body, mandatory=True)
        channel.send_request(wire.QueueDeclare("q"), "declare")
        channel.send_request(wire.BasicGet("q"), "get")
    drain(pair.client)
    pair.client.events()
    return pair


def from_server(channel: int) -> list[bytes]:
    """Things that a server may say in this state, in any order."""
    other = wire.encode_return(channel, 312, "NO_ROUTE", "", "q", NO_PROPERTIES, b"b", 0)
    return [
        deliver(1, b"", channel),
        deliver(2, b"x" * 100, channel, frame_max=58),
        deliver(3, b"y" * 20_000, channel, frame_max=FRAME_MAX),
        deliver(4, b"z", channel, consumer_tag="nobody"),
        joined(other),
        wire.BasicAck(1).encode(channel),
        wire.BasicAck(3, True).encode(channel),
        wire.BasicNack(2).encode(channel),
        wire.ChannelFlow(False).encode(channel),
        wire.BasicCancel("t", True).encode(channel),
        wire.QueueDeclareOk("q", 1, 2).encode(channel),
        joined(wire.encode_get_ok(channel, 9, False, "", "q", 3, NO_PROPERTIES, b"g" * 50, 40)),
        wire.ChannelClose(404, "NOT_FOUND - no queue 'q'", 50, 10).encode(channel),
        wire.HEARTBEAT_FRAME,
        wire.ConnectionBlocked("low").encode(0),
        wire.ConnectionClose(320, "CONNECTION_FORCED - x", 0, 0).encode(0),
        # and what it may not say
        wire.BasicAck(9).encode(channel),
        header(channel, 5),
        frame(3, channel, b"x"),
        frame(7, channel),
        frame(1, channel, b"\0\x32\0\x63"),
        frame(3, channel, b"x", end=1),
        deliver(5, b"cut off" * 10, channel)[:-20],
    ]


PIECES = [piece for channel in (1, 2) for piece in from_server(channel)]

streams = st.lists(st.integers(0, len(PIECES) - 1), max_size=12)  # of indices: a repr to read
cuts = st.lists(st.integers(0, 1 << 20), max_size=30)


def server_stream(numbers: list[int]) -> bytes:
    return b"".join(PIECES[number] for number in numbers)


def received(data: Sequence[bytes]) -> tuple[list[object], bytes, State]:
    client = busy_client().client
    events: list[object] = []
    for piece in data:
        client.receive_data(piece, 1.0)
        events += flat(client.events())
    return [seen(event) for event in events], drain(client), client.state


@settings(max_examples=150, deadline=None)
@given(streams, cuts)
def test_a_client_sees_the_same_however_the_stream_is_cut(
    numbers: list[int], places: list[int]
) -> None:
    data = server_stream(numbers)
    assert received(cut(data, places)) == received([data])


@settings(max_examples=15, deadline=None)
@given(streams)
def test_even_in_single_bytes(numbers: list[int]) -> None:
    data = server_stream(numbers)
    assert received([data[i : i + 1] for i in range(len(data))]) == received([data])


# -- a client that sends -----------------------------------------------------------------------

HANDSHAKE = [
    wire.PROTOCOL_HEADER,
    wire.ConnectionStartOk({"product": "x"}, "PLAIN", b"\0guest\0guest", "en_US").encode(0),
    wire.ConnectionTuneOk(10, FRAME_MAX, 0).encode(0),
    wire.ConnectionOpen("/").encode(0),
]


def from_client(channel: int) -> list[bytes]:
    return [
        wire.ChannelOpen().encode(channel),
        wire.ChannelClose(200, "", 0, 0).encode(channel),
        wire.QueueDeclare("q").encode(channel),
        wire.QueueDeclare("q", nowait=True).encode(channel),
        wire.BasicConsume("q").encode(channel),
        wire.BasicGet("q").encode(channel),
        publish(b"", channel),
        publish(b"x" * 5000, channel),
        joined(
            wire.encode_publish(channel, "x", "k", True, False, NO_PROPERTIES, bytes(30_000), 8192)
        ),
        wire.BasicAck(1).encode(channel),
        wire.BasicNack(0, True).encode(channel),
        wire.HEARTBEAT_FRAME,
        wire.ConnectionUpdateSecret(b"s", "r").encode(0),
        wire.ConnectionClose(200, "bye", 0, 0).encode(0),
        publish(bytes(8185), channel),  # a frame that is too large
        wire.ChannelCloseOk().encode(channel),
        wire.QueueDeclareOk("q").encode(channel),
        header(channel, 5),
        frame(3, channel, b"x"),
        frame(9, channel),
    ]


OPENED = [wire.ChannelOpen().encode(1), wire.ChannelOpen().encode(2)]
CLIENT_PIECES = [piece for channel in (1, 2) for piece in from_client(channel)]
client_streams = st.lists(st.integers(0, len(CLIENT_PIECES) - 1), max_size=12)


def client_stream(numbers: list[int]) -> bytes:
    return b"".join([*HANDSHAKE, *OPENED, *(CLIENT_PIECES[number] for number in numbers)])


def served(data: Sequence[bytes]) -> tuple[list[object], State]:
    pair = Pair()
    for piece in data:
        pair.server.receive_data(piece, 1.0)
        pair.serve()
    return [seen(event) for event in pair.server_events], pair.server.state


@settings(max_examples=150, deadline=None)
@given(client_streams, cuts)
def test_a_server_sees_the_same_however_the_stream_is_cut(
    numbers: list[int], places: list[int]
) -> None:
    data = client_stream(numbers)
    assert served(cut(data, places)) == served([data])


# -- noise -------------------------------------------------------------------------------------

frames = st.builds(
    frame,
    st.sampled_from([1, 1, 1, 2, 3, 8, 8, 0, 255]),
    st.integers(0, 3),
    st.one_of(
        st.binary(max_size=40),
        st.builds(
            lambda key, rest: key.to_bytes(4, "big") + rest,
            st.sampled_from(sorted(wire.METHODS)),
            st.binary(max_size=30),
        ),
    ),
    st.sampled_from([0xCE] * 9 + [0]),
)
ALL_PIECES = PIECES + CLIENT_PIECES
noise = st.one_of(
    st.binary(max_size=200).map(lambda data: [data]),
    st.lists(st.one_of(frames, st.integers(0, len(ALL_PIECES) - 1)), max_size=8),
)
Noise = list[bytes | int]
changes = st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=3)


def noisy(parts: Noise) -> bytes:
    return b"".join(ALL_PIECES[part] if isinstance(part, int) else part for part in parts)


def spoil(data: bytes, places: list[tuple[int, int]]) -> bytes:
    spoiled = bytearray(data)
    for place, value in places:
        if spoiled:
            spoiled[place % len(spoiled)] = value
    return bytes(spoiled)


def survives(side: Connection, data: Sequence[bytes]) -> None:
    """It ends in order or waits; it holds no more than a frame; it says nothing after the end."""
    ended = False
    for piece in data:
        side.receive_data(piece, 1.0)
        events = side.events()
        assert not (ended and events)
        for number, event in enumerate(events):
            if isinstance(event, ConnectionClosed):
                ended = True
                assert number == len(events) - 1
        assert ended is (side.state is State.CLOSED)
        held = sum(len(chunk) for chunk in side.incoming._chunks)
        assert held < 131072 + 8 + len(piece)
        if ended:
            assert held == 0
            drain(side)
            assert not side.channels
            assert side.next_deadline() is None
    side.receive_eof(2.0)
    assert side.state is State.CLOSED


@settings(max_examples=250, deadline=None)
@given(noise, changes, cuts)
@example([], [], [])
def test_noise_into_an_open_client(
    parts: Noise, places: list[tuple[int, int]], at: list[int]
) -> None:
    survives(busy_client().client, cut(spoil(noisy(parts), places), at))


@settings(max_examples=150, deadline=None)
@given(noise, changes, cuts, st.booleans(), st.booleans())
def test_noise_into_a_closing_client(
    parts: Noise, places: list[tuple[int, int]], at: list[int], channels: bool, connection: bool
) -> None:
    client = busy_client().client
    if channels:
        client.channels[1].send_close()
    if connection:
        client.send_close()
    else:
        client.open_channel(None)
    survives(client, cut(spoil(noisy(parts), places), at))


@settings(max_examples=150, deadline=None)
@given(noise, changes, cuts, st.integers(0, 4))
def test_noise_into_a_client_in_its_handshake(
    parts: Noise, places: list[tuple[int, int]], at: list[int], steps: int
) -> None:
    pair = Pair()
    for _ in range(steps):
        pair.to_server()
        pair.to_client()
    drain(pair.client)
    pair.client.events()
    survives(pair.client, cut(spoil(noisy(parts), places), at))


@settings(max_examples=250, deadline=None)
@given(client_streams, noise, changes, cuts)
def test_noise_into_a_server(
    start: list[int], parts: Noise, places: list[tuple[int, int]], at: list[int]
) -> None:
    pair = Pair()
    for piece in cut(spoil(client_stream(start) + noisy(parts), places), at):
        pair.server.receive_data(piece, 1.0)
        pair.serve()
        drain(pair.server)
        assert sum(len(chunk) for chunk in pair.server.incoming._chunks) < 131072 + 8
    pair.server.receive_eof(2.0)
    pair.serve()
    assert isinstance(pair.server_events[-1], ConnectionClosed)
    assert not pair.server.channels


@settings(max_examples=100, deadline=None)
@given(noise, cuts)
def test_noise_instead_of_a_header(parts: Noise, at: list[int]) -> None:
    survives(Connection.server(ServerOptions()), cut(noisy(parts), at))
