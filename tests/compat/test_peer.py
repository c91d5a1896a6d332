"""What a peer may do to a client: py-amqp and Leveret side by side, over TCP and over TLS.

Each test plays the same broker to both, and compares what a program sees: what is delivered, what
is raised, whether the connection counts as connected.
"""

from __future__ import annotations

import select
import socket

import pytest
from tests.support.scripted import CONSUMER, FRAME_MAX, STEPS, scripted_broker

from leveret import wire
from leveret.compat import amqp as ours

theirs = pytest.importorskip("amqp")
BOTH = pytest.mark.parametrize("library", [theirs, ours], ids=["py-amqp", "leveret"])


def delivery(number, body):
    encoded = wire.encode_deliver(1, CONSUMER, number, False, "ex", "key", b"\0\0", body, FRAME_MAX)
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


SMALL = delivery(1, b"body")
LARGE = delivery(2, bytes(range(256)) * 1500)  # three frames, two of them of the largest size
REPLY = wire.QueueDeclareOk("q", 1, 2).encode(1)


@pytest.fixture(params=["tcp", "tls"])
def tls(request):
    """The folder with the certificates, or None for TCP."""
    return request.getfixturevalue("certificates") if request.param == "tls" else None


class Client:
    """A consumer on one of the libraries, and what it has seen."""

    def __init__(self, library, broker, tls):
        ssl = {"ca_certs": str(tls / "ca.pem")} if tls else False
        self.connection = library.Connection(
            broker.address, ssl=ssl, login_method="PLAIN", connect_timeout=10
        )
        self.seen = []
        try:
            self.connection.connect()
            self.channel = self.connection.channel()
            self.channel.basic_consume(
                "q", CONSUMER, callback=lambda message: self.seen.append(message.body), no_ack=True
            )
        except Exception as error:
            self._saw(error)

    def _saw(self, error):
        name = "OSError" if isinstance(error, OSError) else type(error).__name__
        self.seen.append((name, str(error), bool(self.connection.connected)))

    def drain(self, timeout):
        """Until nothing comes within the timeout, or the connection fails; whether it has."""
        try:
            while True:
                self.connection.drain_events(timeout=timeout)
        except TimeoutError:
            return False
        except Exception as error:
            self._saw(error)
            return True


def outcomes(tls, play, steps=None):
    """What each library sees of a broker that plays this, which gets the broker and the client."""
    seen = {}
    for library in (theirs, ours):
        with scripted_broker(tls, steps) as broker:
            client = Client(library, broker, tls)
            try:
                play(broker, client)
            finally:
                broker.close()  # or py-amqp waits for a farewell over TLS
                client.connection.collect()
            seen[library.__name__] = client.seen
    return seen["amqp"], seen["leveret.compat.amqp"]


def test_frames_cut_at_every_byte_with_a_timeout_in_between(tls):
    def play(broker, client):
        for byte in SMALL + SMALL:
            broker.peer.sendall(bytes((byte,)))
            assert not client.drain(0.003)

    assert outcomes(tls, play) == ([b"body", b"body"], [b"body", b"body"])


@pytest.mark.parametrize("piece", [4093, 131073, 1 << 20])
def test_long_frames_in_pieces_with_a_timeout_in_between(tls, piece):
    stream = LARGE + SMALL

    def play(broker, client):
        for start in range(0, len(stream), piece):
            broker.peer.sendall(stream[start : start + piece])
            client.drain(0.01)
        assert not client.drain(0.5)

    before, after = outcomes(tls, play)
    assert after == before
    assert [len(body) for body in after] == [256 * 1500, 4]


@pytest.mark.parametrize("wrong", [0, 1, 2], ids=["method", "header", "body"])
def test_a_frame_with_a_wrong_end(tls, wrong):
    ends = [at for at, byte in enumerate(SMALL) if byte == wire.FRAME_END]
    assert len(ends) == 3
    bad = bytearray(SMALL)
    bad[ends[wrong]] = 0x11

    def play(broker, client):
        broker.peer.sendall(SMALL + bad)
        assert client.drain(5)

    before, after = outcomes(tls, play)
    assert after == before
    words = "Received frame_end 0x11 while expecting 0xce"
    assert after[0] == b"body"
    assert after[1][0] == "UnexpectedFrame"
    assert words in after[1][1]


FRAMES = [at + 1 for at, byte in enumerate(SMALL) if byte == wire.FRAME_END]
CUTS = sorted({0, 3, 7, 20, *FRAMES, *(at + 4 for at in FRAMES[:-1]), len(SMALL) - 1})


@pytest.mark.parametrize("cut", CUTS)
def test_a_peer_that_goes_away_after_so_many_bytes(tls, cut):
    def play(broker, client):
        broker.peer.sendall(SMALL + SMALL[:cut])
        if tls is None:
            broker.peer.shutdown(socket.SHUT_RDWR)
        broker.peer.close()
        assert client.drain(5)

    before, after = outcomes(tls, play)
    assert after == before
    bodies = 2 if cut == len(SMALL) else 1
    assert after == [
        *[b"body"] * bodies, ("OSError", "Server unexpectedly closed connection", False)
    ]


def test_a_peer_that_resets_in_the_middle_of_a_frame(tls):
    def play(broker, client):
        broker.peer.sendall(SMALL + SMALL[:30])
        assert not client.drain(0.05)
        broker.reset()
        assert client.drain(5)

    for seen in outcomes(tls, play):
        body, (name, _, connected) = seen  # the words differ: over TLS py-amqp takes it for an end
        assert (body, name, connected) == (b"body", "OSError", False)


@pytest.mark.parametrize("steps", range(len(STEPS)))
def test_a_peer_that_goes_away_in_the_handshake(tls, steps):
    before, after = outcomes(tls, lambda broker, client: None, steps)
    assert [error[0] for error in after] == [error[0] for error in before] == ["OSError"]


@BOTH
def test_every_frame_behind_the_reply_of_an_ordinary_call_is_seen(tls, library):
    """No whole frame is in user space when a call returns: the socket says that there is more."""
    if library is theirs and tls is not None:
        pytest.skip("py-amqp leaves them in the TLS object: see docs/drop-in.md")
    count = 5
    with scripted_broker(tls) as broker:
        client = Client(library, broker, tls)
        broker.peer.sendall(REPLY + SMALL * count + SMALL[:10])
        assert client.channel.queue_declare("q", passive=True) == ("q", 1, 2)
        for number in range(count):
            assert select.select([client.connection.sock], [], [], 5)[0], f"{number} of {count}"
            client.connection.drain_events(timeout=5)
        assert client.seen == [b"body"] * count
        client.connection.collect()


def test_a_hub_that_drains_until_nothing_is_there_sees_every_frame(tls):
    """As kombu's and Celery's hubs do: wait on the socket, then drain with timeout=0.

    py-amqp never comes back here: in the middle of a frame it asks again and again for the rest.
    """
    with scripted_broker(tls) as broker:
        client = Client(ours, broker, tls)
        stream = SMALL * 3
        for start in range(0, len(stream), 40):
            broker.peer.sendall(stream[start : start + 40])
            assert select.select([client.connection.sock], [], [], 5)[0]
            assert not client.drain(0)
        assert client.seen == [b"body"] * 3
        client.connection.collect()
