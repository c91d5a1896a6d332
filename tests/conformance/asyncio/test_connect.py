"""Connecting: URLs, virtual hosts, credentials, limits, names, and what goes wrong."""

from __future__ import annotations

import socket
from urllib.parse import quote

import pytest

import leveret.asyncio as client
from leveret import (
    AuthenticationError,
    ConfigurationError,
    ConnectFailed,
    ConnectionClosedError,
    ConnectionLost,
    Credentials,
    DeadlineExceeded,
    NotAllowed,
    RemoteProtocolError,
)

from ...support.brokers import BrokerUnderTest
from ...support.peers import answering
from ...support.tasks import Signal
from .helpers import connect, exclusive_queue, open_connection, unique

ANONYMOUS = {"rabbitmq-3": False, "rabbitmq-4": True, "embedded": True}
PERMISSION_WORDS = "access to vhost '{vhost}' refused for user 'limited'"


async def test_a_url_says_where(broker: BrokerUnderTest) -> None:
    async with await connect(broker.url) as connection:
        assert connection.is_open
        assert connection.close_reason is None
        assert connection.parameters.virtual_host == broker.vhost
        assert (connection.parameters.host, connection.parameters.port) == broker.address()
    assert not connection.is_open
    assert connection.close_reason is None


async def test_a_missing_path_means_the_default_virtual_host(broker: BrokerUnderTest) -> None:
    url = broker.url_for(vhost="").rstrip("/")
    async with await connect(url) as connection:
        assert connection.parameters.virtual_host == "/"


async def test_an_empty_virtual_host_falls_back_to_slash(broker: BrokerUnderTest) -> None:
    url = broker.url_for(vhost="")
    assert url.endswith("/")
    async with await connect(url) as connection:
        assert connection.parameters.virtual_host == "/"
        assert connection.is_open


async def test_options_win_over_the_url(broker: BrokerUnderTest) -> None:
    url = broker.url_for("nobody", "wrong", vhost="nowhere", heartbeat=7)
    async with await connect(
        url, credentials=("guest", "guest"), virtual_host=broker.vhost, heartbeat=9
    ) as connection:
        assert connection.heartbeat == 9


async def test_query_parameters_set_the_limits(broker: BrokerUnderTest) -> None:
    url = broker.url_for(heartbeat=7, channel_max=5, frame_max=8192, connection_timeout=9000)
    async with await client.connect(url) as connection:
        assert connection.heartbeat == 7
        assert connection.channel_max == 5
        assert connection.frame_max == 8192
        assert connection.parameters.connect_timeout == 9.0


async def test_the_broker_proposes_limits(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        assert connection.heartbeat == 60
        assert connection.channel_max == 2047
        assert connection.frame_max == 131072


async def test_heartbeats_can_be_switched_off(broker: BrokerUnderTest) -> None:
    async with open_connection(broker, heartbeat=0) as connection:
        assert connection.heartbeat == 0


async def test_the_broker_says_who_it_is(broker: BrokerUnderTest) -> None:
    async with open_connection(broker) as connection:
        properties = connection.server_properties
        assert properties["product"] == "RabbitMQ"
        capabilities = properties["capabilities"]
        assert isinstance(capabilities, dict)
        assert capabilities["publisher_confirms"] is True
        assert capabilities["consumer_cancel_notify"] is True


async def test_a_name_and_properties_can_be_given(broker: BrokerUnderTest) -> None:
    async with open_connection(
        broker, name=unique("näme"), client_properties={"purpose": "test", "n": [1, {"a": None}]}
    ) as connection:
        assert connection.is_open


async def test_an_unknown_virtual_host_is_not_allowed(broker: BrokerUnderTest) -> None:
    vhost = unique("no such/vhost")
    with pytest.raises(NotAllowed) as caught:
        await connect(broker.url_for(vhost=vhost))
    assert caught.value.reply_code == 530
    assert caught.value.reply_text == f"NOT_ALLOWED - vhost {vhost} not found"
    assert caught.value.operation == "connection.open"


async def test_a_virtual_host_without_permission_is_not_allowed(broker: BrokerUnderTest) -> None:
    if not broker.has_permissions:  # the embedded broker lets every user in everywhere
        async with await connect(broker.url_for("limited", "limited", vhost="/")) as connection:
            assert connection.is_open
        return
    with pytest.raises(NotAllowed) as caught:
        await connect(broker.url_for("limited", "limited", vhost="/"))
    assert PERMISSION_WORDS.format(vhost="/") in caught.value.reply_text


@pytest.mark.parametrize(("user", "password"), [("guest", "wrong"), ("nobody", "x"), ("", "")])
async def test_wrong_credentials_are_refused(
    broker: BrokerUnderTest, user: str, password: str
) -> None:
    with pytest.raises(AuthenticationError) as caught:
        await connect(broker.url_for(user, password))
    assert caught.value.reply_code == 403
    assert caught.value.reply_text == (
        "ACCESS_REFUSED - Login was refused using authentication mechanism PLAIN. "
        "For details see the broker logfile."
    )
    assert not caught.value.retryable


@pytest.mark.parametrize("mechanism", ["PLAIN", "AMQPLAIN"])
async def test_password_mechanisms(broker: BrokerUnderTest, mechanism: str) -> None:
    async with await connect(broker.url_for(auth_mechanism=mechanism)) as connection:
        await exclusive_queue(await connection.channel())
    async with await connect(broker.url, mechanisms=(mechanism,)) as connection:
        assert connection.is_open
    with pytest.raises(AuthenticationError, match=f"using authentication mechanism {mechanism}"):
        await connect(broker.url_for("guest", "wrong", auth_mechanism=mechanism))


async def test_anonymous(broker: BrokerUnderTest) -> None:
    url = broker.url_for(auth_mechanism="ANONYMOUS")
    if ANONYMOUS[broker.name]:
        async with await connect(url) as connection:
            assert connection.is_open
        return
    with pytest.raises(ConfigurationError, match=r"mechanism in common.*ANONYMOUS.*AMQPLAIN"):
        await connect(url)


async def test_credentials_are_asked_for_at_each_connect(broker: BrokerUnderTest) -> None:
    answers = [
        Credentials("guest", "wrong"),
        ("guest", "guest"),
        Credentials("guest", "guest", ["AMQPLAIN"]),
    ]
    asked = iter(answers)

    def source() -> object:
        return next(asked)

    url = broker.url_for("nobody", "nothing")
    with pytest.raises(AuthenticationError):
        await connect(url, credentials=source)
    for _ in range(2):
        async with await connect(url, credentials=source) as connection:
            assert connection.is_open
    assert next(asked, None) is None


async def test_asking_for_credentials_may_take_a_while(broker: BrokerUnderTest) -> None:
    async def source() -> tuple[str, str]:
        async with open_connection(broker) as vault:  # as good a thing to wait for as any
            assert vault.is_open
        return "guest", "guest"

    url = broker.url_for("nobody", "nothing")
    async with await connect(url, credentials=source) as connection:
        assert connection.is_open


async def test_what_the_credentials_callable_raises_is_raised(broker: BrokerUnderTest) -> None:
    def source() -> object:
        raise LookupError("the vault is closed")

    with pytest.raises(LookupError, match="the vault is closed"):
        await connect(broker.url, credentials=source)


async def test_ipv6(broker: BrokerUnderTest) -> None:
    async with await connect(broker.url_for(ipv6=True)) as connection:
        assert connection.parameters.host == "::1"
        await exclusive_queue(await connection.channel())


async def test_a_host_name_is_resolved(broker: BrokerUnderTest) -> None:
    _, port = broker.address()
    url = f"amqp://guest:guest@localhost:{port}/{quote(broker.vhost, safe='')}"
    async with await connect(url) as connection:
        assert connection.is_open


async def test_nobody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    with pytest.raises(ConnectFailed, match=rf"127\.0\.0\.1:{port}") as caught:
        await connect(f"amqp://guest:secretword@127.0.0.1:{port}/")
    assert isinstance(caught.value, OSError)
    assert caught.value.retryable
    assert "secretword" not in str(caught.value)


async def test_a_name_that_does_not_resolve() -> None:
    with pytest.raises(ConnectFailed, match=r"no-such-host\.invalid"):
        await connect("amqp://no-such-host.invalid/")


async def test_a_server_that_says_nothing() -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        pytest.raises(DeadlineExceeded, match="handshake"),
    ):
        port = server.getsockname()[1]
        await connect(f"amqp://guest:guest@127.0.0.1:{port}/", connect_timeout=0.2)


async def test_a_server_that_hangs_up() -> None:
    with answering(b"") as url, pytest.raises(ConnectionLost):
        await connect(url)


async def test_a_server_of_another_protocol() -> None:
    with (
        answering(b"AMQP\x03\x01\x00\x00") as url,
        pytest.raises(RemoteProtocolError, match="AMQP 0-9-1"),
    ):
        await connect(url)


async def test_closing_twice_and_using_what_is_closed(broker: BrokerUnderTest) -> None:
    connection = await connect(broker.url)
    channel = await connection.channel()
    await connection.close()
    await connection.close()
    with pytest.raises(ConnectionClosedError):
        await connection.channel()
    with pytest.raises(ConnectionClosedError):
        await connection.update_secret("x")
    assert not channel.is_open


async def test_on_close_is_called_once_without_a_reason(broker: BrokerUnderTest) -> None:
    connection = await connect(broker.url)
    closed = Signal()
    connection.on_close = closed
    assert connection.on_close is closed
    await connection.close()
    assert await closed.next() == (None,)
    await connection.close()
    assert len(closed.calls) == 1


async def test_leaving_the_block_with_an_error_closes(broker: BrokerUnderTest) -> None:
    with pytest.raises(KeyError):
        async with open_connection(broker) as connection:
            raise KeyError("mine")
    assert not connection.is_open


async def test_repr_says_where_and_how_it_is(broker: BrokerUnderTest) -> None:
    host, port = broker.address()
    async with open_connection(broker) as connection:
        assert f"{host}:{port}" in repr(connection)
        assert broker.vhost in repr(connection)
        assert "open" in repr(connection)
    assert "closed" in repr(connection)


@pytest.mark.parametrize(
    ("option", "value", "expected"),
    [
        ("timeout", "5", "timeout is of type str: expected int or float"),
        ("connect_timeout", None, "connect_timeout is of type NoneType: expected int or float"),
        ("heartbeat", "x", r"heartbeat is of type str: expected int \(seconds\) or None"),
        ("heartbeat", True, "heartbeat is of type bool"),
        ("channel_max", "7", "channel_max is of type str: expected int"),
        ("virtual_host", b"/", "virtual_host is of type bytes: expected str"),
        ("mechanisms", "PLAIN", "mechanisms is of type str: expected a tuple of str"),
        ("mechanisms", 5, "mechanisms is of type int"),
        ("client_properties", [], "client_properties is of type list: expected a mapping"),
        ("ssl_context", "x", "ssl_context"),
        ("verify", "no", "verify is of type str: expected bool"),
        ("virtual_host", "\udcff", "virtual_host is not a text that UTF-8 can hold"),
    ],
)
async def test_an_option_of_the_wrong_type(option: str, value: object, expected: str) -> None:
    with pytest.raises(ConfigurationError, match=expected):
        await client.connect("amqp://localhost", **{option: value})  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("localhost", "got 'localhost'"),
        ("localhost:5672/x", "got 'localhost:5672/x'"),
        ("", "got ''"),
        ("user:secret@localhost", "got something else"),
        ("user:secret", "got something else"),
        ("amqp:user:secret@localhost", "got something else"),
        ("amqp://user:secret", "the port is not a number"),
        (5, "URL is of type int: expected str"),
    ],
)
async def test_what_is_not_a_url(url: str, words: str) -> None:
    with pytest.raises(ConfigurationError, match=words) as caught:
        await client.connect(url)
    assert "secret" not in str(caught.value)
    if not words.startswith(("the port", "URL")):
        assert "expected amqp://" in str(caught.value)
