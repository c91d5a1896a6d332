"""Heartbeats: busy user code does not end a connection, a silent peer does, in time."""

from __future__ import annotations

import asyncio
import threading
import time

import pytest

import leveret
import leveret.asyncio
from leveret.exceptions import ConnectionLost, HeartbeatTimeout, LeveretError

from ..support.proxy import Proxy
from .peer import run_peer

INTERVAL = 1  # seconds
LONG = 10 * INTERVAL
LIMIT = 2.5 * INTERVAL


def test_a_slow_callback_keeps_the_connection(server: str) -> None:
    never = threading.Event()
    done = threading.Event()

    def slow(delivery: leveret.Delivery) -> None:
        never.wait(LONG)
        delivery.ack()
        done.set()

    with leveret.connect(server, heartbeat=INTERVAL) as connection:
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        channel.basic_consume(queue, slow)
        channel.publish(b"1", routing_key=queue)
        assert done.wait(LONG + 5)
        assert connection.heartbeat == INTERVAL
        assert connection.is_open
        assert channel.queue_declare(queue, passive=True).message_count == 0


def hog(seconds: float) -> None:
    """Keep the interpreter for at least so long, and not much longer, with one call into C."""
    size, took = 5_000_000, 0.0
    while took < seconds:
        start = time.monotonic()
        sum(range(size))
        took = time.monotonic() - start
        size = int(size * max(1.2, 1.2 * seconds / took))


def test_a_thread_that_hogs_the_interpreter_keeps_the_connection() -> None:
    """A C function that does not give up the GIL: what came meanwhile is looked at first."""
    with run_peer("patient") as url:
        connection = leveret.connect(url, heartbeat=INTERVAL)
        connection.channel()
        for _ in range(2):
            hog(2.2 * INTERVAL)
            assert connection.is_open
        with pytest.raises(leveret.DeadlineExceeded):  # it never answers
            connection.close(timeout=0.1)


async def test_slow_tasks_keep_the_connection(server: str) -> None:
    done = asyncio.Event()

    async def slow(delivery: leveret.Delivery) -> None:
        never = asyncio.Event()
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(never.wait(), LONG)
        delivery.ack()
        done.set()

    async with await leveret.asyncio.connect(server, heartbeat=INTERVAL) as connection:
        channel = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue
        await channel.basic_consume(queue, slow)
        await channel.publish(b"1", routing_key=queue)
        await asyncio.wait_for(done.wait(), LONG + 5)
        assert connection.is_open
        assert (await channel.queue_declare(queue, passive=True)).message_count == 0


async def test_a_blocked_loop_looks_at_the_socket_first() -> None:
    """The peer's heartbeats are in the socket when the loop comes to its timer."""
    never = threading.Event()
    with run_peer("patient") as url:
        connection = await leveret.asyncio.connect(url, heartbeat=INTERVAL)
        await connection.channel()
        loop = asyncio.get_running_loop()
        for _ in range(2):
            passed = loop.create_future()

            def block(passed: asyncio.Future[None] = passed) -> None:
                # before the timer in one turn of the loop: the socket was looked at before
                timer = connection._core._timer
                assert timer is not None
                if timer.when() > loop.time() + 0.002:
                    loop.call_at(timer.when() - 0.001, block)
                    return
                never.wait(2.2 * INTERVAL)
                passed.set_result(None)

            block()
            await passed
            await asyncio.sleep(0)
            assert connection.close_reason is None
            assert connection.is_open
        with pytest.raises(leveret.DeadlineExceeded):
            await connection.close(timeout=0.1)


def test_a_silent_peer_ends_everything(server: str) -> None:
    ends: dict[str, float] = {}
    errors: dict[str, BaseException] = {}
    with Proxy(server) as proxy:
        connection = leveret.connect(proxy.url, heartbeat=INTERVAL)
        channel = connection.channel()
        other = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        consumer = channel.consume(queue)
        confirms = connection.channel()
        confirms.publish(b"", routing_key=queue)
        consumer.get(5).ack()
        ready = threading.Barrier(4)

        def waits(name: str, run) -> None:  # type: ignore[no-untyped-def]
            ready.wait(5)
            try:
                run()
            except BaseException as error:
                errors[name] = error
            ends[name] = time.monotonic()

        runs = {
            "iterate": lambda: next(consumer),
            "ask": lambda: other.queue_declare(queue, passive=True),
            "publish": lambda: confirms.publish(b"", routing_key=queue),
        }
        threads = [threading.Thread(target=waits, args=item, daemon=True) for item in runs.items()]
        for thread in threads:
            thread.start()
        proxy.hold_to_broker()
        proxy.hold_to_client()
        ready.wait(5)
        start = time.monotonic()
        for thread in threads:
            thread.join(5)
        assert set(ends) == set(runs)
        assert max(ends.values()) - start < LIMIT
        assert min(ends.values()) - start > INTERVAL
        assert isinstance(connection.close_reason, HeartbeatTimeout)
        for error in errors.values():
            assert isinstance(error, LeveretError)
            chain = (error, getattr(error, "reason", None), error.__cause__)
            assert any(isinstance(link, HeartbeatTimeout) for link in chain), chain
        start = time.monotonic()
        connection.close()
        assert time.monotonic() - start < 1


async def test_a_silent_peer_ends_every_task(server: str) -> None:
    with Proxy(server) as proxy:
        connection = await leveret.asyncio.connect(proxy.url, heartbeat=INTERVAL)
        channel = await connection.channel()
        other = await connection.channel()
        queue = (await channel.queue_declare(exclusive=True)).queue
        consumer = await channel.consume(queue)
        proxy.hold_to_broker()
        proxy.hold_to_client()
        start = time.monotonic()
        results = await asyncio.gather(
            consumer.get(20),
            other.queue_declare(queue, passive=True),
            other.publish(bytes(5_000_000), routing_key=queue),
            return_exceptions=True,
        )
        assert INTERVAL < time.monotonic() - start < LIMIT
        assert isinstance(connection.close_reason, HeartbeatTimeout)
        for error in results:
            assert isinstance(error, LeveretError)
            chain = (error, getattr(error, "reason", None), error.__cause__)
            assert any(isinstance(link, HeartbeatTimeout) for link in chain), chain
        start = time.monotonic()
        await connection.close()
        assert time.monotonic() - start < 1


def test_publishing_only_keeps_both_sides_content(server: str) -> None:
    """The client sends all the time; the broker has nothing to say but heartbeats."""
    with leveret.connect(server, heartbeat=INTERVAL) as connection, connection.channel() as channel:
        end = time.monotonic() + 3.5 * INTERVAL
        tick = threading.Event()
        while time.monotonic() < end:
            for _ in range(50):
                channel.basic_publish(b"x" * 1000, routing_key="nowhere")
            tick.wait(0.01)
        assert connection.is_open
        channel.queue_declare(exclusive=True)


def test_a_silent_handshake_ends_in_time() -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as listener:
        url = f"amqp://127.0.0.1:{listener.getsockname()[1]}"
        start = time.monotonic()
        with pytest.raises(leveret.DeadlineExceeded):
            leveret.connect(url, connect_timeout=0.5)
        with pytest.raises(leveret.DeadlineExceeded):
            asyncio.run(leveret.asyncio.connect(url, connect_timeout=0.5))
        assert time.monotonic() - start < 3


def test_the_error_is_a_lost_connection() -> None:
    assert issubclass(HeartbeatTimeout, ConnectionLost)
