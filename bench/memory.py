"""The most memory that a process has, counted from a moment of its own choice (Linux)."""

from __future__ import annotations

from pathlib import Path

STATUS = Path("/proc/self/status")
CLEAR = Path("/proc/self/clear_refs")
RESET_PEAK = "5"  # proc(5): the peak becomes what is resident now


class Growth:
    """How much the resident memory has grown since this was made, at its peak."""

    def __init__(self) -> None:
        self._start = _kib("VmRSS") if _reset_peak() else None

    def peak(self) -> int | None:
        """Bytes, or None where the system does not tell."""
        peak = _kib("VmHWM")
        return None if self._start is None or peak is None else (peak - self._start) * 1024


def _reset_peak() -> bool:
    try:
        CLEAR.write_text(RESET_PEAK, encoding="ascii")
    except OSError:
        return False
    return True


def _kib(name: str) -> int | None:
    try:
        for line in STATUS.read_text(encoding="ascii").splitlines():
            if line.startswith(f"{name}:"):
                return int(line.split()[1])
    except OSError:
        pass
    return None
