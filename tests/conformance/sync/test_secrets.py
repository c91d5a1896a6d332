# Made by tools/async_to_sync.py from conformance/asyncio/test_secrets.py: change it there.
"""Passwords and tokens are in no repr, no error and no log; they can be renewed."""

from __future__ import annotations

import logging

import pytest

from leveret import AuthenticationError, Credentials

from ...support.brokers import BrokerUnderTest
from .helpers import connect, exclusive_queue

SECRET = "s3cr3t-w0rd"


@pytest.fixture(autouse=True)
def log(caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    """Everything that is logged, in detail."""
    caplog.set_level(logging.DEBUG)
    return caplog


def test_a_refused_password_is_told_to_nobody(
    broker: BrokerUnderTest, log: pytest.LogCaptureFixture
) -> None:
    for mechanism in ("PLAIN", "AMQPLAIN"):
        with pytest.raises(AuthenticationError) as caught:
            connect(broker.url_for("guest", SECRET, auth_mechanism=mechanism))
        assert SECRET not in f"{caught.value!s}{caught.value!r}{vars(caught.value)}"
    assert SECRET not in log.text


def test_parameters_and_credentials_hide_it(
    broker: BrokerUnderTest, log: pytest.LogCaptureFixture
) -> None:
    # the password is "guest" and so is the user: look for the pair in any of its forms
    with connect(broker.url) as connection:
        parameters = repr(connection.parameters)
        assert "guest" not in parameters
        assert "guest" not in repr(connection)
        channel = connection.channel()
        assert "guest" not in repr(channel)
    assert SECRET not in repr(Credentials("guest", SECRET))
    assert SECRET not in str(Credentials("guest", SECRET))
    assert "guest:guest" not in log.text
    assert "PASSWORD" not in log.text


def test_a_new_secret_is_given(
    broker: BrokerUnderTest, log: pytest.LogCaptureFixture
) -> None:
    with connect(broker.url) as connection:
        connection.update_secret(SECRET, "it was about to expire")
        connection.update_secret(SECRET.encode())
        assert connection.is_open
        exclusive_queue(connection.channel())
    assert SECRET not in log.text


def test_a_secret_that_comes_too_late(
    broker: BrokerUnderTest, log: pytest.LogCaptureFixture
) -> None:
    connection = connect(broker.url)
    connection.close()
    with pytest.raises(Exception, match="closed") as caught:
        connection.update_secret(SECRET)
    assert SECRET not in f"{caught.value!s}{caught.value!r}"
    assert SECRET not in log.text
