# Made by tools/async_to_sync.py from conformance/asyncio/test_tls.py: change it there.
"""TLS: the chain and the host name are verified unless asked not to."""

from __future__ import annotations

import ssl

import pytest

from leveret import (
    AuthenticationError,
    ChannelClosedError,
    ConfigurationError,
    ConnectFailed,
    ConnectionLost,
    RemoteProtocolError,
)

from ...support.brokers import BrokerUnderTest
from ...support.proxy import Proxy
from ...support.threads import start
from .helpers import connect, exclusive_queue, get

# Leveret's own broker has no EXTERNAL.
EXTERNAL = {"rabbitmq-3": True, "rabbitmq-4": True, "embedded": False}


def test_amqps_verifies_and_carries_large_bodies(broker: BrokerUnderTest) -> None:
    url = broker.url_for(tls=True, cacertfile=broker.certificates / "ca.pem", verify="verify_peer")
    with connect(url) as connection:
        channel = connection.channel()
        queue = exclusive_queue(channel)
        body = bytes(range(256)) * 4096
        channel.publish(body, routing_key=queue, persistent=False)
        assert (get(channel, queue)).body == body


def test_a_context_of_the_callers(broker: BrokerUnderTest) -> None:
    context = ssl.create_default_context(cafile=broker.certificates / "ca.pem")
    with connect(broker.url_for(tls=True), ssl_context=context) as connection:
        assert connection.is_open


def test_an_authority_that_is_not_trusted(broker: BrokerUnderTest) -> None:
    for cafile in (None, str(broker.certificates / "other-ca.pem")):
        with pytest.raises(ConnectFailed, match="CERTIFICATE_VERIFY_FAILED"):
            connect(broker.url_for(tls=True), cacertfile=cafile)


def test_a_host_name_that_the_certificate_does_not_have(broker: BrokerUnderTest) -> None:
    url = broker.url_for(
        tls=True,
        cacertfile=broker.certificates / "ca.pem",
        server_name_indication="wrong.invalid",
    )
    with pytest.raises(ConnectFailed, match=r"wrong\.invalid"):
        connect(url)


def test_another_of_the_certificates_names(broker: BrokerUnderTest) -> None:
    url = broker.url_for(
        tls=True, cacertfile=broker.certificates / "ca.pem", server_name_indication="localhost"
    )
    with connect(url) as connection:
        assert connection.is_open


def test_verification_can_be_switched_off(broker: BrokerUnderTest) -> None:
    url = broker.url_for(tls=True, verify="verify_none", server_name_indication="wrong.invalid")
    with connect(url) as connection:
        assert connection.is_open


def test_external_takes_the_user_from_the_certificate(broker: BrokerUnderTest) -> None:
    url = broker.url_for(
        "",
        "",
        tls=True,
        cacertfile=broker.certificates / "ca.pem",
        certfile=broker.certificates / "client.pem",
        keyfile=broker.certificates / "client.key",
        auth_mechanism="external",
    )
    if not EXTERNAL[broker.name]:
        with pytest.raises(ConfigurationError, match=r"mechanism in common.*EXTERNAL"):
            connect(url)
        return
    with connect(url) as connection:
        exclusive_queue(connection.channel())


def test_external_without_a_certificate(broker: BrokerUnderTest) -> None:
    url = broker.url_for(
        tls=True, cacertfile=broker.certificates / "ca.pem", auth_mechanism="EXTERNAL"
    )
    # without a certificate RabbitMQ does not offer EXTERNAL
    with pytest.raises((ConfigurationError, AuthenticationError)):
        connect(url)


def test_a_client_certificate_that_the_broker_does_not_trust(
    broker: BrokerUnderTest,
) -> None:
    url = broker.url_for(
        tls=True,
        cacertfile=broker.certificates / "ca.pem",
        certfile=broker.certificates / "other.pem",
        keyfile=broker.certificates / "other.key",
    )
    if broker.name == "embedded":  # it asks for no certificate
        with connect(url) as connection:
            assert connection.is_open
        return
    with pytest.raises((ConnectFailed, ConnectionLost)):
        connect(url)


def test_files_that_cannot_be_used(broker: BrokerUnderTest) -> None:
    missing = str(broker.certificates / "no-such.pem")
    with pytest.raises(ConfigurationError, match=r"no-such\.pem"):
        connect(broker.url_for(tls=True), cacertfile=missing)
    with pytest.raises(ConfigurationError, match="keyfile is given without certfile"):
        connect(broker.url_for(tls=True), keyfile=str(broker.certificates / "client.key"))


def test_tls_where_the_broker_speaks_plainly(broker: BrokerUnderTest) -> None:
    url = "amqps" + broker.url.removeprefix("amqp")
    with pytest.raises((ConnectFailed, ConnectionLost)):
        connect(url, connect_timeout=5)


def test_plainly_where_the_broker_speaks_tls(broker: BrokerUnderTest) -> None:
    url = "amqp" + broker.url_for(tls=True).removeprefix("amqps")
    # some say so with a TLS alert, some just hang up
    with pytest.raises((ConnectionLost, RemoteProtocolError)) as caught:
        connect(url, connect_timeout=5)
    if isinstance(caught.value, RemoteProtocolError):
        assert "amqps://" in str(caught.value)


def test_a_tls_connection_that_is_cut(broker: BrokerUnderTest) -> None:
    with Proxy(broker.url_for(tls=True, cacertfile=broker.certificates / "ca.pem")) as proxy:
        connection = connect(proxy.url)
        channel = connection.channel()
        consumer = channel.consume(exclusive_queue(channel))
        waiting = start(consumer.get)
        proxy.cut()
        with pytest.raises(ChannelClosedError) as caught:
            waiting.result()
        assert isinstance(caught.value.reason, ConnectionLost)
        connection.close()
