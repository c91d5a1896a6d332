"""One node: its configuration, its start, its end.

The configuration is the server's default, with these exceptions: loopback only, TLS with the
certificates of the tests, EXTERNAL offered to a client that has one, and a few users:

================  ==========================  =================================================
user              password                    permissions
================  ==========================  =================================================
guest             guest                       all, on `/` and on `leveret-test`
leveret-client    none; by certificate        all, on `/` and on `leveret-test`
limited           limited                     `/` refused; `leveret-test` opens, nothing allowed
================  ==========================  =================================================
"""

from __future__ import annotations

import json
import os
import resource
import secrets
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from debian.running import Failed

from . import handshake
from .certificates import CLIENT_USER
from .roots import Root
from .state import (
    CERTIFICATES,
    CTL_PORTS,
    Ports,
    choose_ports,
    has_ipv6_loopback,
    recorded_ports,
    server_home,
    write_atomically,
)

MARKER = "LEVERET_RABBITMQ_NODE"  # in the environment of every process of a node
ROLE = "LEVERET_RABBITMQ_ROLE"
VHOST = "leveret-test"
START_TIMEOUT = 90.0
STOP_TIMEOUT = 20.0
OPEN_FILES = 65536

# Two schedulers and no busy waiting: idle nodes must not take CPU from what is being tested.
SERVER_ARGUMENTS = (
    "+S 2:2 +SDcpu 2:2 +sbwt none +sbwtdcpu none +sbwtdio none "
    "-kernel inet_dist_use_interface {127,0,0,1}"
)


class Node:
    """A server's node in this clone. Holds no state: all of it is on disk and in /proc."""

    def __init__(self, number: str) -> None:
        self.number = number
        self.home = server_home(number)

    @property
    def name(self) -> str:
        return f"leveret{self.number}@localhost"

    @property
    def ports(self) -> Ports | None:
        return recorded_ports(self.number)

    def url(self) -> str | None:
        return f"amqp://guest:guest@127.0.0.1:{self.ports.amqp}" if self.ports else None

    def tls_url(self) -> str | None:
        return f"amqps://guest:guest@127.0.0.1:{self.ports.tls}" if self.ports else None

    def processes(self) -> list[int]:
        """The process ids of everything that belongs to the node, epmd and helpers included."""
        return [pid for pid, _ in self._marked()]

    def is_alive(self) -> bool:
        """Whether its Erlang machine runs, whatever it may be doing."""
        return bool(self._machines())

    def is_running(self) -> bool:
        """Whether AMQP answers."""
        ports = self.ports
        return ports is not None and self.is_alive() and handshake.answers(ports.amqp, VHOST)

    # -- start

    def start(self, root: Root, timeout: float = START_TIMEOUT) -> bool:
        """Start the node and wait until AMQP answers; False if it already did.

        A node that is alive but does not answer in time is replaced. If another program took a
        port between our look and the node's, the next block of ports is tried.
        """
        if self.is_alive() and self._wait_until_ready(None, timeout):
            return False
        for _ in range(3):
            self.stop()
            ports = choose_ports(self.number)
            self._configure(root, ports)
            process = self._launch(root, ports)
            if self._wait_until_ready(process, timeout):
                return True
            self.stop(timeout=0)
            if ports.free():
                break
        raise Failed(
            f"no answer on port {ports.amqp} within {timeout:.0f} s; "
            f"its log is in {self.home / 'log'}\n  {self._last_words()}"
        )

    def _configure(self, root: Root, ports: Ports) -> None:
        for name in ("log", "home", "data"):
            (self.home / name).mkdir(parents=True, exist_ok=True)
        cookie = self.home / "home/.erlang.cookie"
        if not cookie.exists():
            write_atomically(cookie, secrets.token_hex(16), mode=0o400)
        write_atomically(self.home / "rabbitmq.conf", self._configuration(root, ports))
        write_atomically(self.home / "enabled_plugins", "[rabbitmq_auth_mechanism_ssl].\n")
        write_atomically(self.home / "definitions.json", json.dumps(_definitions(), indent=1))
        write_atomically(self.home / "env.conf", "")
        write_atomically(self.home / "inetrc", _names())

    def _configuration(self, root: Root, ports: Ports) -> str:
        mechanisms = ["PLAIN", "AMQPLAIN"]  # the defaults; since 4.0 with ANONYMOUS
        if int(root.version.partition(".")[0]) >= 4:
            mechanisms.append("ANONYMOUS")
        mechanisms.append("EXTERNAL")
        lines = [f"listeners.tcp.v4 = 127.0.0.1:{ports.amqp}"]
        lines += [f"listeners.ssl.v4 = 127.0.0.1:{ports.tls}"]
        if has_ipv6_loopback():
            lines += [f"listeners.tcp.v6 = ::1:{ports.amqp}", f"listeners.ssl.v6 = ::1:{ports.tls}"]
        files = {"cacertfile": "ca.pem", "certfile": "server.pem", "keyfile": "server.key"}
        lines += [
            f"ssl_options.{option} = {root.seen_inside(CERTIFICATES / name)}"
            for option, name in files.items()
        ]
        lines += ["ssl_options.verify = verify_peer", "ssl_options.fail_if_no_peer_cert = false"]
        lines += ["ssl_cert_login_from = common_name"]
        lines += [f"auth_mechanisms.{i} = {name}" for i, name in enumerate(mechanisms, start=1)]
        lines += [f"load_definitions = {root.seen_inside(self.home / 'definitions.json')}"]
        return "\n".join(lines) + "\n"

    def _environment(self, root: Root, ports: Ports) -> dict[str, str]:
        def inside(name: str) -> str:
            return root.seen_inside(self.home / name)

        return {
            MARKER: str(self.home),
            "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "HOME": inside("home"),
            "ERL_EPMD_PORT": str(ports.epmd),
            "ERL_EPMD_ADDRESS": "127.0.0.1",
            "ERL_INETRC": inside("inetrc"),
            "RABBITMQ_NODENAME": self.name,
            "RABBITMQ_CONF_ENV_FILE": inside("env.conf"),
            "RABBITMQ_CONFIG_FILE": inside("rabbitmq.conf"),
            "RABBITMQ_ADVANCED_CONFIG_FILE": inside("advanced.config"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": inside("enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": inside(f"data/{root.version}"),
            "RABBITMQ_LOG_BASE": inside("log"),
            "RABBITMQ_PID_FILE": inside("node.pid"),
            "RABBITMQ_DIST_PORT": str(ports.dist),
            "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": SERVER_ARGUMENTS,
            "RABBITMQ_CTL_DIST_PORT_MIN": str(ports.ctl),
            "RABBITMQ_CTL_DIST_PORT_MAX": str(ports.ctl + CTL_PORTS - 1),
            "RABBITMQ_CTL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
        }

    def _launch(self, root: Root, ports: Ports) -> subprocess.Popen[bytes]:
        (self.home / "data" / root.version).mkdir(parents=True, exist_ok=True)
        _limit_open_files()
        with (self.home / "log/console.log").open("ab") as console:
            return subprocess.Popen(
                root.command([f"{root.scripts}/rabbitmq-server"]),
                env=self._environment(root, ports),
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=console,
                stderr=console,
                start_new_session=True,
            )

    def _wait_until_ready(self, process: subprocess.Popen[bytes] | None, timeout: float) -> bool:
        deadline = time.monotonic() + timeout
        while time.monotonic() < deadline:
            if self.is_running():
                return True
            if not self.is_alive() and (process is None or process.poll() is not None):
                return False
            time.sleep(0.1)
        return False

    def _last_words(self) -> str:
        try:
            lines = (self.home / "log/console.log").read_text(errors="replace").splitlines()
        except OSError:
            return "(it wrote nothing)"
        return "\n  ".join(lines[-12:])

    # -- end

    def stop(self, timeout: float = STOP_TIMEOUT) -> bool:
        """End everything of the node; False if nothing was there.

        Its Erlang machine is asked first and has `timeout` seconds to store what it holds; then
        whatever is left, epmd in any case, is killed.
        """
        if not self.processes():
            return False
        if timeout > 0:
            for pid in self._machines():
                _signal(pid, signal.SIGTERM)
            _wait_until(lambda: not self.is_alive(), timeout)

        def kill_and_look() -> bool:
            for pid in self.processes():
                _signal(pid, signal.SIGKILL)
            return not self.processes()

        if not _wait_until(kill_and_look, 10):
            raise Failed(f"its processes do not end: {self.processes()}")
        return True

    def wipe(self) -> None:
        """Forget queues, messages and logs. The node must be stopped."""
        for name in ("data", "log"):
            shutil.rmtree(self.home / name, ignore_errors=True)

    # -- rabbitmqctl

    def ctl(self, root: Root, arguments: list[str]) -> int:
        """Run rabbitmqctl on the node, with our own output, and return its exit status."""
        ports = self.ports
        if ports is None or not self.is_alive():
            raise Failed(f"RabbitMQ {self.number} is not running: tools/rabbitmq start")
        environment = self._environment(root, ports) | {ROLE: "ctl"}
        command = root.command([f"{root.scripts}/rabbitmqctl", *arguments])
        return subprocess.run(
            command, env=environment, cwd="/", stdin=subprocess.DEVNULL
        ).returncode

    # -- /proc

    def _marked(self) -> Iterator[tuple[int, dict[bytes, bytes]]]:
        wanted = str(self.home).encode()
        for pid, variables in _environments():
            if variables.get(MARKER.encode()) == wanted:
                yield pid, variables

    def _machines(self) -> list[int]:
        return [
            pid
            for pid, variables in self._marked()
            if ROLE.encode() not in variables and _program(pid).startswith("beam")
        ]


def _environments() -> Iterator[tuple[int, dict[bytes, bytes]]]:
    """The environment of each process that has one and that we may look at, zombies excepted."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdecimal() or int(entry.name) == os.getpid():
            continue
        try:
            environment = (entry / "environ").read_bytes()
        except OSError:
            continue
        if MARKER.encode() in environment:
            pairs = (item.partition(b"=") for item in environment.split(b"\0"))
            yield int(entry.name), {name: value for name, _, value in pairs}


def _program(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text().strip()
    except OSError:
        return ""


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass
    except PermissionError:
        raise Failed(f"process {pid} belongs to another user and cannot be stopped") from None


def _wait_until(condition: Callable[[], bool], timeout: float) -> bool:
    deadline = time.monotonic() + timeout
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def _limit_open_files() -> None:
    """Set the limit that a node inherits: Erlang takes memory in proportion to it."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = OPEN_FILES if hard == resource.RLIM_INFINITY else min(OPEN_FILES, hard)
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def _names() -> str:
    """Names for Erlang, without DNS.

    RabbitMQ looks its machine's name up for every connection, before its first answer
    (rabbit_nodes:cluster_name_default): while DNS is slow, no connection opens.
    """
    names = json.dumps([socket.gethostname(), socket.gethostname().partition(".")[0], "localhost"])
    addresses = ("{127,0,0,1}", "{0,0,0,0,0,0,0,1}")
    hosts = [f"{{host, {address}, {names}}}." for address in addresses]
    return "\n".join(["{lookup, [file]}.", *hosts]) + "\n"


def _definitions() -> dict[str, object]:
    everything = {"configure": ".*", "write": ".*", "read": ".*"}
    nothing = {"configure": "", "write": "", "read": ""}
    grants = [
        {"user": user, "vhost": vhost, **everything}
        for user in ("guest", CLIENT_USER)
        for vhost in ("/", VHOST)
    ]
    grants.append({"user": "limited", "vhost": VHOST, **nothing})
    return {
        "vhosts": [{"name": "/"}, {"name": VHOST}],
        "users": [
            {"name": "guest", "password": "guest", "tags": "administrator"},
            {"name": "limited", "password": "limited", "tags": ""},
            # A random password: this user gets in by certificate only.
            {"name": CLIENT_USER, "password": secrets.token_hex(16), "tags": ""},
        ],
        "permissions": grants,
    }
