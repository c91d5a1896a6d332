"""The proof of the demo, and that it can fail."""

from __future__ import annotations

import threading

import pytest

from leveret.cli.workload.job import STALLED, Job, Result, Watch
from leveret.cli.workload.ledger import SHOWN, Ledger


def published(*shares: int) -> Ledger:
    """A ledger whose messages are all published and confirmed."""
    ledger = Ledger(shares)
    ledger.published = list(shares)
    ledger.confirmations = list(shares)
    return ledger


def receive_all(ledger: Ledger) -> None:
    for publisher, share in enumerate(ledger.shares):
        for number in range(share):
            ledger.receive(ledger.message_id(publisher, number), False)


def test_every_id_once() -> None:
    ledger = published(3, 2)
    lasts = [
        ledger.receive(ledger.message_id(publisher, number), False)
        for publisher, number in [(1, 1), (0, 0), (0, 2), (1, 0), (0, 1)]
    ]
    assert lasts == [False, False, False, False, True]
    assert ledger.complete
    assert (ledger.lost, ledger.duplicates, ledger.unexpected) == (0, 0, 0)
    assert Result(ledger, [5]).ok


def test_one_lost() -> None:
    ledger = published(3, 2)
    for publisher, number in [(0, 0), (0, 1), (1, 0), (1, 1)]:
        ledger.receive(ledger.message_id(publisher, number), False)
    assert not ledger.complete
    assert ledger.lost == 1
    assert ledger.missing() == [ledger.message_id(0, 2)]
    assert not Result(ledger, [4]).ok


def test_a_repeated_id_does_not_stand_for_a_lost_one() -> None:
    ledger = published(2)
    ledger.receive(ledger.message_id(0, 0), False)
    ledger.receive(ledger.message_id(0, 0), True)
    assert ledger.lost == 1
    assert ledger.duplicates == 1
    assert ledger.redelivered == 1
    assert not Result(ledger, [2]).ok


def test_repeated_ids_are_allowed() -> None:
    ledger = published(2)
    receive_all(ledger)
    for _ in range(300):  # more than a byte holds
        assert not ledger.receive(ledger.message_id(0, 1), True)
    assert ledger.duplicates == 300
    assert ledger.lost == 0
    assert Result(ledger, [302]).ok


@pytest.mark.parametrize(
    "message_id",
    [None, "", "1", "x-y-z", "{run}-0-2", "{run}-1-0", "{run}-0--1", "{run}-0-", "00000000-0-0"],
)
def test_what_was_never_published_is_unexpected(message_id: str | None) -> None:
    ledger = published(2)
    receive_all(ledger)
    ledger.receive(message_id and message_id.format(run=ledger.run), False)
    assert ledger.unexpected == 1
    assert ledger.duplicates == 0
    assert len(ledger.strangers) == 1
    assert not Result(ledger, [3]).ok


def test_an_id_is_unexpected_before_it_is_published() -> None:
    ledger = Ledger([2])
    ledger.published[0] = 1
    ledger.receive(ledger.message_id(0, 1), False)
    assert ledger.unexpected == 1


def test_a_changed_body_is_unexpected_and_its_id_lost() -> None:
    ledger = published(1)
    ledger.receive(ledger.message_id(0, 0), False, intact=False)
    assert (ledger.unexpected, ledger.lost) == (1, 1)


def test_not_published_is_neither_lost_nor_done() -> None:
    ledger = Ledger([10])
    ledger.published[0] = 4
    ledger.confirmations[0] = 4
    for number in range(4):
        ledger.receive(ledger.message_id(0, number), False)
    assert ledger.lost == 0
    assert not ledger.complete
    assert not Result(ledger, [4]).ok


def test_only_a_few_examples_are_kept() -> None:
    ledger = published(100)
    for number in range(20):
        ledger.receive(f"stranger {number}", False)
    assert len(ledger.strangers) == SHOWN
    assert len(ledger.missing()) == SHOWN


def test_several_threads_receive() -> None:
    ledger = published(1000, 1000)
    threads = [threading.Thread(target=receive_all, args=(ledger,)) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (ledger.distinct, ledger.duplicates, ledger.lost) == (2000, 6000, 0)


@pytest.mark.parametrize(("messages", "publishers"), [(100_000, 4), (10, 3), (2, 5), (1, 1)])
def test_messages_are_shared_out(messages: int, publishers: int) -> None:
    ledger = Job("amqp://", messages, publishers).ledger()
    assert sum(ledger.shares) == ledger.messages == messages
    assert max(ledger.shares) - min(ledger.shares) <= 1


@pytest.mark.parametrize("size", [0, 1, 18, 19, 100, 1_000_000])
def test_body_has_its_size(size: int) -> None:
    assert len(Job("amqp://", 1, size=size).body) == size


# -- when it is over -----------------------------------------------------------------------


class Clock:
    """Seconds, by hand."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def watch(ledger: Ledger, timeout: float = 60.0) -> tuple[Watch, Result, Clock]:
    result, clock = Result(ledger, [0]), Clock()
    job = Job("amqp://", ledger.messages, timeout=timeout)
    found = Watch(job, result, lambda: None, lambda: clock.now / 2, clock)
    found.start()
    return found, result, clock


def test_over_when_all_is_confirmed_and_here() -> None:
    ledger = published(2)
    ledger.confirmations = [1]
    found, result, clock = watch(ledger)
    receive_all(ledger)
    assert not found.over()
    ledger.confirmations = [2]
    clock.now += 4
    assert found.over()
    found.stop()
    assert (result.seconds, result.cpu) == (4, 2)
    assert result.ok


def test_over_when_something_failed() -> None:
    found, result, _ = watch(published(2))
    result.failed("a reason")
    result.failed("a reason")
    assert found.over()
    assert result.errors == ["a reason"]


def test_over_when_time_is_up() -> None:
    ledger = published(100)
    found, result, clock = watch(ledger, timeout=30)
    for number in range(6):
        clock.now += 4.5
        ledger.receive(ledger.message_id(0, number), False)
        assert not found.over()
    clock.now += 3
    assert found.over()
    assert result.errors == ["not done within 30 s"]
    assert found.remaining > 0


def test_over_when_nothing_moves() -> None:
    found, result, clock = watch(published(2))
    assert not found.over()
    clock.now += STALLED + 1
    assert found.over()
    assert "nothing was confirmed or delivered" in str(result.errors[0])
