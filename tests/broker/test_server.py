"""The broker with its sockets: threads, loops, TLS, signals, slow clients, other libraries."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType

import pytest

import leveret
from leveret import wire
from leveret.broker import AsyncBroker, Broker
from leveret.broker.__main__ import main
from leveret.exceptions import ConfigurationError, ConnectionClosedError, LocalProtocolError
from leveret.protocol import (
    ClientChannel,
    ClientOptions,
    Connection,
    ConnectionClosed,
    Deliveries,
    Reply,
)
from leveret.protocol.events import ChannelClosed, ConnectionBlocked, ConnectionUnblocked

DEADLINE = 10.0


class Client:
    """A client of the protocol layer on a blocking socket, with one channel."""

    def __init__(
        self, port: int, *, tls: ssl.SSLContext | None = None, small: bool = False
    ) -> None:
        raw = socket.socket()
        if small:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        raw.settimeout(DEADLINE)
        raw.connect(("127.0.0.1", port))
        self.socket: socket.socket = raw
        if tls is not None:
            self.socket = tls.wrap_socket(raw, server_hostname="localhost")
        self.protocol = Connection.client(ClientOptions(heartbeat=0))
        self.protocol.initiate(0.0)
        self.events: list[object] = []
        self.wait_for(lambda event: type(event).__name__ == "ConnectionOpened")
        self.channel: ClientChannel = self.protocol.open_channel("open")
        self.wait_for(lambda event: isinstance(event, Reply))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.socket.close()

    def flush(self) -> None:
        while data := self.protocol.data_to_send():
            self.socket.sendall(data)

    def receive(self) -> None:
        data = self.socket.recv(65536)
        if data:
            self.protocol.receive_data(data, 0.0)
        else:
            self.protocol.receive_eof(0.0)
        for event in self.protocol.events():
            self.events += event.deliveries if isinstance(event, Deliveries) else [event]

    def wait_for(self, wanted: object) -> object:
        """The first event that is `wanted`; those before it are dropped."""
        assert callable(wanted)
        end = time.monotonic() + DEADLINE
        while True:
            self.flush()
            while self.events:
                event = self.events.pop(0)
                if wanted(event):
                    return event
            assert time.monotonic() < end
            self.receive()

    def ask(self, method: wire.Method) -> wire.Method | wire.Content:
        """A request on the channel and its reply."""
        self.channel.send_request(method, "asked")
        reply = self.wait_for(lambda event: isinstance(event, Reply | ChannelClosed))
        assert isinstance(reply, Reply), reply
        return reply.reply

    def raw(self, data: bytes) -> None:
        """Bytes past the protocol."""
        self.socket.sendall(data)


def publish(body: bytes, key: str = "q", *, mandatory: bool = False, exchange: str = "") -> bytes:
    encoded = wire.encode_publish(1, exchange, key, mandatory, False, b"\0\0", body, 131072)
    return encoded if isinstance(encoded, bytes) else b"".join(encoded)


@pytest.fixture
def broker() -> Iterator[Broker]:
    with Broker() as broker:
        yield broker


# -- start and stop


def test_a_broker_in_a_thread(broker: Broker) -> None:
    assert broker.url == f"amqp://guest:guest@127.0.0.1:{broker.port}"
    with Client(broker.port) as client:
        client.ask(wire.QueueDeclare("q"))
        client.raw(publish(b"hello"))
        reply = client.ask(wire.BasicGet("q", no_ack=True))
        assert isinstance(reply, wire.Delivery)
        assert reply.body == b"hello"


async def _over_asyncio(port: int) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"AMQP\x01\x01\x08\x00")
    async with asyncio.timeout(DEADLINE):
        answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_a_handshake_sent_in_one_piece(broker: Broker) -> None:
    """A client need not wait for start, tune and open-ok where it knows what they will say."""
    handshake = wire.PROTOCOL_HEADER + b"".join(
        method.encode(0)
        for method in (
            wire.ConnectionStartOk({}, "PLAIN", b"\0guest\0guest", "en_US"),
            wire.ConnectionTuneOk(2047, 131072, 0),
            wire.ConnectionOpen("/"),
        )
    )
    with socket.create_connection(("127.0.0.1", broker.port), DEADLINE) as client:
        client.sendall(handshake + wire.ChannelOpen().encode(1))
        received = b""
        while wire.ChannelOpenOk().encode(1) not in received:
            data = client.recv(65536)
            assert data, received
            received += data
    assert wire.ConnectionOpenOk().encode(0) in received


def test_a_broker_in_the_running_loop() -> None:
    async def run() -> None:
        async with AsyncBroker() as broker:
            assert "0 connections" in repr(broker)
            assert broker.connection_count == 0
            assert await _over_asyncio(broker.port) == wire.PROTOCOL_HEADER
            with pytest.raises(LocalProtocolError, match="started already"):
                await broker.start()
        assert "stopped" in repr(broker)
        with pytest.raises(LocalProtocolError, match="not running"):
            broker.block("x")
        await broker.stop()

    asyncio.run(run())


def test_stop_says_goodbye_and_leaves_no_thread() -> None:
    others = set(threading.enumerate())
    broker = Broker()
    broker.start()
    with Client(broker.port) as client:
        stopping = threading.Thread(target=broker.stop)
        stopping.start()
        closed = client.wait_for(lambda event: isinstance(event, ConnectionClosed))
        client.flush()
        stopping.join(DEADLINE)
        assert not stopping.is_alive()
    assert isinstance(closed, ConnectionClosed)
    assert str(closed.error).endswith(
        "CONNECTION_FORCED - broker forced connection closure with reason 'shutdown'"
    )
    assert not any(
        thread.name == "leveret-broker" for thread in set(threading.enumerate()) - others
    )
    broker.stop()


def test_stop_does_not_wait_for_a_client_that_does_not_answer() -> None:
    broker = Broker()
    broker.start()
    with Client(broker.port) as client:
        client.raw(b"\x01")
        start = time.monotonic()
        broker.stop()
        assert time.monotonic() - start < DEADLINE


def test_a_stopped_broker_starts_anew() -> None:
    broker = Broker()
    for _ in range(2):
        with broker, Client(broker.port) as client:
            with pytest.raises(LocalProtocolError, match="started already"):
                broker.start()
            reply = client.ask(wire.QueueDeclare("q"))
            assert reply == wire.QueueDeclareOk("q", 0, 0)
            client.raw(publish(b"x"))
    with pytest.raises(LocalProtocolError, match="not running"):
        broker.unblock()


def test_a_broker_that_starts_anew_waits_for_its_clients_again() -> None:
    broker = Broker()
    for _ in range(2):
        with broker:
            connection = leveret.connect(broker.url)
        with pytest.raises(ConnectionClosedError, match="320"):
            connection.channel()


def test_an_address_in_use(broker: Broker) -> None:
    other = Broker(port=broker.port)
    with pytest.raises(OSError, match="in use"):
        other.start()
    other.stop()


@pytest.mark.parametrize(
    "options",
    [
        {"users": {}},
        {"virtual_hosts": ()},
        {"heartbeat": -1},
        {"channel_max": 0},
        {"frame_max": 4096},
        {"max_message_size": 0},
        {"memory_limit": -1},
        {"port": 70_000},
    ],
)
def test_options_that_cannot_be(options: dict[str, object]) -> None:
    with pytest.raises(ConfigurationError):
        Broker(**options)  # type: ignore[arg-type]


def test_urls() -> None:
    broker = Broker(port=1, users={"a@b": "p/w", "c": "d"}, virtual_hosts=("x/y", "/"))
    assert broker.url == "amqp://a%40b:p%2Fw@127.0.0.1:1/x%2Fy"
    assert broker.url_for("c", "/") == "amqp://c:d@127.0.0.1:1"
    assert Broker("::1", 1).url == "amqp://guest:guest@[::1]:1"
    assert Broker().host == "127.0.0.1"


def test_the_command(tmp_path: Path) -> None:
    for number in (signal.SIGTERM, signal.SIGINT):
        with subprocess.Popen(
            [sys.executable, "-m", "leveret.broker", "--port", "0", "--user", "me:secret"],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
        ) as process:
            assert process.stdout is not None
            assert process.stderr is not None
            url = process.stdout.readline().strip()
            assert url.startswith("amqp://me:secret@127.0.0.1:")
            port = int(url.rpartition(":")[2].rstrip("/"))
            socket.create_connection(("127.0.0.1", port), DEADLINE).close()
            process.send_signal(number)
            assert process.wait(DEADLINE) == 0
            assert process.stderr.read() == ""


def test_the_command_that_cannot_start(broker: Broker, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--port", str(broker.port)]) == 1
    assert main(["--port", "0", "--user", "nopassword"]) == 1
    assert "cannot start" in capsys.readouterr().err


# -- for tests of clients


def test_block_and_unblock(broker: Broker) -> None:
    with Client(broker.port) as client:
        client.ask(wire.QueueDeclare("q"))
        broker.block("low on patience")
        client.raw(publish(b"x"))
        blocked = client.wait_for(lambda event: isinstance(event, ConnectionBlocked))
        assert isinstance(blocked, ConnectionBlocked)
        assert blocked.reason == "low on patience"
        broker.unblock()
        client.wait_for(lambda event: isinstance(event, ConnectionUnblocked))


def test_close_and_drop_connections(broker: Broker) -> None:
    with Client(broker.port) as client:
        assert broker.connection_count == 1
        broker.close_connections("bye")
        closed = client.wait_for(lambda event: isinstance(event, ConnectionClosed))
        assert isinstance(closed, ConnectionClosed)
        assert "CONNECTION_FORCED - bye" in str(closed.error)
    with Client(broker.port) as client:
        broker.drop_connections()
        with pytest.raises((ConnectionError, AssertionError)):
            while client.socket.recv(100):
                pass
            raise ConnectionResetError


# -- slow clients


def resident() -> int:
    """Memory of the process, in bytes."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE")


def test_a_consumer_that_reads_slowly_loses_nothing(broker: Broker) -> None:
    count, body = 400, b"x" * 50_000
    with Client(broker.port) as publisher, Client(broker.port, small=True) as consumer:
        publisher.ask(wire.QueueDeclare("q"))
        consumer.ask(wire.BasicConsume("q", "t", no_ack=True))
        message = publish(body)
        for _ in range(count):
            publisher.raw(message)
        reply = publisher.ask(wire.QueueDeclare("q", passive=True))
        assert isinstance(reply, wire.QueueDeclareOk)
        assert reply.message_count > count / 2  # they wait in the queue, not in the connection
        for _ in range(count):
            consumer.wait_for(lambda event: isinstance(event, wire.Delivery))


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc/self/statm")
def test_a_publisher_that_reads_no_returns_is_held_back(broker: Broker) -> None:
    before = resident()
    message = publish(b"x" * 100_000, "nokey", mandatory=True, exchange="amq.direct")
    with Client(broker.port, small=True) as publisher:
        publisher.socket.settimeout(1.0)
        with pytest.raises(TimeoutError):
            for _ in range(1000):
                publisher.raw(message)
        with Client(broker.port) as other:
            other.ask(wire.QueueDeclare("q"))
    assert resident() - before < 60_000_000


def test_a_client_that_writes_before_it_reads_is_not_locked_out(broker: Broker) -> None:
    """A client with one thread sends for a while without reading its own deliveries."""
    count, body = 100, b"x" * 20_000
    with Client(broker.port, small=True) as client:
        client.ask(wire.QueueDeclare("q"))
        client.ask(wire.BasicConsume("q", "t", no_ack=True))
        for _ in range(count):
            client.raw(publish(body))
        for _ in range(count):
            client.wait_for(lambda event: isinstance(event, wire.Delivery))


def test_last_words_reach_a_client_that_is_still_sending(broker: Broker) -> None:
    with Client(broker.port) as client:
        client.raw(b"\x09" * 8)
        with pytest.raises(OSError):
            for _ in range(200):
                client.raw(b"x" * 100_000)
                client.socket.settimeout(0.01)
                try:
                    client.receive()
                except TimeoutError:
                    continue
                if any(isinstance(event, ConnectionClosed) for event in client.events):
                    raise OSError("closed")
        closed = [event for event in client.events if isinstance(event, ConnectionClosed)]
        assert "FRAME_ERROR" in str(closed[0].error)


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("no openssl to make a certificate with")
    folder = tmp_path_factory.mktemp("certificate")
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    words = f"req -x509 -newkey rsa:2048 -nodes -days 2 -keyout {key} -out {certificate}"
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run([openssl, *words.split(), *subject], check=True, capture_output=True)
    return certificate, key


def test_tls(certificate: tuple[Path, Path]) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    trust = ssl.create_default_context(cafile=certificate[0])
    body = b"x" * 1_000_000
    with Broker(ssl_context=context) as broker:
        assert broker.url.startswith("amqps://")
        with Client(broker.port, tls=trust) as client:
            client.ask(wire.QueueDeclare("q"))
            client.raw(publish(body))
            reply = client.ask(wire.BasicGet("q"))
            assert isinstance(reply, wire.Delivery)
            assert reply.body == body
            client.protocol.send_close(token="end")
            client.wait_for(lambda event: isinstance(event, ConnectionClosed))
        with socket.create_connection(("127.0.0.1", broker.port), DEADLINE) as plain:
            plain.sendall(wire.PROTOCOL_HEADER)
            plain.settimeout(DEADLINE)
            while plain.recv(100):
                pass


# -- other libraries


def test_pika(broker: Broker) -> None:
    pika = pytest.importorskip("pika")
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    channel = connection.channel()
    channel.confirm_delivery()
    queue = channel.queue_declare("", exclusive=True).method.queue
    for number in range(100):
        channel.basic_publish("", queue, b"%d" % number, mandatory=True)
    with pytest.raises(pika.exceptions.UnroutableError):
        channel.basic_publish("", "nosuch", b"", mandatory=True)
    got = []
    for method, _, body in channel.consume(queue, inactivity_timeout=DEADLINE):
        got.append(body)
        channel.basic_ack(method.delivery_tag)
        if len(got) == 100:
            break
    channel.cancel()
    assert got == [b"%d" % number for number in range(100)]
    assert channel.basic_get(queue) == (None, None, None)
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="no queue 'nosuch'"):
        channel.queue_declare("nosuch", passive=True)
    connection.close()


def test_py_amqp(broker: Broker) -> None:
    amqp = pytest.importorskip("amqp")
    connection = amqp.Connection(f"127.0.0.1:{broker.port}", confirm_publish=True)
    connection.connect()
    channel = connection.channel()
    channel.queue_declare("q", auto_delete=False)
    for number in range(10):
        channel.basic_publish(amqp.Message(str(number)), routing_key="q", timeout=DEADLINE)
    got: list[str] = []

    def receive(message: object) -> None:
        got.append(message.body)  # type: ignore[attr-defined]
        channel.basic_ack(message.delivery_tag)  # type: ignore[attr-defined]

    channel.basic_qos(0, 2, False)
    channel.basic_consume("q", callback=receive)
    while len(got) < 10:
        connection.drain_events(timeout=DEADLINE)
    assert got == [str(number) for number in range(10)]
    assert channel.basic_get("q") is None
    with pytest.raises(amqp.NotFound):
        channel.queue_declare("nosuch", passive=True)
    connection.close()
