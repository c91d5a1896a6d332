"""Whole programs on the drop-in: kombu, greenlets, forks, and the ways of switching it on.

Celery's and oslo.messaging's are the examples; see tests/examples.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest
from tests.examples.scripts import Script
from tests.support.threads import eventually

from leveret.compat import switch

HERE = Path(__file__).resolve().parent
SECONDS = 90


def python(*arguments, **environment):
    """Run a program; what it printed."""
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=HERE,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, f"{done.stdout}\n{done.stderr}"
    return done.stdout


# -- kombu -------------------------------------------------------------------------------------

KOMBU = """
import sys, socket
import amqp, kombu
from leveret import compat
compat.install()
url, dead = sys.argv[1:]
with socket.socket() as unused:
    unused.bind(("127.0.0.1", 0))
    with kombu.Connection(f"amqp://127.0.0.1:{unused.getsockname()[1]};{url}") as connection:
        connection.ensure_connection(max_retries=3, interval_start=0)
        assert connection.transport.driver_name == "leveret"
        assert type(connection.connection).__module__ == "leveret.compat.kombu"
        assert connection.recoverable_connection_errors[0] is amqp.RecoverableConnectionError
        queue = kombu.Queue("kombu", channel=connection, auto_delete=True)
        queue.declare()
        got = []
        def on_message(body, message):
            got.append(body)
            message.ack()
        with connection.Consumer(queue, callbacks=[on_message]):
            connection.Producer().publish({"number": 1}, routing_key="kombu")
            connection.drain_events(timeout=10)
        assert got == [{"number": 1}], got
        try:
            kombu.Queue("none", channel=connection).queue_declare(passive=True)
        except amqp.NotFound as error:
            print("py-amqp's error:", error.reply_code)
for name in ("leveret", "leverets"):
    assert kombu.Connection(f"{name}://localhost").transport.driver_name == "leveret"
assert kombu.Connection("amqps://localhost").ssl is False
assert kombu.Connection("amqps://localhost").transport.client.ssl
assert kombu.Connection("pyamqp://localhost").transport.driver_name == "py-amqp"
"""


def test_kombu_uses_it_by_its_own_urls(broker):
    pytest.importorskip("kombu")
    pytest.importorskip("amqp")
    assert python("-c", KOMBU, broker.url, "") == "py-amqp's error: 404\n"


# -- greenlets and processes -------------------------------------------------------------------


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
@pytest.mark.parametrize("library", ["gevent", "eventlet"])
def test_greenlets_run_while_one_drains(broker, library, tls):
    pytest.importorskip(library, exc_type=ImportError)
    host, port = broker.address(tls=tls)
    certificate = str(broker.certificates / "ca.pem") if tls else ""
    arguments = [library, f"{host}:{port}", broker.vhost, certificate]
    assert python("-W", "ignore", "green_program.py", *arguments) == "all came, and True\n"


FORK = """
import os, sys
from leveret.compat import amqp
host, vhost, certificate = sys.argv[1:]
ssl = {"ca_certs": certificate} if certificate else False
def connect():
    made = amqp.Connection(host, virtual_host=vhost, ssl=ssl, login_method="PLAIN")
    made.connect()
    return made
connection = connect()
channel = connection.channel()
queue = channel.queue_declare(auto_delete=True).queue
got = []
channel.basic_consume(queue, callback=lambda message: got.append(message.body), no_ack=True)
for end in ("collects", "exits"):
    child = os.fork()
    if not child:
        own = connect()
        own.channel().basic_publish(amqp.Message(end), routing_key=queue)
        own.close()
        if end == "collects":
            connection.collect()
            os._exit(0)
        sys.exit()
    assert os.waitpid(child, 0)[1] == 0
    channel.basic_publish(amqp.Message("parent"), routing_key=queue)
while len(got) < 4:
    connection.drain_events(timeout=10)
connection.close()
print(*sorted(got))
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork()")
@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_a_parent_keeps_its_connection_whatever_its_children_do(broker, tls):
    host, port = broker.address(tls=tls)
    certificate = str(broker.certificates / "ca.pem") if tls else ""
    said = python("-c", FORK, f"{host}:{port}", broker.vhost, certificate)
    assert said == "collects exits parent parent\n"


# -- import amqp -------------------------------------------------------------------------------

NAMES = """
import amqp, amqp.serialization, amqp.transport, leveret.compat.amqp
from amqp.exceptions import NotFound
assert amqp is leveret.compat.amqp
assert amqp.transport is leveret.compat.amqp.transport
assert amqp.NotFound is NotFound
assert NotFound.__module__.startswith("leveret."), NotFound.__module__
assert amqp.__version__ == "5.4.2"
try:
    import amqp.nothing
except ModuleNotFoundError as error:
    assert error.name == "amqp.nothing", error.name
print(amqp.__name__)
"""


def test_run_puts_it_behind_import_amqp(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(NAMES + "import sys\nprint(sys.argv[1:])\n")
    said = python("-m", "leveret.compat", "run", str(script), "a", "-b")
    assert said == "leveret.compat.amqp\n['a', '-b']\n"


def test_run_finds_what_lies_beside_a_script(tmp_path):
    (tmp_path / "beside.py").write_text("import amqp\nNAME = amqp.__name__\n")
    script = tmp_path / "script.py"
    script.write_text("import beside, sys\nprint(beside.NAME, sys.argv)\n")
    said = python("-m", "leveret.compat", "run", str(script), "-x")
    assert said == f"leveret.compat.amqp {[str(script), '-x']}\n"


def test_run_finds_the_command_of_a_package():
    """As OpenStack's services are started: by a command that pip has made."""
    pytest.importorskip("celery")
    assert python("-m", "leveret.compat", "run", "celery", "--version")[0].isdecimal()


def test_run_says_what_it_does_not_find():
    done = subprocess.run(
        [sys.executable, "-m", "leveret.compat", "run", "no-such-command"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert done.stderr == "leveret.compat: no script and no command: no-such-command\n"


def test_kombu_itself_is_on_it_then(tmp_path):
    pytest.importorskip("kombu")
    script = tmp_path / "script.py"
    script.write_text(
        "from kombu.transport import pyamqp\nprint(pyamqp.Channel.__mro__[1].__module__)\n"
    )
    assert python("-m", "leveret.compat", "run", str(script)) == "leveret.compat.amqp.channel\n"


@pytest.mark.timeout(300)
def test_a_celery_worker_is_on_it_then(broker, tmp_path):
    """The program says nothing about Leveret; the log says so once, when logging is set up."""
    pytest.importorskip("celery")
    environment = {
        "BROKER_URL": broker.url,
        "TASK_QUEUE": f"run-{uuid.uuid4().hex}",
        "FOLDER": str(tmp_path),
        "DRIVER": "py-amqp",
        "ACKS": "late",
    }
    run = ["-m", "leveret.compat", "run"]
    celery = ["-m", "celery", "-A", "load_app", "worker", "-l", "info", "-c", "2"]
    worker = Script([sys.executable, *run, *celery], HERE, environment)
    try:
        worker.read_until(" ready.")
        python(*run, "load_app.py", "20", **environment)
        done = tmp_path / "done"
        eventually(lambda: done.exists() and len(done.read_text().split()) == 20, SECONDS)
        lines = worker.end(signal.SIGTERM)
    finally:
        worker.close()
    assert sum("import amqp gives leveret.compat.amqp" in line for line in lines) == 1


LOG = """
import logging, sys
logging.basicConfig(level="INFO", stream=sys.stdout, format="%(name)s %(message)s")
from leveret import compat
"""


def test_one_line_says_what_was_replaced():
    pytest.importorskip("kombu")
    said = python("-c", LOG + "compat.install()")
    assert said == (
        "leveret.compat kombu transports amqp, amqps, leveret, leverets are Leveret; amqp was "
        "kombu.transport.pyamqp:Transport; amqps was kombu.transport.pyamqp:SSLTransport\n"
    )
    said = python("-c", LOG + "compat.takeover()\nimport amqp, amqp.spec")
    assert said == "leveret.compat import amqp gives leveret.compat.amqp\n"


def test_too_late_says_so():
    pytest.importorskip("amqp")
    code = "import amqp\nfrom leveret import compat\ntry:\n    compat.takeover()\n"
    code += "except ImportError as error:\n    print(error)\nprint(amqp.__name__)"
    said = python("-c", code)
    assert "imported already" in said
    assert "python -m leveret.compat run" in said
    assert said.endswith("\namqp\n")


def test_enable_and_disable_write_and_remove_two_files(tmp_path, monkeypatch):
    monkeypatch.setattr(switch.sysconfig, "get_path", lambda name: str(tmp_path))
    assert switch.status().startswith("disabled")
    assert "from now on" in switch.enable()
    assert switch.status().startswith("enabled")
    assert len(list(tmp_path.iterdir())) == 2
    start = f"import site, sys; site.addsitedir({str(tmp_path)!r})\n"
    start += "assert 'leveret' not in sys.modules and 'amqp' not in sys.modules\n"
    assert python("-c", start + NAMES) == "leveret.compat.amqp\n"
    switch.disable()
    assert not list(tmp_path.iterdir())
    assert "was not enabled" in switch.disable()


def test_the_command_explains_itself():
    done = subprocess.run(
        [sys.executable, "-m", "leveret.compat", "frobnicate"],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 2
    assert "python -m leveret.compat enable" in done.stderr
