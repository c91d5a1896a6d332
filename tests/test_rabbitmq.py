"""tools/rabbitmq: the servers that the tests run on."""

from __future__ import annotations

import subprocess
import sys

import pytest

from .support.brokers import TOOL, BrokerUnderTest


def test_a_server_opens_connections_without_dns(broker: BrokerUnderTest) -> None:
    number = broker.name.removeprefix("rabbitmq-")
    if number == broker.name:
        pytest.skip("no server")
    command = [sys.executable, str(TOOL), "ctl", number, "--", "eval"]
    ask = "{inet_db:res_option(lookup), inet:gethostbyname(element(2, inet:gethostname()))}."
    said = subprocess.run(
        [*command, ask], capture_output=True, text=True, timeout=60, check=True
    ).stdout
    assert said.startswith("{[file],{ok,"), said
