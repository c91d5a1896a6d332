"""Folders with another release of Debian, entered by chroot.

Making one is slow (40 s), so it is kept; it gets its final name by a rename at the very end, so
one that is there is whole. It is entered inside a private mount namespace, whose mounts are seen
by nobody else and end with the last process in it.
"""

from __future__ import annotations

import os
import shlex
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from . import apt
from .running import Failed, Unavailable, run

NAMESPACE = ["unshare", "--mount", "--propagation", "private"]
SCRIPT = "sid"  # debootstrap's rules; an older debootstrap has none of a newer release's name


def inside(root: Path, command: list[str], binds: Mapping[Path, str] | None = None) -> list[str]:
    """Wrap `command` in a chroot inside a mount namespace of its own.

    Args:
        root: the folder.
        command: what to run in it.
        binds: what the chroot sees where, beside /proc, /sys and /dev.
    """
    # A mount point itself: else no chroot could be entered from inside.
    mounts = [(str(root), ""), ("/proc", "/proc"), ("/sys", "/sys"), ("/dev", "/dev")]
    mounts += [(str(source), target) for source, target in (binds or {}).items()]
    script = "".join(
        f"mount --rbind {shlex.quote(source)} {shlex.quote(f'{root}{target}')} && "
        for source, target in mounts
    )
    script += f"exec chroot {shlex.quote(str(root))} {shlex.join(command)}"
    return [*NAMESPACE, "sh", "-c", script]


def why_not_enter() -> str | None:
    """Why this user cannot enter a chroot, or None if nothing forbids it."""
    if os.geteuid() != 0:
        return "cannot enter a chroot: it needs root"
    try:
        run([*NAMESPACE, "true"], timeout=30)
    except Failed:
        return "cannot enter a chroot: this root may not mount (a container without CAP_SYS_ADMIN?)"
    return None


def prepare() -> None:
    """See to it that `make` can work.

    Raises:
        Unavailable: this machine does not allow it.
    """
    apt.need_command("debootstrap", "debootstrap")
    apt.need_command("unshare", "util-linux")
    reason = why_not_enter()
    if reason is not None:
        raise Unavailable(reason)


def make(suite: str, folder: Path, packages: Sequence[str], check: list[str]) -> None:
    """Make a chroot; the caller holds a lock for it.

    Args:
        suite: Debian's release.
        folder: it is there afterwards.
        packages: what to install, by name or apt's patterns.
        check: a command that must succeed in it.

    Raises:
        Failed: something does not install, or does not run.
    """
    mirror = apt.mirror()
    environment = apt.environment()
    for left in folder.parent.glob(f".{folder.name}-*"):  # of a run that was killed
        shutil.rmtree(left, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    partial = Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    try:
        partial.chmod(0o755)
        command = ["debootstrap", "--variant=minbase", suite, str(partial), mirror, SCRIPT]
        run([*NAMESPACE, *command], timeout=900, environment=environment, log=apt.LOG)
        _settle(partial)
        # A mirror may lag behind its release file's date; the signature is checked all the same.
        update = ["apt-get", "-q", "-o", "Acquire::Check-Valid-Until=false", "update"]
        install = ["apt-get", "-q", "-y", "--no-install-recommends", "-o", "Dpkg::Use-Pty=0"]
        for step in (update, [*install, "install", *packages]):
            run(inside(partial, step), timeout=900, environment=environment, log=apt.LOG)
        shutil.rmtree(partial / "var/cache/apt/archives", ignore_errors=True)
        shutil.rmtree(partial / "var/lib/apt/lists", ignore_errors=True)
        run(inside(partial, check), timeout=60, environment={**environment, "HOME": "/root"})
        partial.rename(folder)
    finally:
        if partial.exists():
            shutil.rmtree(partial, ignore_errors=True)


def _settle(root: Path) -> None:
    """Before the packages: no services, no fsync (a broken folder is thrown away), no manuals."""
    apt.write_policy(root)
    settings = ["force-unsafe-io"]
    settings += [f"path-exclude=/usr/share/{name}/*" for name in ("doc", "man", "locale")]
    (root / "etc/dpkg/dpkg.cfg.d/leveret").write_text("\n".join(settings) + "\n")
    (root / "etc/hosts").write_text("127.0.0.1 localhost\n::1 localhost\n")
