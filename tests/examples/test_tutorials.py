"""Each tutorial, blocking and asyncio, on every broker."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import leveret
from tests.support.brokers import BrokerUnderTest

from .scripts import ROOT, Scripts, running

STYLES = ("blocking", "asyncio")
QUEUES = ("hello", "task_queue", "rpc_queue")
EXCHANGES = ("logs", "direct_logs", "topic_logs")
WAITING = "[*] Waiting"


@pytest.fixture(params=STYLES)
def scripts(request: pytest.FixtureRequest, broker: BrokerUnderTest) -> Iterator[Scripts]:
    """The examples of a style, on a broker where none of them has been run."""
    style: str = request.param
    with running(style, broker.url) as found:
        yield found
    with leveret.connect(broker.url) as connection, connection.channel() as channel:
        for queue in QUEUES:
            channel.queue_delete(queue)
        for exchange in EXCHANGES:
            channel.exchange_delete(exchange)


def test_hello_world(scripts: Scripts) -> None:
    assert scripts.run("hello_world/send.py") == [" [x] Sent 'Hello World!'"]
    lines = scripts.run("hello_world/receive.py", "--count", "1")
    assert lines[-1] == " [x] Received 'Hello World!'"
    receiver = scripts.start("hello_world/receive.py", "--count", "2", wait_for=WAITING)
    scripts.run("hello_world/send.py")
    scripts.run("hello_world/send.py")
    assert receiver.finish()[1:] == [" [x] Received 'Hello World!'"] * 2


def test_work_queues(scripts: Scripts) -> None:
    """A busy worker is given no second task: the idle one gets it."""
    first = scripts.start("work_queues/worker.py", "--count", "1", wait_for=WAITING)
    second = scripts.start("work_queues/worker.py", "--count", "1", wait_for=WAITING)
    scripts.run("work_queues/new_task.py", "First.")
    scripts.run("work_queues/new_task.py", "Second", "task")
    done = sorted(worker.finish()[1] for worker in (first, second))
    assert done == [" [x] Received 'First.'", " [x] Received 'Second task'"]


def test_publish_subscribe(scripts: Scripts) -> None:
    assert scripts.run("publish_subscribe/emit_log.py") == [" [x] Sent 'info: Hello World!'"]
    receivers = [
        scripts.start("publish_subscribe/receive_logs.py", "--count", "1", wait_for=WAITING)
        for _ in range(2)
    ]
    scripts.run("publish_subscribe/emit_log.py", "warning:", "it", "smokes")
    for receiver in receivers:
        assert receiver.finish()[1:] == [" [x] warning: it smokes"]


def test_routing(scripts: Scripts) -> None:
    script = "routing/receive_logs_direct.py"
    errors = scripts.start(script, "--count", "1", "error", wait_for=WAITING)
    both = scripts.start(script, "--count", "2", "warning", "error", wait_for=WAITING)
    for severity in ("info", "warning", "error"):
        scripts.run("routing/emit_log_direct.py", severity, f"a line of {severity}")
    assert errors.finish()[1:] == [" [x] error:a line of error"]
    assert both.finish()[1:] == [" [x] warning:a line of warning", " [x] error:a line of error"]


def test_topics(scripts: Scripts) -> None:
    script = "topics/receive_logs_topic.py"
    all_lines = scripts.start(script, "--count", "3", "#", wait_for=WAITING)
    kernel = scripts.start(script, "--count", "1", "kern.*", wait_for=WAITING)
    critical = scripts.start(script, "--count", "2", "*.critical", wait_for=WAITING)
    for key in ("cron.info", "kern.critical", "cron.critical"):
        scripts.run("topics/emit_log_topic.py", key, "line")
    assert len(all_lines.finish()[1:]) == 3
    assert kernel.finish()[1:] == [" [x] kern.critical:line"]
    assert critical.finish()[1:] == [" [x] kern.critical:line", " [x] cron.critical:line"]


def test_rpc(scripts: Scripts) -> None:
    server = scripts.start("rpc/rpc_server.py", "--count", "2", wait_for="[x] Awaiting")
    assert scripts.run("rpc/rpc_client.py", "20")[-1] == " [.] Got 6765"
    assert scripts.run("rpc/rpc_client.py", "7")[-1] == " [.] Got 13"
    assert server.finish()[1:] == [" [.] fib(20)", " [.] fib(7)"]


def test_publisher_confirms(scripts: Scripts) -> None:
    lines = scripts.run("publisher_confirms/publisher_confirms.py", "--count", "200")
    ways = [line.partition(":")[0] for line in lines]
    assert ways == [" [x] one_at_a_time", " [x] with_a_window", " [x] with_handles"]
    assert all(": 200 messages confirmed" in line for line in lines)


def test_both_styles_have_the_same_scripts() -> None:
    found = {
        style: sorted(str(path.relative_to(ROOT / style)) for path in (ROOT / style).rglob("*.py"))
        for style in STYLES
    }
    assert found["blocking"] == found["asyncio"]
    assert len(found["blocking"]) == 13


TUTORIALS = sorted(path for style in STYLES for path in (ROOT / style).rglob("*.py"))


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_each_script_has_a_main_and_says_what_it_shows(path: Path) -> None:
    tree = ast.parse(path.read_text())
    assert (ast.get_docstring(tree) or "").startswith("Tutorial ")
    mains = [
        node
        for node in tree.body
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name == "main"
    ]
    assert len(mains) == 1
    assert mains[0].args.args[0].arg == "url"
