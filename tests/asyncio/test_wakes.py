"""Tasks that are run where what they wait for is received, instead of in the loop's next turn."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextvars import ContextVar

import pytest

import leveret.asyncio
from leveret.asyncio import waiter as waiters
from leveret.asyncio.waiter import Waiter, Wakes
from leveret.broker import AsyncBroker


class Group:
    """Tasks that wait, each for a waiter of its own."""

    def __init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.wakes = Wakes(self.loop)
        self.waiters: list[Waiter] = []
        self.tasks: list[asyncio.Task[None]] = []
        self.done: list[object] = []

    async def add(self, then: Callable[[], object] = lambda: None) -> None:
        """One more, which calls `then` when it is woken."""
        waiter = Waiter(self.loop, self.wakes)

        async def run() -> None:
            self.done.append(await waiter.future)
            then()

        self.waiters.append(waiter)
        self.tasks.append(asyncio.create_task(run()))
        await asyncio.sleep(0)

    def wake(self) -> None:
        """Give each its result, and run them."""
        self.wakes.kept = []
        for number, waiter in enumerate(self.waiters):
            waiter.set_result(number)
        assert self.done == []
        self.wakes.run()

    async def wake_from_the_loop(self) -> tuple[list[object], BaseException | None]:
        """The same outside of tasks; which were done then, and what was raised."""
        seen: asyncio.Future[tuple[list[object], BaseException | None]]
        seen = self.loop.create_future()

        def call() -> None:
            error = None
            try:
                self.wake()
            except BaseException as raised:
                error = raised
            seen.set_result((self.done[:], error))

        self.loop.call_soon(call)
        return await seen


async def test_all_run_at_once_and_in_order() -> None:
    group = Group()
    for _ in range(3):
        await group.add()
    assert await group.wake_from_the_loop() == ([0, 1, 2], None)
    await asyncio.gather(*group.tasks)
    assert group.done == [0, 1, 2]


async def test_from_within_a_task_the_loop_runs_them() -> None:
    group = Group()
    await group.add()
    group.wake()
    assert group.done == []
    await asyncio.gather(*group.tasks)
    assert group.done == [0]


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
async def test_an_interrupt_in_one_leaves_the_others_to_the_loop() -> None:
    def interrupt() -> None:
        raise KeyboardInterrupt

    group = Group()
    await group.add()
    await group.add(interrupt)
    await group.add()
    for_the_loop: list[object] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(waiters, "_raise", for_the_loop.append)
        assert await group.wake_from_the_loop() == ([0, 1], None)
        await asyncio.gather(group.tasks[0], group.tasks[2])
    assert for_the_loop == [group.tasks[1].exception()]
    assert group.done == [0, 1, 2]
    assert isinstance(group.tasks[1].exception(), KeyboardInterrupt)


async def test_one_may_cancel_the_next() -> None:
    group = Group()
    await group.add(lambda: group.tasks[1].cancel())
    await group.add()
    assert await group.wake_from_the_loop() == ([0], None)
    with pytest.raises(asyncio.CancelledError):
        await group.tasks[1]


async def test_one_that_was_cancelled_before_gets_nothing() -> None:
    group = Group()
    await group.add()
    group.tasks[0].cancel()
    assert await group.wake_from_the_loop() == ([], None)
    with pytest.raises(asyncio.CancelledError):
        await group.tasks[0]


async def test_one_that_nobody_awaits_yet_keeps_its_result() -> None:
    group = Group()
    waiter = Waiter(group.loop, group.wakes)
    group.waiters.append(waiter)
    assert await group.wake_from_the_loop() == ([], None)
    assert await waiter.future == 0


async def test_the_context_is_the_tasks_own() -> None:
    variable: ContextVar[str] = ContextVar("variable", default="nobody's")
    seen: list[str] = []
    group = Group()
    variable.set("the task's")
    await group.add(lambda: seen.append(variable.get()))
    variable.set("another's")
    await group.wake_from_the_loop()
    assert seen == ["the task's"]


class InterruptedOnce(Wakes):
    """Wakes whose first run is interrupted."""

    interrupted = False

    def run(self) -> None:
        super().run()
        if not self.interrupted:
            self.interrupted = True
            raise KeyboardInterrupt


async def test_after_an_interrupt_the_connection_sends_as_before() -> None:
    async with (
        AsyncBroker() as broker,
        leveret.asyncio.connect(broker.url) as connection,
        connection.channel() as channel,
    ):
        await asyncio.sleep(0)  # what runs now was not woken by the connection
        core = connection._core
        core._wakes = InterruptedOnce(asyncio.get_running_loop())
        with pytest.raises(KeyboardInterrupt):
            core.buffer_updated(0)
        await channel.publish(b"", mandatory=False, timeout=10.0)
