"""Celery under load while workers, connections and brokers fail: on py-amqp and on Leveret at once.

With late acknowledgements and publisher confirms nothing may be lost. With early acknowledgements,
Celery's default, a killed worker takes with it what its processes had begun, and no more.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import uuid
from contextlib import ExitStack
from pathlib import Path

import pytest
from tests.support.proxy import Proxy
from tests.support.threads import eventually, start

pytest.importorskip("celery")
pytest.importorskip("amqp")

HERE = Path(__file__).resolve().parent
DRIVERS = ("py-amqp", "leveret")
COUNT = 1000
PROCESSES = 2
SECONDS = 90.0


class Column:
    """A worker and a publisher on one library, each with its own way to the broker.

    Args:
        driver: py-amqp or leveret.
        url: the broker's.
        folder: for what they write down.
        acks: early or late.
        stack: ends everything.
    """

    def __init__(self, driver, url, folder, acks, stack):
        folder.mkdir()
        self.driver = driver
        self._folder = folder
        self._stack = stack
        self.proxies = {name: stack.enter_context(Proxy(url)) for name in ("worker", "publisher")}
        self._environment = {
            **os.environ,
            "DRIVER": driver,
            "FOLDER": str(folder),
            "ACKS": acks,
            "TASK_QUEUE": f"load-{uuid.uuid4().hex}",
        }
        self.worker = self.start_worker()

    def begin(self):
        """Wait for the worker, and publish: both are under load from then on."""
        eventually(lambda: " ready." in self.log("worker"), SECONDS)
        self.publisher = self._start("publisher", "load_app.py", str(COUNT))

    def _start(self, name, *command):
        log = self._stack.enter_context((self._folder / f"{name}.log").open("a"))
        process = subprocess.Popen(
            [sys.executable, *command],
            cwd=HERE,
            env={**self._environment, "BROKER_URL": self.proxies[name].url},
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
        self._stack.callback(self.kill, process)
        return process

    def start_worker(self):
        """A worker with all of its processes."""
        options = ["-P", "prefork", "-c", str(PROCESSES), "-l", "info", "-n", self.driver]
        options += ["--without-gossip", "--without-mingle", "--without-heartbeat"]
        return self._start("worker", "-m", "celery", "-A", "load_app", "worker", *options)

    def kill(self, process):
        """End a process and its children without a word."""
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        process.wait()

    def numbers(self, name):
        """What has been written down."""
        try:
            return [int(line) for line in (self._folder / name).read_text().split()]
        except FileNotFoundError:
            return []

    def wait_for(self, name, count):
        """Until so many are sent, or done."""
        words = f"{self.driver}: {count} {name}"
        eventually(lambda: len(set(self.numbers(name))) >= count or self.has_failed(), SECONDS)
        assert not self.has_failed(), f"{words}: the publisher failed\n{self.log('publisher')}"

    def is_publishing(self):
        """Whether the publisher has more to send."""
        return self.publisher.poll() is None

    def has_failed(self):
        """Whether the publisher has given up."""
        return self.publisher.poll() not in (None, 0)

    def log(self, name):
        """The last words of the worker or the publisher."""
        return (self._folder / f"{name}.log").read_text()[-5000:]

    def lost(self):
        """What was sent, and is not done."""
        return set(self.numbers("sent")) - set(self.numbers("done"))

    def finish(self, may_be_lost=0):
        """Wait for the end, and end the worker; what was lost.

        Args:
            may_be_lost: how many need not be waited for.
        """
        self.publisher.wait(SECONDS)
        assert not self.has_failed(), f"{self.driver}:\n{self.log('publisher')}"
        try:
            eventually(lambda: len(self.lost()) <= may_be_lost, SECONDS)
        except AssertionError:
            pass  # it is told by what is lost
        self.worker.send_signal(signal.SIGTERM)
        try:
            self.worker.wait(SECONDS)
        except subprocess.TimeoutExpired:
            pytest.fail(f"{self.driver}: the worker does not end\n{self.log('worker')}")
        assert self.worker.returncode == 0, f"{self.driver}:\n{self.log('worker')}"
        return self.lost()


def both(broker, folder, acks, scenario):
    """Run a scenario on both libraries at once; what each has lost."""
    with ExitStack() as stack:
        columns = [Column(name, broker.url, folder / name, acks, stack) for name in DRIVERS]

        def run(column):
            column.begin()
            return scenario(column)

        running = [start(run, column) for column in columns]
        lost = {
            column.driver: result.result(4 * SECONDS)
            for column, result in zip(columns, running, strict=True)
        }
        for column in columns:
            assert sorted(set(column.numbers("sent"))) == list(range(COUNT))
    return lost


@pytest.mark.timeout(400)
@pytest.mark.parametrize(("acks", "each"), [("late", 0), ("early", PROCESSES)])
def test_a_killed_worker(broker, tmp_path, acks, each):
    if acks == "early" and broker.name != "rabbitmq-4":
        pytest.skip("what is lost then is Celery's doing: once is enough")
    kills = 2

    def scenario(column):
        for kill in range(1, kills + 1):
            column.wait_for("done", kill * COUNT // (kills + 2))
            column.kill(column.worker)
            column.worker = column.start_worker()
        return column.finish(may_be_lost=each * kills)

    lost = both(broker, tmp_path, acks, scenario)
    assert len(lost["leveret"]) <= each * kills, lost
    assert len(lost["py-amqp"]) <= each * kills, lost


@pytest.mark.timeout(400)
def test_connections_that_are_reset(broker, tmp_path):
    def scenario(column):
        for name in ("sent", "sent", "done", "done"):
            column.wait_for(name, min(len(set(column.numbers(name))) + COUNT // 10, COUNT))
            if name == "sent":
                assert column.is_publishing(), "nothing was under way"
                publisher = column.proxies["publisher"]
                publisher.hold_to_broker()  # so that a publish is lost on the way: it is made again
                assert publisher.wait_for_held(SECONDS)
            for proxy in column.proxies.values():
                proxy.cut(reset=True)
                proxy.release()
        return column.finish()

    assert both(broker, tmp_path, "late", scenario) == {"py-amqp": set(), "leveret": set()}


@pytest.mark.timeout(600)
def test_a_broker_that_restarts(broker, tmp_path):
    if broker.name == "embedded":
        pytest.skip("it keeps its queues in memory: a restart forgets them")

    restart = threading.Barrier(len(DRIVERS), action=broker.restart, timeout=SECONDS)

    def scenario(column):
        column.wait_for("done", COUNT // 10)
        assert column.is_publishing(), "nothing was under way"
        publisher = column.proxies["publisher"]
        publisher.hold_to_broker()  # as above: it has sent something that the broker never gets
        assert publisher.wait_for_held(SECONDS)
        restart.wait()
        publisher.cut(reset=True)
        publisher.release()
        return column.finish()

    assert both(broker, tmp_path, "late", scenario) == {"py-amqp": set(), "leveret": set()}
