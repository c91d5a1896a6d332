"""Coroutine tests, the brokers, and a last line that says which of them were used."""

from __future__ import annotations

import asyncio
import inspect
import signal
from collections.abc import Generator, Iterator
from typing import Any

import pytest

import leveret

from .support.brokers import BROKERS, BrokerUnderTest, Missing, find, required

COROUTINE_SECONDS = 60.0
LEFTOVER_SECONDS = 5.0

_USED: dict[str, str] = {}
_MISSING: dict[str, str] = {}


def pytest_configure() -> None:
    """Have the programs that tests start end by Ctrl-C: a shell's background jobs ignore it."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> object:
    """Run a coroutine test in an event loop of its own, within `COROUTINE_SECONDS`."""
    function = pyfuncitem.obj
    if not inspect.iscoroutinefunction(function):
        return None
    names = inspect.signature(function).parameters
    asyncio.run(_run({name: pyfuncitem.funcargs[name] for name in names}, function))
    return True


async def _run(arguments: dict[str, Any], function: Any) -> None:
    async with asyncio.timeout(COROUTINE_SECONDS):
        await function(**arguments)
    others = asyncio.all_tasks() - {asyncio.current_task()}
    if others:  # asyncio.run would cancel them without a word
        _, left = await asyncio.wait(others, timeout=LEFTOVER_SECONDS)
        assert not left, f"tasks left behind: {[task.get_name() for task in left]}"


@pytest.fixture(scope="session", params=BROKERS)
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerUnderTest]:
    """Each broker in turn; one that is not there is skipped, or fails where it is required."""
    name: str = request.param
    try:
        found = find(name)
    except Missing as missing:
        _MISSING[name] = str(missing)
        if required():
            pytest.fail(f"{name} is not running: {missing}", pytrace=False)
        pytest.skip(f"{name} is not running: {missing}")
    found.start()
    _USED[name] = found.version
    try:
        yield found
    finally:
        found.stop()


@pytest.fixture(autouse=True)
def _broker_is_shared(request: pytest.FixtureRequest) -> Iterator[None]:
    """Another run on the same servers, as in CI, sets off no alarm in the middle of a test."""
    used = "broker" in request.fixturenames and request.getfixturevalue("broker")
    if isinstance(used, BrokerUnderTest):
        with used.sharing():
            yield
    else:
        yield


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter: Any) -> Generator[None, None, None]:
    """Say last of all which brokers and which codec the results are about."""
    yield
    if not _USED and not _MISSING:
        terminalreporter.write_line(f"codec: {leveret.codec}")
        return
    used = ", ".join(f"{name} ({version})" for name, version in _USED.items()) or "none"
    terminalreporter.write_line(f"brokers: {used}; codec: {leveret.codec}")
    for name, reason in _MISSING.items():
        terminalreporter.write_line(f"MISSING broker {name}: {reason}")
