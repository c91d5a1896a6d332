"""Examples as processes: what a reader of the tutorials would start in a terminal."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

__all__ = ["Script", "Scripts", "running"]

ROOT = Path(__file__).resolve().parents[2] / "examples"
SECONDS = 200.0
END_SECONDS = 60.0  # from the signal to the end; Celery's workers take up to 6


class Script:
    """A script that runs in the background."""

    def __init__(
        self,
        command: list[str],
        cwd: Path | None = None,
        environment: dict[str, str] | None = None,
    ) -> None:
        self._process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, "PYTHONFAULTHANDLER": "1", **(environment or {})},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        self._timer = threading.Timer(SECONDS, self._abort)  # reading has no timeout
        self._timer.start()
        self.lines: list[str] = []

    def read_until(self, text: str) -> None:
        """Read lines up to one with this text."""
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self.lines.append(line.rstrip("\n"))
            if text in line:
                return
        raise self._error(f"no {text!r} in the output")

    def finish(self, seconds: float = SECONDS) -> list[str]:
        """All its lines, once it has ended well by itself."""
        try:
            output, _ = self._process.communicate(timeout=seconds)
        except subprocess.TimeoutExpired:
            self._abort()
            output, _ = self._process.communicate(timeout=END_SECONDS)
        self.lines += output.splitlines()
        if self._process.returncode:
            reason = f"exit status {self._process.returncode}; {-signal.SIGABRT}: it took too long"
            raise self._error(reason)
        return self.lines

    def end(self, how: signal.Signals = signal.SIGINT) -> list[str]:
        """Press Ctrl-C, or send another signal; all its lines, once it has ended well."""
        self._process.send_signal(how)
        return self.finish(END_SECONDS)

    def _abort(self) -> None:
        """End it with the stacks of its threads as its last words."""
        self._process.send_signal(signal.SIGABRT)

    def _error(self, reason: str) -> AssertionError:
        """A failure, with what the script printed."""
        return AssertionError("\n".join([reason, *self.lines]))

    def close(self) -> None:
        """End it in any case."""
        self._timer.cancel()
        if self._process.poll() is None:
            self._process.kill()
        self._process.communicate()


class Scripts:
    """Starts the examples of one style on one broker."""

    def __init__(self, style: str, url: str, stack: ExitStack) -> None:
        self._folder = ROOT / style
        self._url = url
        self._stack = stack

    def start(self, script: str, *arguments: str, wait_for: str) -> Script:
        """Start a script that waits for messages; back once it does."""
        started = self._start(script, arguments)
        started.read_until(wait_for)
        return started

    def run(self, script: str, *arguments: str) -> list[str]:
        """Run a script to its end; gives its lines."""
        return self._start(script, arguments).finish()

    def _start(self, script: str, arguments: tuple[str, ...]) -> Script:
        path = self._folder / script
        started = Script([sys.executable, "-W", "error", str(path), "--url", self._url, *arguments])
        self._stack.callback(started.close)
        return started


@contextmanager
def running(style: str, url: str) -> Iterator[Scripts]:
    """Scripts, all of which have ended when the block ends."""
    with ExitStack() as stack:
        yield Scripts(style, url, stack)
