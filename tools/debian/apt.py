"""The packages of this machine, and the mirror they come from."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from .running import Failed, Unavailable, cache_folder, locked, run

LOG = cache_folder() / "install.log"
POLICY = Path("/usr/sbin/policy-rc.d")
POLICY_TEXT = "#!/bin/sh\n# Of Leveret's tools, while they install: no service starts.\nexit 101\n"

_error: str | None = ""  # of `apt-get update` in this process; "" before it was tried


def why_not() -> str | None:
    """Why nothing can be installed on this machine, or None if it can be tried."""
    if shutil.which("apt-get") is None:
        return "cannot be installed: there is no apt here (it comes from Debian's packages)"
    if os.geteuid() != 0:
        return "cannot be installed: apt and debootstrap need root"
    return None


def need_command(command: str, package: str) -> None:
    """See to it that `command` is there, from Debian's `package` if it is not yet."""
    if shutil.which(command) is not None:
        return
    if why_not() is not None:
        raise Unavailable(f"the command {command} is missing, and no package can be installed here")
    update()
    install(package)


def environment() -> dict[str, str]:
    """The variables for apt, debootstrap, and what runs in a chroot."""
    kept = ("PATH", "HOME", "TMPDIR", "http_proxy", "https_proxy", "no_proxy")
    variables = {name: os.environ[name] for name in kept if name in os.environ}
    variables["PATH"] += ":/usr/sbin:/sbin"
    variables |= {"DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
    # debootstrap and the apt inside a chroot do not read this machine's apt settings.
    proxy = run(["apt-config", "shell", "proxy", "Acquire::http::Proxy"], timeout=60).strip()
    if proxy:
        variables["http_proxy"] = shlex.split(proxy.partition("=")[2])[0]
    return variables


def _one_apt() -> contextlib.AbstractContextManager[None]:
    """Keep apart the two threads of one run, and the runs of two clones."""
    return locked(cache_folder() / "apt.lock")


def update() -> None:
    """Refresh apt's lists, once a process. A failure is kept for when a package is missing."""
    global _error
    with _one_apt():
        if _error != "":
            return
        # Without this option apt takes a mirror that does not answer for a success.
        command = ["apt-get", "update", "-q", "-o", "APT::Update::Error-Mode=any"]
        try:
            run(command, timeout=300, environment=environment(), log=LOG)
            _error = None
        except Failed as error:
            _error = str(error)


def update_error() -> str | None:
    """What `update` met; None if it went well or was not called."""
    return _error or None


def candidate_version(package: str) -> str:
    """The version that apt would install, or ""."""
    policy = run(["apt-cache", "policy", package], timeout=60, environment=environment())
    for line in policy.splitlines():
        name, _, value = line.strip().partition(": ")
        if name == "Candidate":
            return value
    return ""


def is_installed(package: str) -> bool:
    """Whether dpkg is done with a package: its files are there before that."""
    query = ["dpkg-query", "-W", "-f", "${db:Status-Status}", package]
    try:
        return run(query, timeout=60) == "installed"
    except (Failed, Unavailable):
        return False


def install(package: str, services: Sequence[str] = ()) -> None:
    """Install a package; its services do not start, neither now nor at boot."""
    command = ["apt-get", "install", "-y", "-q", "--no-install-recommends"]
    command += ["-o", "DPkg::Lock::Timeout=300", "-o", "Dpkg::Use-Pty=0", package]
    with _one_apt(), _services_held_back():
        try:
            run(command, timeout=900, environment=environment(), log=LOG)
        except Failed as error:
            if _error:
                raise Unavailable(
                    f"cannot install {package}: apt's sources do not answer\n  {_error}"
                ) from None
            raise Failed(f"cannot install {package}: {error}") from None
        for service in services:
            with contextlib.suppress(Failed, Unavailable):
                run(["update-rc.d", service, "disable"], timeout=60, environment=environment())


@contextlib.contextmanager
def _services_held_back() -> Iterator[None]:
    """Keep packages from starting their services, by Debian's own means for that."""
    if POLICY.exists() and not _policy_is_ours():
        yield  # someone's own policy: theirs to set
        return
    write_policy(Path("/"))
    try:
        yield
    finally:
        POLICY.unlink(missing_ok=True)


def write_policy(root: Path) -> None:
    """Have no package start a service in a root."""
    policy = root / POLICY.relative_to("/")
    policy.write_text(POLICY_TEXT)
    policy.chmod(0o755)


def _policy_is_ours() -> bool:
    try:
        return POLICY.read_text() == POLICY_TEXT
    except OSError:
        return False


def clear_policy() -> None:
    """Remove the policy that an installation left when it was killed."""
    if os.geteuid() == 0 and _policy_is_ours():
        with _one_apt():  # whoever is installing now needs it until then
            if _policy_is_ours():
                POLICY.unlink()


def mirror() -> str:
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
        + (f"\n  {_error}" if _error else "")
    )
