"""A bare socket: the same bytes as a client's, moved through bench/peer.py and nothing else.

It is what a client of large bodies is held against. Nothing is decoded, nothing is kept: a publish
is one `sendall` of bytes made beforehand, a delivery goes into a buffer that is used again.
"""

from __future__ import annotations

import platform
import socket
import struct

from bench import peer
from bench.address import Address
from bench.broker import frames
from bench.clients.driver import BlockingClient, run

READ_SIZE = 1024 * 1024


class Client(BlockingClient):
    def open(self) -> None:
        address = Address.parse(self.task.url)
        self.socket = socket.create_connection((address.host, address.port))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.buffer = bytearray(READ_SIZE)
        self.socket.sendall(b"AMQP\0\0\x09\x01")
        self._skip_reply()
        self._call(0, 10, 11, peer.EMPTY_TABLE + peer.short_string(b"PLAIN") + bytes(5))
        self.socket.sendall(peer.method(0, 10, 31, struct.pack(">HIH", 0, peer.FRAME_MAX, 0)))
        self._call(0, 10, 40, peer.short_string(b"/") + b"\0\0")
        self._call(1, 20, 10, b"\0")

    def declare(self) -> None:
        queue = peer.short_string(self.task.queue.encode())
        self._call(1, 50, 10, b"\0\0" + queue + b"\1" + peer.EMPTY_TABLE)

    def publish(self) -> None:
        message = frames(1, self.task.exchange, self.task.body)
        for _ in range(self.task.messages):
            self.socket.sendall(message)

    def confirm(self) -> None:
        raise NotImplementedError("it knows no confirms")

    def subscribe(self) -> None:
        tag = peer.short_string(b"bare")
        self._call(1, 60, 20, b"\0\0\0" + tag + b"\2" + peer.EMPTY_TABLE)
        consumer = peer.Consumer(peer.Channel(1), b"bare", no_ack=True)
        delivery = peer.Round()
        delivery.add(consumer, self.task.body, peer.FRAME_MAX)
        self.size = len(delivery.data)

    def take(self, messages: int) -> None:
        left = messages * self.size
        receive, buffer = self.socket.recv_into, self.buffer
        while left:
            left -= receive(buffer, min(left, READ_SIZE))

    def close(self) -> None:
        self.socket.close()

    def version(self) -> str:
        return platform.python_version()

    def _call(self, channel: int, class_id: int, method_id: int, arguments: bytes) -> None:
        self.socket.sendall(peer.method(channel, class_id, method_id, arguments))
        self._skip_reply()

    def _skip_reply(self) -> None:
        """Read exactly one frame."""
        head = self.socket.recv(peer.FRAME.size, socket.MSG_WAITALL)
        self.socket.recv(peer.FRAME.unpack(head)[2] + 1, socket.MSG_WAITALL)


if __name__ == "__main__":
    run(Client)
