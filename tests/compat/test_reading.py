"""Bytes that come in any pieces, or wrong, or not at all; over TCP and over TLS."""

from __future__ import annotations

import os
import select
import signal
import socket
import ssl
import struct
import sys
import threading
from functools import partial
from pathlib import Path

import pytest
from tests.support.signals import interrupted

from leveret import wire
from leveret.compat import amqp
from leveret.compat.amqp.exceptions import UnexpectedFrame
from leveret.compat.amqp.method_framing import FrameHandler
from leveret.compat.amqp.tls import TLSSocket
from leveret.compat.amqp.transport import SSLTransport, TCPTransport
from leveret.exceptions import DecodeError

HERE = str(Path(amqp.__file__).parent)
DELIVERY = wire.encode_deliver(1, "tag", 7, False, "ex", "key", b"\0\0", b"body", 131072)
CUT = b"".join(wire.encode_deliver(1, "tag", 8, False, "ex", "key", b"\0\0", b"b" * 5000, 4096))
REPLY = wire.QueueDeclareOk("q", 1, 2).encode(1)
STREAM = REPLY + DELIVERY + wire.HEARTBEAT_FRAME + CUT + REPLY


class Counter:
    bytes_recv = 0


class Pair:
    """A transport of the drop-in, and the socket of its peer."""

    def __init__(self, kind, certificates=None):
        here, self.peer = socket.socketpair(socket.AF_INET if os.name == "nt" else socket.AF_UNIX)
        if kind is TCPTransport:
            self.transport = TCPTransport("localhost")
            self.transport.sock = here
        else:
            server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.load_cert_chain(certificates / "server.pem", certificates / "server.key")
            self.peer = TLSSocket(self.peer, server, server_side=True)
            shaking = threading.Thread(target=self.peer.do_handshake)
            shaking.start()
            self.transport = SSLTransport("localhost", ssl={"ca_certs": certificates / "ca.pem"})
            self.transport.sock = here
        self.transport._setup_transport()
        self.transport.connected = True
        if kind is SSLTransport:
            shaking.join()
        self.got = []
        self.handler = FrameHandler(Counter(), lambda *args: self.got.append(args))

    def read(self, timeout=5.0):
        return self.handler.receive(self.transport.next_item(timeout))

    def drain(self):
        while not self.read():
            pass

    def close(self):
        self.transport.close()
        self.peer.close()


@pytest.fixture(params=["tcp", "unpolled", "tls"])
def make_pair(request):
    """Over TCP, over TCP where the socket is another one (gevent's), over TLS."""

    def make():
        if request.param == "tls":
            made = Pair(SSLTransport, request.getfixturevalue("certificates"))
        else:
            made = Pair(TCPTransport)
        if request.param == "unpolled":
            made.transport._poll = None
        return made

    return make


@pytest.fixture
def pair(make_pair):
    made = make_pair()
    yield made
    made.close()


def test_a_stream_cut_at_every_byte_with_a_timeout_in_between(pair):
    for byte in STREAM:
        pair.peer.sendall(bytes((byte,)))
        try:
            while True:
                pair.read(timeout=0)
        except TimeoutError:
            pass
    assert [args[1] for args in pair.got] == [(50, 11), (60, 60), (60, 60), (50, 11)]
    assert [args[3] and args[3].body for args in pair.got] == [None, b"body", b"b" * 5000, None]


@pytest.mark.parametrize("piece", [2, 7, 8, 100, 4097, len(STREAM)])
def test_a_stream_in_pieces(pair, piece):
    for start in range(0, len(STREAM), piece):
        pair.peer.sendall(STREAM[start : start + piece])
        try:
            while True:
                pair.read(timeout=0)
        except TimeoutError:
            pass
    assert len(pair.got) == 4
    assert not select.select([pair.transport.sock], [], [], 0)[0]


def test_the_socket_is_readable_while_there_is_something_to_hand_out(pair):
    for batch in (1, 2, 3, 30):
        pair.got.clear()
        pair.peer.sendall(DELIVERY * batch + DELIVERY[:20])
        for number in range(batch):
            assert select.select([pair.transport.sock], [], [], 5)[0], f"{number} of {batch}"
            pair.drain()
        assert len(pair.got) == batch
        with pytest.raises(TimeoutError):
            pair.read(timeout=0)
        assert not select.select([pair.transport.sock], [], [], 0)[0]
        pair.peer.sendall(DELIVERY[20:])
        pair.drain()


ACK = wire.encode_ack(1, 7, False)
SMALL = wire.TxSelectOk().encode(1)  # the least that a method has


@pytest.mark.parametrize(
    "sent",
    [
        (REPLY,),
        (SMALL,),
        (DELIVERY, ACK),
        (wire.HEARTBEAT_FRAME, ACK),
        (SMALL, wire.HEARTBEAT_FRAME, ACK, REPLY),
        (wire.encode_ack(1, 8, False), ACK),
    ],
    ids=str,
)
def test_what_comes_in_the_place_of_an_expected_frame_is_not_lost_nor_hidden(pair, sent):
    pair.peer.sendall(b"".join(sent))
    assert not pair.transport.take(ACK, 5)
    frames = [frame for frame in sent if frame != wire.HEARTBEAT_FRAME]
    for number in range(len(frames)):
        # what take() has read is about to be handed out, whoever waits for the rest sees it
        assert not number or select.select([pair.transport.sock], [], [], 5)[0]
        pair.drain()
    assert not select.select([pair.transport.sock], [], [], 0)[0]


def test_an_expected_frame_is_taken_at_once(pair):
    pair.peer.sendall(ACK + REPLY)
    if pair.transport.take(ACK, 5):
        assert pair.transport._polls_alone
    else:
        pair.drain()
    assert select.select([pair.transport.sock], [], [], 5)[0]
    pair.drain()
    assert pair.got[-1][1] == (50, 11)


def test_an_expected_frame_that_does_not_come_or_comes_in_pieces():
    pair = Pair(TCPTransport)
    with pytest.raises(TimeoutError):
        pair.transport.take(ACK, 0)
    pair.peer.sendall(ACK[:9])
    assert not pair.transport.take(ACK, 5)
    assert not pair.transport.take(ACK, 5)  # the beginning is here: it is read as usual
    with pytest.raises(TimeoutError):
        pair.read(0)
    pair.peer.sendall(ACK[9:])
    pair.drain()
    assert pair.got[0][2].delivery_tag == 7
    pair.peer.close()
    with pytest.raises(OSError, match="Server unexpectedly closed connection"):
        pair.transport.take(ACK)
    assert not pair.transport.connected
    pair.close()


def test_a_batch_costs_three_reads(pair):
    """One look at all of it, then all but the last byte, then that."""
    count = 200
    pair.peer.sendall(DELIVERY * count)
    reads = []
    recv = pair.transport._kernel_recv
    pair.transport._kernel_recv = lambda *args: recv(*args)  # in Python, where it is seen

    def profile(frame, event, what):
        if event == "c_call" and what.__name__ == "recv":
            reads.append(what)

    sys.setprofile(profile)
    try:
        for _ in range(count):
            pair.drain()
    finally:
        sys.setprofile(None)
    assert len(pair.got) == count
    size = len(DELIVERY) * count
    assert size < 65536
    assert len(reads) == 3 if pair.transport._polls_alone else len(reads) <= 3 + size // 16384


class Interrupt(Exception):
    """What a signal handler raises."""


def read_all(transport, items):
    """What is there."""
    try:
        while True:
            items.append(transport.next_item(0))
    except TimeoutError as error:
        if "handler" in str(error):
            raise


def tags_of(items):
    """Of the deliveries that they make."""
    tags = []
    handler = FrameHandler(Counter(), lambda *args: tags.append(args[2].delivery_tag))
    for item in items:
        handler.receive(item)
    return tags


def delivery(tag, body=b"body"):
    return wire.encode_deliver(1, "tag", tag, False, "ex", "key", b"\0\0", body, 131072)


PIECES = [  # and what is whole with each
    (b"".join(map(delivery, (1, 2, 3))) + delivery(4)[:20], [1, 2, 3]),
    (delivery(4)[20:] + delivery(5), [4, 5]),
    (delivery(6)[:3], []),
    (delivery(6)[3:], [6]),
    (delivery(7, bytes(1000))[:500], []),
    (delivery(7, bytes(1000))[500:] + delivery(8), [7, 8]),
]


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
@pytest.mark.parametrize("kind", [Interrupt, TimeoutError, DecodeError])
@pytest.mark.parametrize("where", range(len(PIECES)))
def test_a_signal_handler_that_raises_anywhere_in_reading(make_pair, where, kind):
    """Each message is handed out once; over TLS, once, or neither it nor what follows it."""
    number, came = -1, True
    while came:
        number += 1
        pair, came = make_pair(), False
        transport, items, expected, ended = pair.transport, [], [], ""
        for place, (piece, whole) in enumerate(PIECES):
            pair.peer.sendall(piece)
            expected += whole
            try:
                if place == where:
                    came = interrupted(number, kind, partial(read_all, transport, items), HERE)
                read_all(transport, items)
            except OSError as error:
                ended = str(error)
                break
            assert tags_of(items) == expected, number
        if ended:
            assert ended == "a signal handler has raised in the middle of reading"
            assert isinstance(transport, SSLTransport)
            assert not transport.connected
            tags = tags_of(items)
            assert tags == expected[: len(tags)]
        else:
            assert tags_of(items) == [1, 2, 3, 4, 5, 6, 7, 8]
        pair.close()
    assert number > 10


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there is no such signal")
@pytest.mark.parametrize("kind", [Interrupt, TimeoutError, OSError])
def test_a_signal_handler_that_raises_anywhere_in_reading_a_frame(make_pair, kind):
    number, came, torn = -1, True, 0
    while came:
        number += 1
        pair, frames = make_pair(), []
        pair.transport.sock.settimeout(5.0)
        pair.peer.sendall(STREAM)

        def read(read_frame=pair.transport.read_frame, frames=frames):
            while len(frames) < 9:
                frames.append(read_frame())

        came = interrupted(number, kind, read, HERE)
        try:
            read()
        except OSError:
            torn += 1
        else:
            assert [frame[0] for frame in frames] == [1, 1, 2, 3, 8, 1, 2, 3, 3], number
        finally:
            pair.close()
    assert number > 50
    assert not torn or isinstance(pair.transport, SSLTransport)


def test_a_wrong_end_of_a_frame(pair):
    pair.peer.sendall(REPLY + REPLY[:-1] + b"\x00")
    assert pair.read()
    for _ in range(2):
        with pytest.raises(UnexpectedFrame, match="frame_end 0x00 while expecting 0xce"):
            pair.read()


@pytest.mark.parametrize("sent", [b"", REPLY[:3], REPLY[:20], REPLY + DELIVERY[:-1]], ids=len)
def test_a_peer_that_goes_away(pair, sent):
    if sent:
        pair.peer.sendall(sent)
    pair.peer.close()
    if len(sent) > len(REPLY):
        pair.drain()
    with pytest.raises(OSError, match="Server unexpectedly closed connection") as caught:
        pair.drain()
    assert caught.value.errno is None
    assert not pair.transport.connected


def test_frames_one_by_one_as_bytes(pair):
    pair.peer.sendall(STREAM)
    frames = [pair.transport.read_frame() for _ in range(9)]
    assert [kind for kind, _, _ in frames] == [1, 1, 2, 3, 8, 1, 2, 3, 3]
    assert frames[0][2] == REPLY[7:-1]
    assert pair.transport.read_frame() == (1, 1, REPLY[7:-1])
    pair.peer.sendall(REPLY[:9])
    with pytest.raises(TimeoutError), pair.transport.having_timeout(0.01):
        pair.transport.read_frame()
    pair.peer.sendall(REPLY[9:])
    assert pair.transport.read_frame() == (1, 1, REPLY[7:-1])


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of a fork beside other tests' threads
def test_a_child_of_fork_does_not_end_the_connection_of_its_parent(pair):
    child = os.fork()
    if not child:
        pair.transport.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    pair.peer.sendall(REPLY)
    assert pair.read()
    pair.transport.write(REPLY)
    assert pair.peer.recv(1000) == REPLY


def test_a_payload_longer_than_a_signed_int_is_asked_for_in_parts():
    transport = TCPTransport("localhost")
    asked = []

    def read(size, initial=False):
        asked.append(size)
        if initial:
            return struct.pack(">BHI", 3, 1, 0x80000001)
        return b"\xce" if size == 1 else b""

    transport._read = read
    assert transport.read_frame() == (3, 1, b"")
    assert asked == [7, 0x7FFFFFFF, 2, 1]
