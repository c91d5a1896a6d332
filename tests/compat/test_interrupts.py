"""Signal handlers that raise, or send, in the middle of the drop-in's own sending."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import struct
from pathlib import Path

import pytest
from tests.support.scripted import CONSUMER, scripted_broker
from tests.support.signals import handling, interrupted
from tests.support.threads import start

import leveret
from leveret import wire
from leveret.compat import amqp
from leveret.compat.amqp.method_framing import FrameWriter
from leveret.compat.amqp.tls import TLSSocket

pytestmark = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers here")

INTERRUPTS = 200
SECONDS = 10.0
BODY = b"abcdefgh"
FOLDER = str(Path(leveret.__file__).parent)  # whose places are looked at


class Interrupt(Exception):
    """What the signal handler raises."""


def interrupt(*_):
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise Interrupt


class Sink:
    """A transport, and the connection that it belongs to.

    Attributes:
        on_write: called where something is written.
    """

    def __init__(self):
        self.bytes_sent = 0
        self.on_write = None

    def write(self, data):
        if self.on_write is not None:
            self.on_write()


@pytest.fixture(params=["frames", "tls"])
def send(request):
    """Sends under a lock."""
    if request.param == "frames":
        sink = Sink()
        writer = FrameWriter(sink, sink)
        yield lambda: writer.send(wire.HEARTBEAT_FRAME)
        return
    with socket.socket() as plain:
        tls = TLSSocket(plain, ssl.create_default_context(), server_hostname="localhost")
        yield lambda: tls.write(b"")


def test_an_interrupt_leaves_no_lock_locked(send):
    with handling(signal.SIGALRM, interrupt):
        for _ in range(INTERRUPTS):
            with pytest.raises(Interrupt):
                signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.05)  # 3.11 overlooks some
                while True:
                    send()
    start(send).result()


def test_a_handler_that_sends_in_the_middle_of_a_send():
    """It would wait for itself, or its frames would lie within those of another."""
    sink = Sink()
    writer = FrameWriter(sink, sink)
    sink.on_write = lambda: writer.send(wire.HEARTBEAT_FRAME)
    with pytest.raises(RuntimeError, match="in the middle of"):
        writer.send(wire.HEARTBEAT_FRAME)
    sink.on_write = None
    writer.send(wire.HEARTBEAT_FRAME)
    assert sink.bytes_sent == 1


def deliver(tag, in_parts):
    """A delivery's bytes; in parts, its frames have others between them."""
    properties = wire.Properties(type="x").encode()
    body = BODY if in_parts else b""
    whole = wire.encode_deliver(1, CONSUMER, tag, False, "", "q", properties, body, 0)
    if not in_parts:
        return whole
    begun = bytes(whole)[: -len(BODY) - wire.FRAME_OVERHEAD]
    frames = [struct.pack(">BHI4sB", 3, 1, 4, BODY[at : at + 4], wire.FRAME_END) for at in (0, 4)]
    return wire.HEARTBEAT_FRAME.join([begun, *frames])


@pytest.mark.parametrize("in_parts", [False, True], ids=["whole", "in parts"])
@pytest.mark.parametrize("kind", [Interrupt, KeyboardInterrupt, TimeoutError])
def test_a_delivery_is_handed_out_once_wherever_an_interrupt_comes(kind, in_parts):
    with scripted_broker() as broker:
        connection = amqp.Connection(broker.address, login_method="PLAIN", connect_timeout=SECONDS)
        connection.connect()
        got, sent = [], []
        connection.channel().basic_consume("q", CONSUMER, callback=got.append)

        def drain():
            while len(got) < len(sent):
                connection.drain_events(timeout=SECONDS)

        number, came = -1, True
        while came:
            number += 1
            tags = range(len(sent) + 1, len(sent) + 4)
            sent += tags
            for tag in tags:
                broker.peer.sendall(deliver(tag, in_parts))
            came = interrupted(number, kind, drain, FOLDER)
            drain()
            assert [message.delivery_tag for message in got] == sent
            assert {bytes(message.body or b"") for message in got} == {BODY if in_parts else b""}
        assert number > 50
        connection.collect()


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_an_interrupted_send_ends_the_connection(tls, request):
    """What would be sent after half a frame would be taken for the other half."""
    certificates = request.getfixturevalue("certificates") if tls else None
    with scripted_broker(certificates) as broker:
        connection = amqp.Connection(
            broker.address,
            ssl={"ca_certs": str(certificates / "ca.pem")} if tls else False,
            login_method="PLAIN",
            connect_timeout=SECONDS,
        )
        connection.connect()
        channel = connection.channel()
        channel.basic_consume("q", "tag", callback=print)
        peer = broker.peer

        def interrupt_half_sent():
            peer.recv(1)  # and no more
            os.kill(os.getpid(), signal.SIGALRM)

        interrupting = start(interrupt_half_sent)
        with handling(signal.SIGALRM, interrupt), pytest.raises(Interrupt):
            channel.basic_publish(amqp.Message(bytes(1 << 25)), routing_key="q")
        interrupting.result()
        assert not connection.connected
        for _ in range(2):
            with pytest.raises(OSError, match="Socket closed"):
                channel.basic_publish(amqp.Message(b"x"), routing_key="q")
        with pytest.raises(OSError, match="Socket closed"):
            connection.close()
        received = 0
        peer.settimeout(SECONDS)
        try:
            while part := peer.recv(1 << 20):
                received += len(part)
        except (ConnectionError, ssl.SSLError):
            pass  # TLS ends without a farewell
        assert received < 1 << 25
