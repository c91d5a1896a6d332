"""Not a client: the system calls that py-amqp's habits ask for, and next to nothing else.

What py-amqp promises (a publish or an ack has left when the call returns) costs a send each, and
a confirm that is waited for costs a receive that sleeps. Here these are made with frames that are
ready, and what comes is counted, not decoded: what it costs is the kernel's, and no client with
these habits can cost less. py-amqp shakes hands and declares.
"""

from __future__ import annotations

import struct

from bench.clients import py_amqp
from bench.clients.driver import run

ACK_SIZE = 21  # bytes of a basic.ack
CHUNK = 65536


class Client(py_amqp.Client):
    detail = "frames made beforehand"

    def publish(self) -> None:
        send, frame = self.connection.sock.sendall, self._publish()
        for _ in range(self.task.messages):
            send(frame)

    def confirm(self) -> None:
        sock, frame = self.connection.sock, self._publish()
        for _ in range(self.task.messages):
            sock.sendall(frame)
            left = ACK_SIZE
            while left:
                left -= len(sock.recv(left))

    def subscribe(self) -> None:
        no_ack = not self.task.job.ack
        self.tag = self.channel.basic_consume(self.task.queue, no_ack=no_ack, callback=print)

    def take(self, messages: int) -> None:
        size = 8 + 4 + 1 + len(self.tag) + 9 + 1 + 1 + len(self.task.queue)  # basic.deliver
        size += 8 + 14  # no properties
        size += 8 + len(self.task.body)
        sock, have, tag = self.connection.sock, 0, 0
        while tag < messages:
            have += len(sock.recv(CHUNK))
            while have >= size:
                have -= size
                tag += 1
                sock.sendall(struct.pack(">BHIIQBB", 1, 1, 13, 60 << 16 | 80, tag, 0, 0xCE))

    def roundtrip(self) -> None:
        name = self.task.queue.encode()
        method = struct.pack(">IHB", 50 << 16 | 10, 0, len(name)) + name + b"\1\0\0\0\0"
        frame = struct.pack(">BHI", 1, 1, len(method)) + method + b"\xce"
        reply = 8 + 4 + 1 + len(name) + 8
        sock = self.connection.sock
        for _ in range(self.task.messages):
            sock.sendall(frame)
            left = reply
            while left:
                left -= len(sock.recv(left))

    def _publish(self) -> bytes:
        """The frames of a publish."""
        exchange = self.task.exchange.encode()
        method = struct.pack(">IHB", 60 << 16 | 40, 0, len(exchange)) + exchange + b"\0\0"
        header = struct.pack(">IQH", 60 << 16, len(self.task.body), 0)
        payloads = [(1, method), (2, header), (3, self.task.body)]
        return b"".join(
            struct.pack(">BHI", kind, 1, len(payload)) + payload + b"\xce"
            for kind, payload in payloads
        )


if __name__ == "__main__":
    run(Client)
