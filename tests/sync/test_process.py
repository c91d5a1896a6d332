"""Connections and the life of their process: forks, the end of the interpreter, Ctrl-C."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from leveret.broker import Broker

EXIT_SECONDS = 10.0
ROOT = Path(__file__).resolve().parents[2]
START = """
import os, signal, sys, threading, time
import leveret
from leveret.exceptions import LeveretError
connection = leveret.connect(sys.argv[1])
channel = connection.channel()
queue = channel.queue_declare(exclusive=True).queue
def say(*words):
    print(*words, flush=True)
"""


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with Broker() as broker:
        yield broker.url


def run(
    url: str, script: str, *lines: str, interrupt_after: str = "", tolerant: bool = False
) -> tuple[int, float]:
    """Run a script in a process of its own, see `lines` come, and wait for its end.

    Returns:
        Its exit status, and the seconds from the last line (or the interrupt) to the end.
    """
    process = subprocess.Popen(
        [sys.executable, "-X", "dev", "-W", "error", "-c", START + script, url],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    try:
        for line in lines:
            said = process.stdout.readline().strip()
            assert said == line, process.stderr.read()
        since = time.monotonic()
        if interrupt_after:
            process.send_signal(signal.SIGINT)
        status = process.wait(EXIT_SECONDS)
        seconds = time.monotonic() - since
        errors = process.stderr.read()
        assert not errors or interrupt_after or tolerant, errors
        return status, seconds
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        process.stderr.close()


@pytest.mark.parametrize(
    "script",
    [
        "",
        "del channel, connection",
        "os.register_at_fork(before=lambda: None)",
        "channel.basic_consume(queue, print)",
        "channel.publish_nowait(b'', routing_key=queue)",
        "for _ in range(50): channel.basic_publish(bytes(100_000), routing_key=queue)",
        """
started = threading.Event()
def slow(delivery):
    started.set()
    time.sleep(60)
channel.basic_consume(queue, slow)
channel.publish(b"", routing_key=queue)
started.wait()
""",
        """
consumer = channel.consume(queue)
threading.Thread(target=lambda: next(consumer), daemon=True).start()
""",
        """
def ask():
    while True:
        channel.queue_declare(queue, passive=True)
for _ in range(4):
    threading.Thread(target=ask, daemon=True).start()
channel.publish(b"", routing_key=queue)
""",
        "raise SystemExit",
    ],
    ids=[
        "open",
        "dropped",
        "hooks",
        "consumer",
        "nowait",
        "unsent",
        "callback-running",
        "iterating",
        "asking",
        "system-exit",
    ],
)
def test_the_interpreter_ends(url: str, script: str) -> None:
    # a thread that the end of the interpreter meets in the library may complain, or not
    status, seconds = run(
        url, f"threading.excepthook = lambda _: None\n{script}\nsay('end')\n".replace(
            "raise SystemExit\nsay('end')", "say('end')\nraise SystemExit"
        ), "end"
    )
    assert status == 0
    assert seconds < 5


def test_what_is_queued_leaves_at_the_end(url: str) -> None:
    import leveret

    with leveret.connect(url) as connection, connection.channel() as channel:
        channel.queue_declare("left-over")
        run(
            url,
            "for _ in range(200): channel.basic_publish(bytes(1000), routing_key='left-over')\n"
            "say('end')",
            "end",
        )
        assert channel.queue_delete("left-over") == 200


@pytest.mark.parametrize(
    "wait",
    [
        "for delivery in channel.consume(queue): pass",
        "channel.consume(queue).get(60)",
        """
connection.on_close = lambda error: None
with connection, channel:
    for delivery in channel.consume(queue): pass""",
        "channel.publish_nowait(b'', routing_key=queue).wait(); threading.Event().wait(60)",
    ],
)
def test_ctrl_c_ends_a_wait(url: str, wait: str) -> None:
    status, seconds = run(url, f"say('ready')\n{wait}\n", "ready", interrupt_after="ready")
    assert status == -signal.SIGINT
    assert seconds < 3


@pytest.mark.parametrize("busy", ["publish", "publisher", "ack", "rpc"])
@pytest.mark.parametrize("number", range(3))
def test_ctrl_c_in_the_middle_of_work(url: str, busy: str, number: int) -> None:
    """The interrupt meets any line; what follows is right, or says that the connection ended."""
    script = f"""
other = connection.channel()
other_queue = other.queue_declare(exclusive=True).queue
def work():
    if {busy!r} == "publish":
        while True: channel.publish(b"x", routing_key=queue)
    if {busy!r} == "publisher":
        with channel.publisher(50) as publisher:
            while True: publisher.publish(b"x", routing_key=queue)
    if {busy!r} == "rpc":
        while True: assert channel.queue_declare(queue, passive=True).queue == queue
    while True:
        with channel.publisher() as publisher:
            for _ in range(300): publisher.publish(b"x", routing_key=queue)
        consumer = channel.consume(queue)
        for _ in range(300): consumer.get(5).ack()
        consumer.cancel()
for turn in range(15):
    try:
        signal.signal(signal.SIGALRM, signal.default_int_handler)
        # again after a second: one that meets a callback of the interpreter is swallowed by it
        signal.setitimer(signal.ITIMER_REAL, 0.003 + 0.0017 * turn + 0.0003 * {number}, 1)
        work()
    except (KeyboardInterrupt, LeveretError) as error:
        signal.setitimer(signal.ITIMER_REAL, 0)
        assert connection.is_open or "in the middle" in str(connection.close_reason), error
    try:
        assert other.queue_declare(other_queue, passive=True).queue == other_queue
        assert channel.queue_declare(queue, passive=True).queue == queue
        channel.wait_for_confirms(timeout=5)
        core = connection._core
        assert not core._asking and not core.unanswered and core._led_for is None
        channel.queue_purge(queue)
    except LeveretError as error:
        assert not connection.is_open, error
        assert "in the middle of an operation" in str(connection.close_reason), error
        connection = leveret.connect(sys.argv[1])
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        other = connection.channel()
        other_queue = other.queue_declare(exclusive=True).queue
say("end")
"""
    status, _ = run(url, script, "end", tolerant=True)
    assert status == 0


needs_fork = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")


@needs_fork
def test_a_child_never_touches_the_parents_connection(url: str) -> None:
    script = """
import warnings
warnings.simplefilter("ignore", DeprecationWarning)
consumer = channel.consume(queue)
def load():
    with loading.publisher(100) as publisher:
        for number in range(20_000):
            publisher.publish(b"%d" % number, routing_key=queue)
loading = connection.channel()
thread = threading.Thread(target=load)
thread.start()
children = []
for number in range(10):
    for _ in range(100):
        consumer.get(10).ack()
    pid = os.fork()
    if pid == 0:
        try:
            for use in (
                lambda: channel.queue_declare(),
                lambda: channel.publish(b"", routing_key=queue),
                lambda: next(consumer),
                lambda: connection.channel(),
            ):
                try:
                    start = time.monotonic()
                    use()
                except LeveretError as error:
                    assert time.monotonic() - start < 1
                    reason = getattr(error, "reason", None)
                    assert isinstance(reason or error, leveret.ForkedError), repr(error)
                else:
                    raise AssertionError("no error")
            connection.close()
            if number % 3 == 0:
                with leveret.connect(sys.argv[1]) as mine, mine.channel() as other:
                    other.queue_declare(exclusive=True)
        except BaseException:
            import traceback
            traceback.print_exc()
            os._exit(1)
        if number % 2:
            sys.exit(0)
        os._exit(0)
    children.append(pid)
for _ in range(19_000):
    consumer.get(10).ack()
thread.join()
for pid in children:
    assert os.waitpid(pid, 0)[1] == 0
assert connection.is_open
assert channel.queue_declare(queue, passive=True).message_count == 0
connection.close()
say("end")
"""
    status, _ = run(url, script, "end")
    assert status == 0


@needs_fork
def test_a_child_of_multiprocessing(url: str) -> None:
    import multiprocessing

    import leveret

    with leveret.connect(url) as connection, connection.channel() as channel:
        queue = channel.queue_declare(exclusive=True).queue
        context = multiprocessing.get_context("fork")
        with contextlib.ExitStack() as stack:
            stack.enter_context(_no_warning_of_threads())
            process = context.Process(target=_publish_from_child, args=(url, channel))
            process.start()
        process.join(EXIT_SECONDS)
        assert process.exitcode == 0
        assert channel.queue_declare(queue, passive=True).queue == queue


def _publish_from_child(url: str, channel: object) -> None:
    import leveret

    assert isinstance(channel, leveret.Channel)
    with pytest.raises(leveret.LeveretError):
        channel.queue_declare()
    with leveret.connect(url) as connection, connection.channel() as mine:
        mine.queue_declare(exclusive=True)


@contextlib.contextmanager
def _no_warning_of_threads() -> Iterator[None]:
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        yield


GREENLETS = """
import sys
from gevent import monkey
monkey.patch_all({patches})
import leveret
try:
    with leveret.connect(sys.argv[1], timeout=10.0) as connection:
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        channel.publish(b"x", routing_key=queue)
        assert channel.consume(queue).get().body == b"x"
except leveret.ConfigurationError as error:
    print(error)
else:
    print("works")
"""


@pytest.mark.parametrize(
    ("patches", "said"),
    [
        ("", "works"),
        ("thread=False, select=False", "works"),
        ("select=False", "gevent has patched threading, but not select: expected"),
        ("thread=False", "gevent has patched select, but not threading: expected"),
    ],
)
def test_gevent_patches_threads_and_waiting_or_neither(url: str, patches: str, said: str) -> None:
    pytest.importorskip("gevent", exc_type=ImportError)
    ended = subprocess.run(
        [sys.executable, "-c", GREENLETS.format(patches=patches), url],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
        cwd=ROOT,
    )
    assert ended.stdout.startswith(said), ended
