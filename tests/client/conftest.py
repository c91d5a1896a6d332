"""A core and a channel of it, open as far as bytes can make them so."""

from __future__ import annotations

import pytest

from leveret import wire
from leveret.client.channel import BaseChannel
from leveret.client.core import BaseCore
from leveret.client.parameters import parse_url

from .waiting import Waiting, send


@pytest.fixture
def core() -> BaseCore:
    parameters = parse_url("amqp://guest:guest@localhost")
    credentials = parameters.with_mechanisms(("guest", "guest"))
    core = BaseCore(parameters, parameters.client_options(credentials))
    core.protocol.initiate(0.0)
    for method in (
        wire.ConnectionStart(0, 9, {}, b"PLAIN", b"en_US"),
        wire.ConnectionTune(2047, 131072, 0),
        wire.ConnectionOpenOk(),
    ):
        core.protocol.receive_data(method.encode(0), 0.0)
    core.dispatch()
    send(core, 0)
    return core


@pytest.fixture
def channel(core: BaseCore) -> BaseChannel:
    channel = BaseChannel(core)
    core.begin_channel(channel, Waiting())
    core.protocol.receive_data(wire.ChannelOpenOk().encode(1), 0.0)
    core.dispatch()
    send(core, 0)
    return channel
