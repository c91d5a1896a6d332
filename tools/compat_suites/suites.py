"""Which tests of which releases are run.

Left out: what is about other brokers than RabbitMQ, and what needs more than a RabbitMQ at hand
(Celery's smoke tests want Docker, its tests of canvases a result backend with chords, which `rpc://`
is not; oslo's failover test wants to start a cluster itself).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

__all__ = ["NEEDED", "SUITES", "Part", "Runner", "Suite"]


class Runner(Enum):
    """What runs a part."""

    PYTEST = "pytest"
    UNITTEST = "unittest"  # for tests that come from `load_tests`


@dataclass(frozen=True)
class Part:
    """Tests that run in one process, and make one line of the table.

    Attributes:
        name: of the line; where `tests` is empty, the file or the module as well.
        tests: files, folders and options of pytest, or modules.
        seconds: how long it may take; what has not run then counts as failed.
    """

    name: str
    tests: tuple[str, ...] = ()
    runner: Runner = Runner.PYTEST
    seconds: int = 300

    @property
    def wants_broker(self) -> bool:
        """Whether its tests talk to the server."""
        return "integration" in self.name or "functional" in self.name

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.tests or (self.name,)


@dataclass(frozen=True)
class Suite:
    """A release, and what is run of it; `archive` is how its source package is called."""

    package: str
    version: str
    archive: str
    parts: tuple[Part, ...]


def _functional(kind: str) -> Part:
    module = f"oslo_messaging.tests.functional.{kind}"
    return Part(module, runner=Runner.UNITTEST, seconds=900)


_OSLO = "oslo_messaging.tests"
_KOMBU_LEFT_OUT = [
    f"--ignore=t/unit/transport/{name}"
    for name in ("SQS", "test_azurestoragequeues.py", "test_azureservicebus.py", "test_gcpubsub.py")
]

SUITES = (
    Suite(
        "amqp",
        "5.4.2",
        "amqp",
        (
            Part("t/unit/test_abstract_channel.py"),
            Part("t/unit/test_basic_message.py"),
            Part("t/unit/test_channel.py"),
            Part("t/unit/test_connection.py"),
            Part("t/unit/test_exceptions.py"),
            Part("t/unit/test_method_framing.py"),
            Part("t/unit/test_platform.py"),
            Part("t/unit/test_sasl.py"),
            Part("t/unit/test_serialization.py"),
            Part("t/unit/test_transport.py"),
            Part("t/unit/test_utils.py"),
            Part("t/integration/test_integration.py"),
            Part("t/integration/test_rmq.py"),
        ),
    ),
    Suite(
        "kombu",
        "5.7.0",
        "kombu",
        (
            Part("t/unit", ("t/unit", *_KOMBU_LEFT_OUT), seconds=600),
            Part("t/integration/test_py_amqp.py"),
        ),
    ),
    Suite(
        "celery",
        "5.7.0",
        "celery",
        (
            Part("t/unit/app", seconds=600),
            Part("t/unit/backends", ("t/unit/backends/test_rpc.py",)),
            Part("t/unit/events"),
            # the 27,000 subtests of stamping touch no broker
            Part(
                "t/unit/tasks",
                ("t/unit/tasks", "--ignore=t/unit/tasks/test_stamping.py"),
                seconds=900,
            ),
            Part("t/unit/worker", seconds=900),
            Part("t/integration/test_inspect.py"),
            Part("t/integration/test_loader.py"),
            Part("t/integration/test_tasks.py", seconds=900),
            Part("t/integration/test_worker.py"),
        ),
    ),
    Suite(
        "oslo.messaging",
        "18.3.1",
        "oslo_messaging",
        (
            Part(f"{_OSLO}.drivers.test_amqpdriver", runner=Runner.UNITTEST),
            Part(f"{_OSLO}.drivers.test_impl_rabbit", runner=Runner.UNITTEST),
            Part(f"{_OSLO}.drivers.test_pool", runner=Runner.UNITTEST),
            Part(
                f"{_OSLO}.notify",
                tuple(
                    f"{_OSLO}.notify.test_{name}"
                    for name in ("dispatcher", "listener", "log_handler", "logger", "notifier")
                ),
                runner=Runner.UNITTEST,
            ),
            Part(
                f"{_OSLO}.rpc",
                tuple(f"{_OSLO}.rpc.test_{name}" for name in ("client", "dispatcher", "server")),
                runner=Runner.UNITTEST,
            ),
            Part(f"{_OSLO}.test_transport", runner=Runner.UNITTEST),
            _functional("test_functional.CallTestCase"),
            _functional("test_functional.CastTestCase"),
            _functional("test_functional.NotifyTestCase"),
            _functional("notify.test_logger"),
        ),
    ),
)

#: What upstream's tests import, besides the releases themselves.
NEEDED = (
    "boto3",
    "cryptography",
    "eventlet",
    "gevent",
    "hypothesis<7",
    "moto",
    "msgpack",
    "oslotest",
    "pydantic",
    "pytest",
    "pytest-celery",
    "pytest-click",
    "pytest-freezer",
    "pytest-order",
    "pytest-rerunfailures",
    "pytest-subtests",
    "pytest-timeout",
    "PyYAML",
    "redis",
    "sqlalchemy",
    "testscenarios",
    "vine",
)
