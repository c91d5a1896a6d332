"""A broker's side that costs nothing: it feeds and swallows messages as fast as the socket does.

    python -m bench.peer --feed 10000,30000 --body 100     # prints its port, ends with its stdin

What is measured with it is the client's own cost, where a real broker would be the bottleneck
(bodies of 1 MiB), would take minutes (a million unacknowledged deliveries), or would spread
deliveries unevenly (many channels). It speaks as much AMQP 0-9-1 as a client needs to come to the
point, and no more: there are no queues, every queue has every message.

- A publish is thrown away, on a channel in confirm mode confirmed (as RabbitMQ does, several
  together with `multiple` where they came together).
- The n-th passive queue.declare starts the n-th feed: its deliveries go to the consumers in turn,
  one each, in pieces of `CHUNK` bytes made beforehand but for the delivery tags. A consumer with
  acks gets no more than its channel's prefetch ahead.
- One thread reads, one feeds: a client that blocks in sending acks is always read.
"""

from __future__ import annotations

import argparse
import contextlib
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

CHUNK = 256 * 1024
READ_SIZE = 1024 * 1024
FRAME_MAX = 131_072
CHANNEL_MAX = 2047
METHOD, HEADER, BODY = 1, 2, 3
FRAME = struct.Struct(">BHI")
TAG = struct.Struct(">Q")

EMPTY_TABLE = b"\0\0\0\0"


def long_string(value: bytes) -> bytes:
    return len(value).to_bytes(4, "big") + value


def short_string(value: bytes) -> bytes:
    return bytes([len(value)]) + value


def frame(kind: int, channel: int, payload: bytes) -> bytes:
    return FRAME.pack(kind, channel, len(payload)) + payload + b"\xce"


def method(channel: int, class_id: int, method_id: int, arguments: bytes = b"") -> bytes:
    return frame(METHOD, channel, struct.pack(">HH", class_id, method_id) + arguments)


def content(channel: int, properties: bytes, body: bytes, frame_max: int) -> bytes:
    """Header and body frames of a message."""
    step = frame_max - 8
    pieces = [frame(HEADER, channel, struct.pack(">HHQ", 60, 0, len(body)) + properties)]
    pieces += [
        frame(BODY, channel, body[start : start + step]) for start in range(0, len(body), step)
    ]
    return b"".join(pieces)


def _capabilities() -> bytes:
    names = (b"publisher_confirms", b"basic.nack", b"consumer_cancel_notify", b"per_consumer_qos")
    capabilities = b"".join(short_string(name) + b"t\1" for name in names)
    product = short_string(b"product") + b"S" + long_string(b"bench.peer")
    return long_string(product + short_string(b"capabilities") + b"F" + long_string(capabilities))


START = method(
    0, 10, 10, b"\0\x09" + _capabilities() + long_string(b"PLAIN") + long_string(b"en_US")
)
TUNE = method(0, 10, 30, struct.pack(">HIH", CHANNEL_MAX, FRAME_MAX, 0))


@dataclass(slots=True)
class Channel:
    """What is remembered of a channel."""

    number: int
    confirms: bool = False
    prefetch: int = 0
    published: int = 0  # publishes that have come whole
    confirmed: int = 0
    body_left: int = 0
    acked: int = 0  # the highest tag acked
    settled: int = 0  # how many


@dataclass(frozen=True, slots=True)
class Consumer:
    channel: Channel
    tag: bytes
    no_ack: bool


@dataclass(slots=True)
class Round:
    """One delivery to each consumer, encoded.

    Attributes:
        data: the bytes, with a delivery tag of 0.
        tags: where the tags are.
        ends: where each message ends.
    """

    data: bytearray = field(default_factory=bytearray)
    tags: list[int] = field(default_factory=list)
    ends: list[int] = field(default_factory=list)

    def add(self, consumer: Consumer, body: bytes, frame_max: int) -> None:
        start = short_string(consumer.tag)
        routing = b"\0" + short_string(b"") + short_string(b"bench")
        number = consumer.channel.number
        self.tags.append(len(self.data) + FRAME.size + 4 + len(start))
        self.data += method(number, 60, 60, start + bytes(TAG.size) + routing)
        self.data += content(number, b"\0\0", body, frame_max)
        self.ends.append(len(self.data))


class Session:
    """One client's connection."""

    def __init__(self, sock: socket.socket, feeds: Sequence[int], body: bytes) -> None:
        self._socket = sock
        self._feeds = list(feeds)
        self._body = body
        self._channels: dict[int, Channel] = {}
        self._consumers: dict[bytes, Consumer] = {}
        self._frame_max = FRAME_MAX
        self._fed = 0  # rounds, over all feeds
        self._write = threading.Lock()
        self._settled = threading.Condition()
        self._feeder: threading.Thread | None = None
        self._ended = False
        self._methods: dict[tuple[int, int], Callable[[Channel, bytes], None]] = {
            (10, 11): lambda channel, _: self._send(TUNE),
            (10, 31): self._tune_ok,
            (10, 40): self._replies(10, 41, b"\0"),
            (10, 50): self._close,
            (20, 10): self._replies(20, 11, EMPTY_TABLE),
            (20, 40): self._close_channel,
            (40, 10): self._replies(40, 11),
            (40, 20): self._replies(40, 21),
            (50, 10): self._declare,
            (50, 20): self._replies(50, 21),
            (60, 10): self._qos,
            (60, 20): self._consume,
            (60, 30): self._cancel,
            (60, 40): lambda channel, _: None,
            (60, 80): self._ack,
            (60, 90): self._reject,
            (60, 120): self._ack,
            (85, 10): self._select,
        }

    def serve(self) -> None:
        """Until the client closes, or is gone."""
        try:
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                if self._receive_exactly(8) == b"AMQP\0\0\x09\x01":
                    self._send(START)
                    self._read()
        finally:
            with self._settled:
                self._ended = True
                self._settled.notify()
            self._socket.close()

    def _receive_exactly(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (piece := self._socket.recv(size - len(data))):
            data += piece
        return data

    def _send(self, data: bytes | bytearray | memoryview) -> None:
        with self._write:
            self._socket.sendall(data)

    # -- reading ---------------------------------------------------------------------------

    def _read(self) -> None:
        """Frames, until connection.close: bodies are passed over, not kept."""
        buffer = bytearray(READ_SIZE)
        view = memoryview(buffer)
        have = skip = 0
        passing = (0, 0)  # channel and size of the body frame whose rest is to be skipped
        while not self._ended:
            count = self._socket.recv_into(view[have:])
            if not count:
                return
            have += count
            position = min(skip, have)
            skip -= position
            if position and not skip:
                self._take_body(*passing)
            while have - position >= FRAME.size and not self._ended:
                kind, number, size = FRAME.unpack_from(buffer, position)
                end = position + FRAME.size + size + 1
                if end <= have and kind == BODY:
                    self._take_body(number, size)
                elif end <= have:
                    self._take(kind, number, bytes(view[position + FRAME.size : end - 1]))
                elif kind == BODY:
                    passing, skip = (number, size), end - have
                else:
                    break  # come back when it is whole
                position = min(end, have)
            buffer[: have - position] = buffer[position:have]
            have -= position
            self._confirm()

    def _take(self, kind: int, number: int, payload: bytes) -> None:
        channel = self._channels.get(number)
        if channel is None:
            channel = self._channels[number] = Channel(number)
        if kind == METHOD:
            self._methods[struct.unpack_from(">HH", payload)](channel, payload[4:])
        elif kind == HEADER:
            channel.body_left = TAG.unpack_from(payload, 4)[0]
            channel.published += not channel.body_left

    def _take_body(self, number: int, size: int) -> None:
        channel = self._channels[number]
        channel.body_left -= size
        channel.published += not channel.body_left

    def _confirm(self) -> None:
        """Confirm what has come, with one frame a channel."""
        acks = b""
        for channel in self._channels.values():
            count = channel.published - channel.confirmed
            if channel.confirms and count:
                channel.confirmed = channel.published
                multiple = b"\1" if count > 1 else b"\0"
                acks += method(channel.number, 60, 80, TAG.pack(channel.published) + multiple)
        if acks:
            self._send(acks)

    # -- methods ---------------------------------------------------------------------------

    def _replies(
        self, class_id: int, method_id: int, arguments: bytes = b""
    ) -> Callable[[Channel, bytes], None]:
        def reply(channel: Channel, _: bytes) -> None:
            self._send(method(channel.number, class_id, method_id, arguments))

        return reply

    def _tune_ok(self, channel: Channel, arguments: bytes) -> None:
        self._frame_max = struct.unpack_from(">I", arguments, 2)[0] or FRAME_MAX

    def _close(self, channel: Channel, _: bytes) -> None:
        self._send(method(0, 10, 51))
        self._ended = True

    def _close_channel(self, channel: Channel, _: bytes) -> None:
        self._send(method(channel.number, 20, 41))
        del self._channels[channel.number]

    def _declare(self, channel: Channel, arguments: bytes) -> None:
        name, rest = _short_string(arguments[2:])
        passive = rest[0] & 1
        self._send(method(channel.number, 50, 11, short_string(name) + bytes(8)))
        if passive and self._feeds:
            self._start_feeding(self._feeds.pop(0))

    def _qos(self, channel: Channel, arguments: bytes) -> None:
        channel.prefetch = struct.unpack_from(">H", arguments, 4)[0]
        self._send(method(channel.number, 60, 11))

    def _consume(self, channel: Channel, arguments: bytes) -> None:
        _, rest = _short_string(arguments[2:])
        tag, rest = _short_string(rest)
        tag = tag or b"peer-%d" % len(self._consumers)
        self._consumers[tag] = Consumer(channel, tag, bool(rest[0] & 2))
        self._send(method(channel.number, 60, 21, short_string(tag)))

    def _cancel(self, channel: Channel, arguments: bytes) -> None:
        tag, _ = _short_string(arguments)
        self._consumers.pop(tag, None)
        self._send(method(channel.number, 60, 31, short_string(tag)))

    def _select(self, channel: Channel, _: bytes) -> None:
        channel.confirms = True
        self._send(method(channel.number, 85, 11))

    def _ack(self, channel: Channel, arguments: bytes) -> None:
        tag = TAG.unpack_from(arguments)[0]
        count = tag - channel.acked if arguments[8] & 1 else 1
        channel.acked = max(channel.acked, tag)
        self._settle(channel, count)

    def _reject(self, channel: Channel, _: bytes) -> None:
        self._settle(channel, 1)

    def _settle(self, channel: Channel, count: int) -> None:
        channel.settled += count
        if channel.prefetch:
            with self._settled:
                self._settled.notify()

    # -- feeding ---------------------------------------------------------------------------

    def _start_feeding(self, messages: int) -> None:
        if self._feeder is not None:
            self._feeder.join()
        self._feeder = threading.Thread(target=self._feed, args=(messages,), daemon=True)
        self._feeder.start()

    def _feed(self, messages: int) -> None:
        """Deliver so many messages to the consumers in turn; the last round may be a part."""
        consumers = list(self._consumers.values())
        one = Round()
        for consumer in consumers:
            one.add(consumer, self._body, self._frame_max)
        size = len(one.data)
        window = min(
            (
                each.channel.prefetch
                for each in consumers
                if each.channel.prefetch and not each.no_ack
            ),
            default=0,
        )
        at_once = max(1, CHUNK // size)
        chunk = one.data * min(at_once, -(-messages // len(consumers)))
        view = memoryview(chunk)
        first = consumers[0].channel
        with contextlib.suppress(OSError):
            while messages and not self._ended:
                room = self._room(first, window, at_once)
                rounds, part = divmod(min(messages, room * len(consumers)), len(consumers))
                for number in range(rounds + bool(part)):
                    self._fed += 1
                    for place in one.tags:
                        TAG.pack_into(chunk, number * size + place, self._fed)
                self._send(view[: rounds * size + (one.ends[part - 1] if part else 0)])
                messages -= rounds * len(consumers) + part

    def _room(self, first: Channel, window: int, at_once: int) -> int:
        """How many rounds may go now: consumers are alike, so the first one's prefetch decides."""
        if not window:
            return at_once
        with self._settled:
            self._settled.wait_for(lambda: self._fed - first.settled < window or self._ended)
            return min(at_once, max(1, window - (self._fed - first.settled)))


def _short_string(data: bytes) -> tuple[bytes, bytes]:
    """The string at the start, and what is behind it."""
    end = 1 + data[0]
    return data[1:end], data[end:]


@contextlib.contextmanager
def listening(feeds: Sequence[int], body: int) -> Iterator[int]:
    """Serve in threads of this process; gives the port."""
    with socket.create_server(("127.0.0.1", 0)) as listener:

        def accept() -> None:
            with contextlib.suppress(OSError):
                while True:
                    session = Session(listener.accept()[0], feeds, b"x" * body)
                    threading.Thread(target=session.serve, daemon=True).start()

        thread = threading.Thread(target=accept, daemon=True)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            with contextlib.suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)  # ends the accept
            thread.join(5)


@contextlib.contextmanager
def running(feeds: Sequence[int], body: int) -> Iterator[int]:
    """Serve in a process of its own; gives the port."""
    command = [sys.executable, "-m", "bench.peer", "--body", str(body)]
    process = subprocess.Popen(
        [*command, "--feed", ",".join(map(str, feeds))],
        cwd=Path(__file__).resolve().parent.parent,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:  # at the end its stdin is closed, and it is waited for
        assert process.stdout is not None
        yield int(process.stdout.readline())


def main() -> None:
    parser = argparse.ArgumentParser(description="A broker's side that costs nothing.")
    parser.add_argument("--feed", default="", help="deliveries of each feed, with commas")
    parser.add_argument("--body", type=int, default=100, help="size in bytes")
    options = parser.parse_args()
    feeds = [int(each) for each in options.feed.split(",") if each]
    with listening(feeds, options.body) as port:
        print(port, flush=True)
        sys.stdin.read()


if __name__ == "__main__":
    main()
