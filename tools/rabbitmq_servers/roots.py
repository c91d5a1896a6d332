"""What is installed where: RabbitMQ on this machine, or in a folder entered by chroot.

A root is the place a server's files are in: `/`, or a folder that debootstrap made. Making one
is slow (40 s), so a folder is kept in a cache that all clones share; it gets its final name by a
rename at the very end, so one that is there is whole.

The mirror is the one apt itself uses on this machine, whatever that is.
"""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from .state import HOME, INSTALL_LOG, Failed, Unavailable, locked, run, say

INSIDE = "/srv/leveret"  # where a chroot sees the clone's state folder
SUITES = {"3": ("bookworm",), "4": ("sid", "trixie")}
SERVERS_DIR = "usr/lib/rabbitmq/lib"
RETRY_SUITE_SECONDS = 20 * 3600
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Of tools/rabbitmq, while it installs: no service starts.\nexit 101\n"

NAMESPACE = ["unshare", "--mount", "--propagation", "private"]

_apt_error: str | None = ""  # of `apt-get update` in this process; "" before it was tried


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
        return in_chroot(self.path, command, binds={HOME: INSIDE})


def in_chroot(root: Path, command: list[str], binds: Mapping[Path, str] | None = None) -> list[str]:
    """Wrap `command` in a chroot inside a mount namespace of its own."""
    mounts = [("/proc", "/proc"), ("/sys", "/sys"), ("/dev", "/dev")]
    mounts += [(str(source), target) for source, target in (binds or {}).items()]
    script = "".join(
        f"mount --rbind {shlex.quote(source)} {shlex.quote(f'{root}{target}')} && "
        for source, target in mounts
    )
    script += f"exec chroot {shlex.quote(str(root))} {shlex.join(command)}"
    return [*NAMESPACE, "sh", "-c", script]


def cache_folder() -> Path:
    """The folder of the chroots: LEVERET_RABBITMQ_CACHE, or a place in the user's cache."""
    named = os.environ.get("LEVERET_RABBITMQ_CACHE")
    if named:
        return Path(named).absolute()
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "leveret" / "rabbitmq"


def find(number: str) -> Root | None:
    """The installed root of a server, or None. Looks only, changes nothing."""
    if number == "3":
        version = _version_in(Path("/"))
        if version is not None and version.startswith("3.10.") and _package_is_whole():
            return Root(Path("/"), "bookworm", version)
    for suite in SUITES[number]:
        folder = cache_folder() / suite
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
    _clear_policy()
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
    reason = why_not()
    if reason is not None:
        raise Unavailable(reason)
    _apt_update()
    if number == "3" and _candidate_version().startswith("3.10."):
        say("RabbitMQ 3: installing this machine's package rabbitmq-server")
        _apt_install("rabbitmq-server")
    else:
        _make_chroot(number)
    root = find(number)
    if root is None:
        raise Failed(f"installed, but not found under /{SERVERS_DIR}")
    return root


def why_not() -> str | None:
    """Why nothing can be installed on this machine, or None if it can be tried."""
    if shutil.which("apt-get") is None:
        return "cannot be installed: there is no apt here (RabbitMQ comes from Debian's packages)"
    if os.geteuid() != 0:
        return "cannot be installed: apt and debootstrap need root"
    return None


def why_not_run(root: Root) -> str | None:
    """Why this user cannot run what is installed in `root`, or None if nothing forbids it."""
    return None if root.is_machine else _why_no_chroot()


def _why_no_chroot() -> str | None:
    if os.geteuid() != 0:
        return "cannot enter a chroot: it needs root"
    try:
        run([*NAMESPACE, "true"], timeout=30)
    except Failed:
        return "cannot enter a chroot: this root may not mount (a container without CAP_SYS_ADMIN?)"
    return None


def need_command(command: str, package: str) -> None:
    """See to it that `command` is there, from Debian's `package` if it is not yet."""
    if shutil.which(command) is not None:
        return
    if why_not() is not None:
        raise Unavailable(f"the command {command} is missing, and no package can be installed here")
    _apt_update()
    _apt_install(package)


def _version_in(root: Path) -> str | None:
    """The version of the newest server in a root that can be run, or None."""
    servers = sorted(root.joinpath(SERVERS_DIR).glob("rabbitmq_server-*/sbin/rabbitmq-server"))
    return servers[-1].parts[-3].partition("-")[2] if servers else None


def _package_is_whole() -> bool:
    """Whether dpkg is done with this machine's package: its files are there before that."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", "rabbitmq-server"]
    try:
        return run(query, timeout=60) == "installed"
    except (Failed, Unavailable):
        return False


# -- apt on this machine


def _environment() -> dict[str, str]:
    kept = ("PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy")
    environment = {name: os.environ[name] for name in kept if name in os.environ}
    environment["PATH"] += ":/usr/sbin:/sbin"
    environment |= {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # debootstrap and the apt inside a chroot do not read this machine's apt settings.
    proxy = run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"], timeout=60).strip()
    if proxy:
        environment["http_proxy"] = shlex.split(proxy.partition("=")[2])[0]
    return environment


def _one_apt() -> contextlib.AbstractContextManager[None]:
    """Keep apart the two threads of one run, and the runs of two clones."""
    return locked(cache_folder() / "apt.lock")


def _apt_update() -> None:
    """Refresh apt's lists, once a process. A failure is kept for when a package is missing."""
    global _apt_error
    with _one_apt():
        if _apt_error != "":
            return
        # Without this option apt takes a mirror that does not answer for a success.
        update = ["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"]
        try:
            run(update, timeout=300, environment=_environment(), log=INSTALL_LOG)
            _apt_error = None
        except Failed as error:
            _apt_error = str(error)


def _candidate_version() -> str:
    policy = run(["apt-cache", "policy", "rabbitmq-server"], timeout=60, environment=_environment())
    for line in policy.splitlines():
        name, _, value = line.strip().partition(": ")
        if name == "Candidate":
            return value
    return ""


def _apt_install(package: str) -> None:
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    command += ["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", package]
    with _one_apt(), _services_held_back():
        try:
            run(command, timeout=900, environment=_environment(), log=INSTALL_LOG)
        except Failed as error:
            if _apt_error:
                raise Unavailable(
                    f"cannot install {package}: apt's sources do not answer\n  {_apt_error}"
                ) from None
            raise Failed(f"cannot install {package}: {error}") from None
        if package == "rabbitmq-server":
            # Ours is a node of our own; the package's service shall not come up at boot.
            for service in ("rabbitmq-server", "epmd"):
                with contextlib.suppress(Failed, Unavailable):
                    run(["update-rc.d", service, "disable"], timeout=60, environment=_environment())


@contextlib.contextmanager
def _services_held_back() -> Iterator[None]:
    """Keep packages from starting their services, by Debian's own means for that."""
    if POLICY.exists() and not _policy_is_ours():
        yield  # someone's own policy: theirs to set
        return
    POLICY.write_text(POLICY_TEXT)
    POLICY.chmod(0o755)
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def _policy_is_ours() -> bool:
    try:
        return POLICY.read_text() == POLICY_TEXT
    except OSError:
        return False


def _clear_policy() -> None:
    """Remove the policy that an installation left when it was killed."""
    if os.geteuid() == 0 and _policy_is_ours():
        with _one_apt():  # whoever is installing now needs it until then
            if _policy_is_ours():
                POLICY.unlink()


# -- a chroot


def _mirror() -> str:
    """The address of the Debian mirror that this machine's apt takes its own release from."""
    release = dict(
        line.split("=", 1)
        for line in Path("/etc/os-release").read_text().splitlines()
        if "=" in line
    )
    release = {name: value.strip("\"'") for name, value in release.items()}
    if release.get("ID") != "debian":
        name = release.get("PRETTY_NAME", "this system")
        raise Unavailable(f"cannot be installed: {name}'s apt has no Debian mirror")
    layout = "$(CREATED_BY) $(RELEASE) $(COMPONENT) $(REPO_URI)"
    targets = run(["apt-get", "indextargets", "--format", layout], timeout=60)
    fallback = ""
    for line in targets.splitlines():
        kind, suite, component, address = [*line.split(), "", "", "", ""][:4]
        if kind != "Packages" or component != "main" or not address.startswith("http"):
            continue
        if suite == release.get("VERSION_CODENAME"):
            return address.rstrip("/")
        if suite in ("stable", "testing", "unstable", "sid"):
            fallback = address.rstrip("/")
    if fallback:
        return fallback
    raise Unavailable(
        "cannot be installed: apt has no lists of a Debian mirror here"
        + (f"\n  {_apt_error}" if _apt_error else "")
    )


def _make_chroot(number: str) -> None:
    """Make the chroot of the first suite whose RabbitMQ installs today."""
    mirror = _mirror()
    need_command("debootstrap", "debootstrap")
    need_command("unshare", "util-linux")
    reason = _why_no_chroot()
    if reason is not None:
        raise Unavailable(reason)
    cache = cache_folder()
    problems = []
    for suite in SUITES[number]:
        with locked(cache / f"{suite}.lock"):
            folder = cache / suite
            if _version_in(folder) is not None:
                return
            say(f"RabbitMQ {number}: making a chroot of Debian {suite} (about 40 s)")
            try:
                _debootstrap(suite, mirror, folder)
            except Failed as error:
                problems.append(f"{suite}: {error}")
                if not _apt_error:
                    (cache / f"{suite}.failed").write_text(f"{error}\n")
                say(f"RabbitMQ {number}: Debian {suite}'s does not install today")
            else:
                (cache / f"{suite}.failed").unlink(missing_ok=True)
                return
    if _apt_error:
        problems.insert(0, f"apt's sources do not answer: {_apt_error}")
        raise Unavailable("\n".join(problems))
    raise Failed("\n".join(problems))


def _debootstrap(suite: str, mirror: str, folder: Path) -> None:
    environment = _environment()
    for left in folder.parent.glob(f".{suite}-*"):  # of a run that was killed; we hold the lock
        shutil.rmtree(left, ignore_errors=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{suite}-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        command = ["debootstrap", "--variant=minbase", suite, str(partial), mirror]
        run([*NAMESPACE, *command], timeout=900, environment=environment, log=INSTALL_LOG)
        _prepare(partial)
        # A mirror may lag behind its release file's date; the signature is checked all the same.
        update = ["apt-get", "-q", "-o", "Acquire::Check-Valid-Until=false", "update"]
        install = ["apt-get", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]
        for step in (update, [*install, "install", "rabbitmq-server"]):
            command = in_chroot(partial, step)
            run(command, timeout=900, environment=environment, log=INSTALL_LOG)
        shutil.rmtree(partial / "var/cache/apt/archives", ignore_errors=True)
        shutil.rmtree(partial / "var/lib/apt/lists", ignore_errors=True)
        if _version_in(partial) is None:
            raise Failed(f"Debian {suite}'s rabbitmq-server has no server under /{SERVERS_DIR}")
        halt = ["erl", "-noshell", "-eval", "halt()."]
        run(in_chroot(partial, halt), timeout=60, environment={**environment, "HOME": "/root"})
        partial.rename(folder)
    finally:
        if partial.exists():
            shutil.rmtree(partial, ignore_errors=True)


def _prepare(root: Path) -> None:
    """Before the packages: no services, no fsync (a broken folder is thrown away), no manuals."""
    policy = root / POLICY.relative_to("/")
    policy.write_text(POLICY_TEXT)
    policy.chmod(0o755)
    settings = ["force-unsafe-io"]
    settings += [f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    (root / "etc/dpkg/dpkg.cfg.d/leveret").write_text("\n".join(settings) + "\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")


def _note(number: str, suite: str) -> str:
    first = SUITES[number][0]
    return "" if suite == first else f"Debian {first}'s did not install; {suite}'s serves instead"


def _retry_is_due(number: str) -> bool:
    """Whether the wanted suite, which failed once, should be tried again."""
    try:
        failed = (cache_folder() / f"{SUITES[number][0]}.failed").stat().st_mtime
    except FileNotFoundError:
        return True
    return time.time() - failed > RETRY_SUITE_SECONDS
