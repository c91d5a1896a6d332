"""What is installed where: RabbitMQ on this machine, or in a folder entered by chroot.

A root is the place a server's files are in: `/`, or a folder of another Debian release.
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from debian import apt, chroots
from debian.running import Failed, Unavailable, cache_folder, locked, say

from .state import HOME

INSIDE = "/srv/leveret"  # where a chroot sees the clone's state folder
PACKAGE = "rabbitmq-server"
SUITES = {"3": ("bookworm",), "4": ("sid", "trixie")}
SERVERS_DIR = "usr/lib/rabbitmq/lib"
RETRY_SUITE_SECONDS = 20 * 3600


@dataclass(frozen=True, slots=True)
class Root:
    """One installed RabbitMQ.

    Attributes:
        path: `/` or the folder of a chroot.
        origin: the Debian release it is from.
        version: RabbitMQ's own, as "4.3.6".
        note: what a reader of `status` should know about it, or "".
    """

    path: Path
    origin: str
    version: str
    note: str = ""

    @property
    def is_machine(self) -> bool:
        return self.path == Path("/")

    @property
    def scripts(self) -> str:
        """The folder of rabbitmq-server and rabbitmqctl, as the root itself sees it."""
        return f"/{SERVERS_DIR}/rabbitmq_server-{self.version}/sbin"

    def seen_inside(self, path: Path) -> str:
        """How a process in the root names a file of the clone's state folder."""
        if self.is_machine:
            return str(path)
        return str(INSIDE / path.relative_to(HOME))

    def command(self, command: list[str]) -> list[str]:
        """The command to run for `command` to run in the root, with the state folder there."""
        if self.is_machine:
            return command
        self.path.joinpath(INSIDE.lstrip("/")).mkdir(parents=True, exist_ok=True)
        return chroots.inside(self.path, command, binds={HOME: INSIDE})


def chroots_folder() -> Path:
    """The folder of the chroots: LEVERET_RABBITMQ_CACHE, or a place in the user's cache."""
    named = os.environ.get("LEVERET_RABBITMQ_CACHE")
    if named:
        return Path(named).absolute()
    return cache_folder() / "rabbitmq"


def find(number: str) -> Root | None:
    """The installed root of a server, or None. Looks only, changes nothing."""
    if number == "3":
        version = _version_in(Path("/"))
        if version is not None and version.startswith("3.10.") and apt.is_installed(PACKAGE):
            return Root(Path("/"), "bookworm", version)
    for suite in SUITES[number]:
        folder = chroots_folder() / suite
        version = _version_in(folder)
        if version is not None:
            return Root(folder, suite, version, _note(number, suite))
    return None


def install(number: str) -> Root:
    """Find the server's root or make it.

    Raises:
        Unavailable: this machine does not allow it; the message says what is missing.
        Failed: an installation went wrong; the message has its last lines.
    """
    apt.clear_policy()
    root = find(number)
    if root is None:
        return _install(number)
    if root.origin != SUITES[number][0] and _retry_is_due(number):
        try:
            return _install(number)
        except (Unavailable, Failed) as error:
            say(f"RabbitMQ {number}: {root.origin}'s stays in use: {error}")
    return root


def _install(number: str) -> Root:
    reason = apt.why_not()
    if reason is not None:
        raise Unavailable(reason)
    apt.update()
    if number == "3" and apt.candidate_version(PACKAGE).startswith("3.10."):
        say(f"RabbitMQ 3: installing this machine's package {PACKAGE}")
        apt.install(PACKAGE, services=(PACKAGE, "epmd"))  # ours is a node of our own
    else:
        _make_chroot(number)
    root = find(number)
    if root is None:
        raise Failed(f"installed, but not found under /{SERVERS_DIR}")
    return root


def why_not_run(root: Root) -> str | None:
    """Why this user cannot run what is installed in `root`, or None if nothing forbids it."""
    return None if root.is_machine else chroots.why_not_enter()


def _version_in(root: Path) -> str | None:
    """The version of the newest server in a root that can be run, or None."""
    servers = sorted(root.joinpath(SERVERS_DIR).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return servers[-1].parts[-3].partition("-")[2] if servers else None


def _make_chroot(number: str) -> None:
    """Make the chroot of the first suite whose RabbitMQ installs today."""
    chroots.prepare()
    cache = chroots_folder()
    server = f"test -e /{SERVERS_DIR}/rabbitmq_server-*/sbin/rabbitmq-server"
    check = ["sh", "-c", f"{server} && exec erl -noshell -eval 'halt().'"]
    problems = []
    for suite in SUITES[number]:
        with locked(cache / f"{suite}.lock"):
            folder = cache / suite
            if _version_in(folder) is not None:
                return
            say(f"RabbitMQ {number}: making a chroot of Debian {suite} (about 40 s)")
            try:
                chroots.make(suite, folder, [PACKAGE], check)
            except Failed as error:
                problems.append(f"{suite}: {error}")
                if not apt.update_error():
                    (cache / f"{suite}.failed").write_text(f"{error}\n")
                say(f"RabbitMQ {number}: Debian {suite}'s does not install today")
            else:
                (cache / f"{suite}.failed").unlink(missing_ok=True)
                return
    if apt.update_error():
        problems.insert(0, f"apt's sources do not answer: {apt.update_error()}")
        raise Unavailable("\n".join(problems))
    raise Failed("\n".join(problems))


def _note(number: str, suite: str) -> str:
    first = SUITES[number][0]
    return "" if suite == first else f"Debian {first}'s did not install; {suite}'s serves instead"


def _retry_is_due(number: str) -> bool:
    """Whether the wanted suite, which failed once, should be tried again."""
    try:
        failed = (chroots_folder() / f"{SUITES[number][0]}.failed").stat().st_mtime
    except FileNotFoundError:
        return True
    return time.time() - failed > RETRY_SUITE_SECONDS
