"""Where things lie, and which ports are whose.

All state of a clone is under `<repository>/.rabbitmq/`, which git ignores; removing that folder
after `stop` forgets everything but the cached chroots.
"""

from __future__ import annotations

import json
import os
import secrets
import socket
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from debian.running import Failed

HOME = Path(__file__).resolve().parents[2] / ".rabbitmq"
CERTIFICATES = HOME / "certs"

# One block of ports a server. The preferred base can be set per server by
# LEVERET_RABBITMQ_PORT_BASE_3 and _4.
SERVERS = ("3", "4")
PORT_BASES = {"3": 35670, "4": 45670}
BLOCK_STEP = 100
BLOCKS_TRIED = 40
CTL_PORTS = 10


@dataclass(frozen=True, slots=True)
class Ports:
    """The ports of one node, all on loopback."""

    amqp: int
    tls: int
    dist: int
    epmd: int
    ctl: int  # the first of CTL_PORTS ports that rabbitmqctl may listen on

    @classmethod
    def block(cls, base: int) -> Ports:
        return cls(amqp=base + 2, tls=base + 1, dist=base + 5, epmd=base + 6, ctl=base + 10)

    def free(self) -> bool:
        return all(port_is_free(port) for port in (self.amqp, self.tls, self.dist, self.epmd))


def server_home(number: str) -> Path:
    return HOME / number


def has_ipv6_loopback() -> bool:
    try:
        with socket.socket(socket.AF_INET6, socket.SOCK_STREAM) as probe:
            probe.bind(("::1", 0))
    except OSError:
        return False
    return True


def port_is_free(port: int) -> bool:
    families = [(socket.AF_INET, "127.0.0.1")]
    if has_ipv6_loopback():
        families.append((socket.AF_INET6, "::1"))
    for family, address in families:
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            # As the server does: a port with connections in TIME_WAIT is free.
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((address, port))
            except OSError:
                return False
    return True


def preferred_base(number: str) -> int:
    name = f"LEVERET_RABBITMQ_PORT_BASE_{number}"
    text = os.environ.get(name, "")
    if not text:
        return PORT_BASES[number]
    if not text.isdecimal() or not 1024 <= int(text) <= 65000:
        raise Failed(f"{name}={text!r} is not a port number between 1024 and 65000")
    return int(text)


def recorded_ports(number: str) -> Ports | None:
    """The ports that this server was last started on, or None."""
    try:
        recorded = json.loads((server_home(number) / "ports.json").read_text())
        return Ports(**recorded)
    except (FileNotFoundError, ValueError, TypeError):
        return None


def choose_ports(number: str) -> Ports:
    """Pick the recorded block if it is free, else the preferred one, else the next free one.

    The choice is written down, and is what `recorded_ports` answers from then on.
    """
    base = preferred_base(number)
    candidates = [Ports.block(base + BLOCK_STEP * step) for step in range(BLOCKS_TRIED)]
    candidates = [ports for ports in candidates if ports.ctl + CTL_PORTS < 65536]
    recorded = recorded_ports(number)
    if recorded is not None and recorded in candidates:
        # A restart shall keep its ports: give what still holds one a moment to let go.
        deadline = time.monotonic() + 3.0
        while not recorded.free() and time.monotonic() < deadline:
            time.sleep(0.1)
        candidates.insert(0, recorded)
    for ports in candidates:
        if ports.free():
            home = server_home(number)
            home.mkdir(parents=True, exist_ok=True)
            write_atomically(home / "ports.json", json.dumps(asdict(ports)) + "\n")
            return ports
    raise Failed(f"no free block of ports from {base} on for RabbitMQ {number}")


def write_atomically(path: Path, text: str, mode: int = 0o644) -> None:
    partial = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
    partial.write_text(text)
    partial.chmod(mode)
    partial.replace(path)
