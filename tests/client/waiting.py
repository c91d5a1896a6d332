"""What stands for a transport: who waits, and where bytes go."""

from __future__ import annotations

from collections.abc import Callable

from leveret.client.core import BaseCore


class Waiting:
    """One who waits, and notes that it was woken."""

    abandoned = False

    def __init__(self, then: Callable[[], object] | None = None) -> None:
        self.woken = False
        self._then = then

    def set_result(self, value: object) -> bool:
        self.woken = True
        if self._then is not None:
            self._then()
        return True

    def set_error(self, error: BaseException) -> None:
        raise error


def send(core: BaseCore, left: int) -> None:
    """Take bytes for the network, as a transport does, until at most so many are queued."""
    while core.protocol.bytes_waiting() > left and core.protocol.data_to_send():
        if core.held:
            core.wake_if_drained()
