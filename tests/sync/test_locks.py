"""The lock of a connection, and interrupts."""

from __future__ import annotations

import signal
import threading

import pytest

from leveret.sync.locks import reentrant_lock

from ..support.signals import handling

INTERRUPTS = 200


class Interrupt(Exception):
    """What the signal handler raises."""


def interrupt(*_: object) -> None:
    signal.setitimer(signal.ITIMER_REAL, 0)
    raise Interrupt


def enter(lock: threading.RLock) -> None:
    """Until it is interrupted."""
    signal.setitimer(signal.ITIMER_REAL, 0.0003, 0.05)  # again, where 3.11 overlooks one
    while True:
        with lock:
            pass


@pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers on this system")
def test_an_interrupt_leaves_the_lock_as_it_was() -> None:
    lock = reentrant_lock()
    held: list[bool] = []
    other = reentrant_lock()
    with handling(signal.SIGALRM, interrupt), other:
        for _ in range(INTERRUPTS):
            for each in lock, other:
                with pytest.raises(Interrupt):
                    enter(each)
            held.append(lock._is_owned())  # type: ignore[attr-defined]
    assert not any(held)
    assert not other._is_owned()  # type: ignore[attr-defined]


def test_a_lock_that_is_held_is_waited_for() -> None:
    lock = reentrant_lock()
    order: list[str] = []
    started = threading.Event()

    def wait() -> None:
        started.set()
        with lock, lock:
            order.append("second")

    with lock:
        thread = threading.Thread(target=wait)
        thread.start()
        assert started.wait(5)
        order.append("first")
    thread.join(5)
    assert order == ["first", "second"]
