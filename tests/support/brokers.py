"""The brokers that the tests run on, all with one face.

RabbitMQ servers are found, not started: `tools/rabbitmq status --json` says where they are. A run
works in a virtual host of its own, which is deleted at its end: so nothing is left behind, and
an operator's command can mean the connections of this run alone. Only an alarm and a restart are
the node's: they come while no other run has a test under way (`sharing`).
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import ssl
import subprocess
import sys
import uuid
from abc import ABC, abstractmethod
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import quote, urlencode

import leveret.broker

__all__ = ["BROKERS", "BrokerUnderTest", "Missing", "find"]

ROOT = Path(__file__).resolve().parents[2]
TOOL = ROOT / "tools" / "rabbitmq"
COMMAND_SECONDS = 60.0

BROKERS = ("rabbitmq-3", "rabbitmq-4", "embedded")
WATERMARKS = {"3": "0.4", "4": "0.6"}  # RabbitMQ's defaults of vm_memory_high_watermark


class Missing(Exception):
    """A broker that is not there; the message says why."""


class BrokerUnderTest(ABC):
    """A broker, and what a test may do to it.

    Attributes:
        name: one of `BROKERS`.
        version: as the broker says it.
        vhost: the virtual host of this run; its name has a character that URLs must encode.
        certificates: the folder with the certificates of `tools/rabbitmq certs`.
        has_permissions: whether users may be kept from doing things.
    """

    name: str
    version: str
    certificates: Path
    has_permissions = True

    def __init__(self) -> None:
        self.vhost = f"leveret/{uuid.uuid4().hex[:8]}"

    def __repr__(self) -> str:
        return f"<{self.name} {self.version}>"

    @abstractmethod
    def address(self, *, tls: bool = False, ipv6: bool = False) -> tuple[str, int]:
        """Host and port; the certificate is right for the host."""

    @abstractmethod
    def block(self) -> None:
        """Have the broker take no publishes."""

    @abstractmethod
    def unblock(self) -> None:
        """The end of `block`."""

    @abstractmethod
    def close_connections(self, reason: str) -> None:
        """Close every connection of this run, as an operator does."""

    def restart(self) -> None:
        """Stop taking connections, end those that are open, and come back."""
        raise NotImplementedError(f"{self.name} has nothing to come back with")

    def sharing(self) -> contextlib.AbstractContextManager[None]:
        """For the time of a test: other runs do nothing meanwhile that it would notice."""
        return contextlib.nullcontext()

    @abstractmethod
    def start(self) -> None:
        """Make ready for a run."""

    @abstractmethod
    def stop(self) -> None:
        """Remove what the run has left."""

    @property
    def url(self) -> str:
        """Where guest connects to."""
        return self.url_for()

    def url_for(
        self,
        user: str = "guest",
        password: str = "guest",
        *,
        vhost: str | None = None,
        tls: bool = False,
        ipv6: bool = False,
        **query: object,
    ) -> str:
        """A URL; the query is encoded."""
        host, port = self.address(tls=tls, ipv6=ipv6)
        host = f"[{host}]" if ":" in host else host
        vhost = self.vhost if vhost is None else vhost
        url = f"{'amqps' if tls else 'amqp'}://{quote(user, safe='')}:{quote(password, safe='')}"
        url += f"@{host}:{port}/{quote(vhost, safe='')}"
        return f"{url}?{urlencode(query)}" if query else url


def _run(*command: str) -> str:
    done = subprocess.run(
        [sys.executable, str(TOOL), *command],
        capture_output=True,
        text=True,
        timeout=COMMAND_SECONDS,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"tools/rabbitmq {' '.join(command)}: {done.stdout}{done.stderr}")
    return done.stdout


class RabbitMQ(BrokerUnderTest):
    """A server that `tools/rabbitmq start` has started."""

    def __init__(self, number: str) -> None:
        super().__init__()
        self.name = f"rabbitmq-{number}"
        self._number = number
        facts = json.loads(_run("status", "--json"))[number]
        if not facts["running"]:
            raise Missing(facts["reason"] or f"start it with: tools/rabbitmq start {number}")
        self.version = facts["version"]
        self.certificates = Path(facts["certs"])
        self._ports = {
            tls: int(facts[key].rstrip("/").rpartition(":")[2])
            for tls, key in ((False, "url"), (True, "tls_url"))
        }

    def _ctl(self, *arguments: str) -> str:
        return _run("ctl", self._number, "--", *arguments)

    def address(self, *, tls: bool = False, ipv6: bool = False) -> tuple[str, int]:
        return "::1" if ipv6 else "127.0.0.1", self._ports[tls]

    def start(self) -> None:
        self._lock = (ROOT / ".rabbitmq" / f"tests-{self._number}.lock").open("w")
        self._ctl("add_vhost", self.vhost)
        grants = [("guest", ".*"), ("leveret-client", ".*"), ("limited", "^$")]
        with ThreadPoolExecutor() as pool:
            list(pool.map(lambda grant: self._grant(*grant), grants))

    def _grant(self, user: str, names: str) -> None:
        self._ctl("set_permissions", "-p", self.vhost, user, names, names, names)

    def stop(self) -> None:
        self._ctl("delete_vhost", self.vhost)
        self._lock.close()

    @contextlib.contextmanager
    def sharing(self) -> Iterator[None]:
        fcntl.flock(self._lock, fcntl.LOCK_SH)
        try:
            yield
        finally:
            fcntl.flock(self._lock, fcntl.LOCK_UN)

    def _alone(self) -> None:
        """Until the end of `sharing`: no other run has a test under way on this node."""
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def restart(self) -> None:
        self._alone()
        self._ctl("stop_app")
        self._ctl("start_app")

    def block(self) -> None:
        self._alone()
        self._ctl("set_vm_memory_high_watermark", "0.0000001")

    def unblock(self) -> None:
        self._ctl("set_vm_memory_high_watermark", WATERMARKS[self._number])

    def close_connections(self, reason: str) -> None:
        self._ctl("close_all_connections", "-p", self.vhost, reason)


class Embedded(BrokerUnderTest):
    """Leveret's own broker, a listener for each kind of address, all started at first use."""

    name = "embedded"
    has_permissions = False

    def __init__(self) -> None:
        super().__init__()
        self.version = leveret.__version__
        self.certificates = ROOT / ".rabbitmq" / "certs"
        self._brokers: dict[tuple[bool, bool], leveret.broker.Broker] = {}

    def start(self) -> None:
        pass  # a listener starts when its address is asked for

    def _broker(self, tls: bool, ipv6: bool) -> leveret.broker.Broker:
        if (tls, ipv6) not in self._brokers:
            context = None
            if tls:
                _run("certs", str(self.certificates))
                context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
                context.load_cert_chain(
                    self.certificates / "server.pem", self.certificates / "server.key"
                )
            broker = leveret.broker.Broker(
                "::1" if ipv6 else "127.0.0.1",
                users={"guest": "guest", "limited": "limited"},
                virtual_hosts=(self.vhost, "/"),
                ssl_context=context,
            )
            broker.start()
            self._brokers[tls, ipv6] = broker
        return self._brokers[tls, ipv6]

    def address(self, *, tls: bool = False, ipv6: bool = False) -> tuple[str, int]:
        broker = self._broker(tls, ipv6)
        return broker.host, broker.port

    def stop(self) -> None:
        for broker in self._brokers.values():
            broker.stop()

    def block(self) -> None:
        self._broker(False, False).block()

    def unblock(self) -> None:
        self._broker(False, False).unblock()

    def close_connections(self, reason: str) -> None:
        self._broker(False, False).close_connections(reason)


def find(name: str) -> BrokerUnderTest:
    """The broker of that name, not started.

    Raises:
        Missing: it is not there.
    """
    if name == "embedded":
        return Embedded()
    try:
        return RabbitMQ(name.removeprefix("rabbitmq-"))
    except (OSError, RuntimeError, ValueError) as error:
        raise Missing(str(error).strip() or repr(error)) from error


def required() -> bool:
    """Whether a missing server is a failure (LEVERET_REQUIRE_RABBITMQ=1, as in CI)."""
    return os.environ.get("LEVERET_REQUIRE_RABBITMQ", "") not in ("", "0")
