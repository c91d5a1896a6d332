"""Where a version of Python is: on this machine, or in a chroot of Debian's testing release."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from debian import apt, chroots
from debian.running import Failed, Unavailable, cache_folder, locked, run, say

SUITE = "testing"
PACKAGES = [r"^python3\.[0-9]+-dev$", r"^python3\.[0-9]+-venv$", "gcc", "libc6-dev"]
PACKAGES += ["ca-certificates", "openssl", "procps"]
# Of this machine, what a process in the chroot sees of it: the network, and how pip is set up.
SHARED = ("/etc/hosts", "/etc/resolv.conf", "/etc/ssl/certs", "/etc/pip.conf", "/etc/xdg/pip")
PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
CHECK = "gcc --version && ls /usr/bin/python3.*-config"
TELL = "import sys; print(sys.version.split()[0], getattr(sys, 'abiflags', ''))"


@dataclass(frozen=True, slots=True)
class Interpreter:
    """A Python.

    Attributes:
        version: as it was asked for, as "3.14".
        release: as it says itself, as "3.14.8".
        python: its path, or that in an environment.
        project: the folder that it runs in.
        chroot: the folder in which that path is meant, or None.
    """

    version: str
    release: str
    python: str
    project: Path
    chroot: Path | None = None

    def __str__(self) -> str:
        return f"Python {self.release}" + (f" of Debian {SUITE}" if self.chroot else "")

    def command(self, arguments: Sequence[str]) -> list[str]:
        """How to run it, from the project's folder."""
        command = [self.python, *arguments]
        if self.chroot is None:
            return command
        shared = [Path(each) for each in SHARED if Path(each).exists()]
        folders = [Path.home(), Path("/tmp"), self.project]
        for each in (*folders, *shared):
            _place(self.chroot / each.relative_to("/"), each.is_dir())
        command = ["env", "-C", str(self.project), f"PATH={PATH}", *command]
        binds = {each: str(each) for each in (*folders, *shared)}
        return chroots.inside(self.chroot, command, binds)

    def call(
        self, arguments: Sequence[str], variables: Mapping[str, str], quiet: bool = False
    ) -> int:
        """Run it, on the terminal unless it is to be quiet; its exit status."""
        output = subprocess.DEVNULL if quiet else None
        return subprocess.run(
            self.command(arguments),
            env=dict(variables),
            cwd=self.project,
            stdout=output,
            stderr=output,
            check=False,
        ).returncode

    def output(self, arguments: Sequence[str]) -> str:
        """Run it; what it wrote. Failed where it fails."""
        return run(self.command(arguments), timeout=1200, folder=self.project)


def _place(path: Path, is_folder: bool) -> None:
    """Something to mount over."""
    if path.is_symlink() or not path.exists():
        path.unlink(missing_ok=True)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.mkdir() if is_folder else path.touch()


def find(version: str, project: Path) -> Interpreter:
    """The interpreter of a version, as "3.14" ("3.14t": the one without the GIL).

    Raises:
        Unavailable: it is not here, and Debian has none or this machine cannot take it.
        Failed: its chroot went wrong.
    """
    if not re.fullmatch(r"3\.\d+t?", version):
        raise Failed("a version is like 3.14 or 3.14t")
    found = on_machine(version, project)
    if found is not None:
        return found
    missing = f"no python{version} on the PATH or at pyenv, "
    try:
        chroot = _chroot()
    except Unavailable as error:
        raise Unavailable(f"{missing}and none from Debian: {error}") from None
    if not chroot.joinpath("usr/bin", f"python{version}").exists():
        there = sorted(path.name for path in chroot.glob("usr/bin/python3.*[0-9]"))
        raise Unavailable(f"{missing}and Debian {SUITE} has {', '.join(there)}")
    interpreter = Interpreter(version, "", f"/usr/bin/python{version}", project, chroot)
    release = interpreter.output(["-c", TELL]).split()[0]
    return Interpreter(version, release, interpreter.python, project, chroot)


def on_machine(version: str, project: Path) -> Interpreter | None:
    """The interpreter of this machine, of pyenv's the newest."""
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    number = version.rstrip("t")
    found = [path for path in pyenv.glob(f"{number}.*/bin/python") if _release(path, version)]
    candidates = [Path(shutil.which(f"python{version}") or "/nowhere")]
    candidates += sorted(found, key=lambda path: _parts(_release(path, version)), reverse=True)
    for path in candidates:
        release = _release(path, version)
        if release:
            return Interpreter(version, release, str(path), project)
    return None


def _release(python: Path, version: str) -> str:
    """What a Python says that it is; "" if it is not of that version, or none."""
    try:
        told = run([str(python), "-c", TELL], timeout=30).split()
    except (Failed, Unavailable, OSError):  # pyenv's stand-ins fail for what is not chosen
        return ""
    release, flags = (*told, "", "")[:2]
    free = "t" if "t" in flags else ""
    return release if f"{release.rpartition('.')[0]}{free}" == version else ""


def _parts(release: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", release)]


def _chroot() -> Path:
    """The folder with Debian's interpreters; made if it is not there."""
    folder = cache_folder() / "pythons" / SUITE
    reason = apt.why_not() if not folder.exists() else chroots.why_not_enter()
    if reason is not None:
        raise Unavailable(reason)
    with locked(folder.parent / f"{SUITE}.lock"):
        if not folder.exists():
            apt.clear_policy()
            apt.update()
            chroots.prepare()
            say(f"making a chroot of Debian {SUITE}, with its versions of Python (a minute)")
            chroots.make(SUITE, folder, PACKAGES, ["sh", "-c", CHECK])
    return folder
