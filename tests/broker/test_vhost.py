"""A virtual host: what RabbitMQ 4.3 answers to declarations, word for word, and where it routes."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from leveret.broker.consumers import Consumer, Receiver
from leveret.broker.queue import Entry, Queue
from leveret.broker.vhost import VirtualHost, generated_name
from leveret.exceptions import (
    AccessRefused,
    NotFound,
    NotImplementedByPeer,
    PeerError,
    PreconditionFailed,
    ResourceLocked,
)
from leveret.wire import Published

ME, OTHER = object(), object()
LOCKED = (
    "RESOURCE_LOCKED - cannot obtain exclusive access to locked queue 'q' in vhost '/'. It could "
    "be originally declared on another connection or the exclusive property value does not match "
    "that of the original declaration."
)
DEFAULT = "ACCESS_REFUSED - operation not permitted on the default exchange"


@pytest.fixture
def host() -> VirtualHost:
    return VirtualHost("/")


def refused(error: type[PeerError], text: str, call: Callable[[], object]) -> None:
    with pytest.raises(error) as caught:
        call()
    assert caught.value.reply_text == text


def names(host: VirtualHost, exchange: str, key: str) -> set[str] | None:
    found = host.route(host.exchange(exchange), key)
    return None if found is None else {queue.name for queue in found}


def all_names(host: VirtualHost, exchange: str, *keys: str, **headers: object) -> list[str]:
    return sorted(q.name for q in host.route_all(host.exchange(exchange), keys, headers))


# -- queues


def test_a_queue_is_declared_once(host: VirtualHost) -> None:
    queue = host.declare_queue(ME, "q", durable=True)
    assert host.declare_queue(OTHER, "q", durable=True) is queue
    assert host.declare_queue(OTHER, "q", passive=True) is queue


def test_a_queue_without_a_name_gets_one(host: VirtualHost) -> None:
    queue = host.declare_queue(ME, "", exclusive=True)
    assert queue.name.startswith("amq.gen-")
    assert len(queue.name) == len("amq.gen-") + 22
    assert generated_name("amq.ctag").startswith("amq.ctag-")


@pytest.mark.parametrize(
    ("error", "text", "name", "options"),
    [
        (NotFound, "NOT_FOUND - no queue 'x' in vhost '/'", "x", {"passive": True}),
        (NotFound, "NOT_FOUND - no queue '' in vhost '/'", "", {"passive": True}),
        (NotFound, "NOT_FOUND - no queue 'amq.x' in vhost '/'", "amq.x", {"passive": True}),
        (
            AccessRefused,
            "ACCESS_REFUSED - queue name 'amq.foo' contains reserved prefix 'amq.*'",
            "amq.foo",
            {},
        ),
        (
            PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'durable' for queue 'q' in vhost '/': "
            "received 'false' but current is 'true'",
            "q",
            {"durable": False},
        ),
        (
            PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'auto_delete' for queue 'q' in vhost '/': "
            "received 'true' but current is 'false'",
            "q",
            {"durable": True, "auto_delete": True},
        ),
        (
            PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'x-message-ttl' for queue 'q' in vhost '/': "
            "received the value '2000' of type 'signedint' but current is none",
            "q",
            {"durable": True, "arguments": {"x-message-ttl": 2000}},
        ),
        (
            PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-mode' for queue 'q' in vhost '/': "
            "received the value 'lazy' of type 'longstr' but current is none",
            "q",
            {"durable": True, "arguments": {"x-queue-mode": "lazy"}},
        ),
        (
            PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'x-queue-type' for queue 'q' in vhost '/': "
            "received 'quorum' but current is 'classic'",
            "q",
            {"durable": True, "arguments": {"x-queue-type": "quorum"}},
        ),
        (ResourceLocked, LOCKED, "q", {"durable": True, "exclusive": True}),
    ],
)
def test_declarations_refused(
    host: VirtualHost, error: type[PeerError], text: str, name: str, options: dict[str, bool]
) -> None:
    host.declare_queue(ME, "q", durable=True)
    refused(error, text, lambda: host.declare_queue(ME, name, **options))  # type: ignore[arg-type]


def test_arguments_that_do_not_count(host: VirtualHost) -> None:
    queue = host.declare_queue(ME, "q", arguments={"foo": 5, "x-foo-bar": 1})
    assert host.declare_queue(ME, "q", arguments={"foo": 6}) is queue
    assert host.declare_queue(ME, "q", arguments={"x-queue-type": "classic"}) is queue


BAD = "PRECONDITION_FAILED - invalid arg '{}' for queue 'q' in vhost '/': {}"


@pytest.mark.parametrize(
    ("key", "value", "reason"),
    [
        ("x-message-ttl", "abc", '"expected integer, got longstr"'),
        ("x-message-ttl", True, '"expected integer, got bool"'),
        ("x-message-ttl", -1, "{value_negative,-1}"),
        ("x-message-ttl", 2**40, "{value_too_large,1099511627776}"),
        ("x-expires", 0, "{value_zero,0}"),
        ("x-expires", "foo", '"expected integer, got longstr"'),
        ("x-max-length", -1, "{value_negative,-1}"),
        ("x-max-length", "ten", '"expected integer, got longstr"'),
        ("x-overflow", "foo", "invalid_overflow"),
        ("x-max-priority", 256, "{max_value_exceeded,256}"),
        ("x-max-priority", -1, "{value_negative,-1}"),
        ("x-queue-type", "foo", "\"unsupported queue type 'foo'\""),
        ("x-dead-letter-routing-key", "foo", "routing_key_but_no_dlx_defined"),
        ("x-single-active-consumer", "yes", "{unacceptable_type,longstr}"),
    ],
)
def test_bad_arguments(host: VirtualHost, key: str, value: object, reason: str) -> None:
    refused(
        PreconditionFailed,
        BAD.format(key, reason),
        lambda: host.declare_queue(ME, "q", arguments={key: value}),
    )
    assert "q" not in host.queues


def test_arguments_of_other_queue_types(host: VirtualHost) -> None:
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - invalid arg 'x-delivery-limit' for queue 'q' in vhost '/' of "
        "queue type rabbit_classic_queue",
        lambda: host.declare_queue(ME, "q", arguments={"x-delivery-limit": 5}),
    )
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'x-dead-letter-exchange' in "
        "queue 'q' in vhost '/'",
        lambda: host.declare_queue(ME, "q", arguments={"x-dead-letter-exchange": 5}),
    )
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - Cannot declare a server-named queue for type rabbit_quorum_queue",
        lambda: host.declare_queue(ME, "", arguments={"x-queue-type": "quorum"}),
    )


@pytest.mark.parametrize(
    ("arguments", "options", "words"),
    [
        ({}, {}, "invalid property 'non-durable' for {queue}"),
        ({}, {"auto_delete": True}, "invalid property 'auto-delete' for {queue}"),
        ({}, {"exclusive": True}, "invalid property 'exclusive-owner' for {queue}"),
        (
            {"x-max-priority": "a"},
            {},
            "invalid arg 'x-max-priority' for {queue} of queue type rabbit_quorum_queue",
        ),
        (
            {"x-max-priority": 5, "x-message-ttl": "a"},
            {},
            "invalid arg 'x-message-ttl' for {queue}: \"expected integer, got longstr\"",
        ),
        (
            {"x-dead-letter-strategy": "foo"},
            {},
            "invalid arg 'x-dead-letter-strategy' for {queue}: invalid_dlx_strategy",
        ),
        (
            {"x-queue-type": "stream", "x-message-ttl": 5},
            {},
            "invalid arg 'x-message-ttl' for {queue} of queue type rabbit_stream_queue",
        ),
        (
            {"x-queue-type": "stream", "x-max-age": "5"},
            {},
            "invalid arg 'x-max-age' for {queue}: invalid_max_age",
        ),
    ],
)
def test_queues_of_other_types_are_checked(
    host: VirtualHost, arguments: dict[str, object], options: dict[str, bool], words: str
) -> None:
    text = words.format(queue="queue 'q' in vhost '/'")
    refused(
        PreconditionFailed,
        f"PRECONDITION_FAILED - {text}",
        lambda: host.declare_queue(
            ME, "q", arguments={"x-queue-type": "quorum"} | arguments, **options
        ),
    )


@pytest.mark.parametrize("kind", ["quorum", "stream"])
def test_queues_of_other_types_are_not_there(host: VirtualHost, kind: str) -> None:
    refused(
        NotImplementedByPeer,
        f"NOT_IMPLEMENTED - argument 'x-queue-type' = '{kind}' of queue 'q' in vhost '/': "
        "the embedded broker does not support it",
        lambda: host.declare_queue(ME, "q", durable=True, arguments={"x-queue-type": kind}),
    )


def test_exclusive_queues_belong_to_a_connection(host: VirtualHost) -> None:
    queue = host.declare_queue(ME, "q", exclusive=True, durable=True)
    assert not queue.durable
    assert host.declare_queue(ME, "q", exclusive=True) is queue
    host.declare_exchange("x", "direct")
    for call in (
        lambda: host.declare_queue(OTHER, "q", exclusive=True),
        lambda: host.declare_queue(OTHER, "q", passive=True),
        lambda: host.declare_queue(ME, "q"),
        lambda: host.queue_for(OTHER, "q"),
        lambda: host.purge_queue(OTHER, "q"),
        lambda: host.bind_queue(OTHER, "q", "x", "k"),
        lambda: host.check_delete_queue(OTHER, "q"),
    ):
        refused(ResourceLocked, LOCKED, call)
    host.remove_queues_of(OTHER)
    assert "q" in host.queues
    host.remove_queues_of(ME)
    assert "q" not in host.queues


def test_deleting_queues(host: VirtualHost) -> None:
    assert host.check_delete_queue(ME, "q") is None
    queue = host.declare_queue(ME, "q")
    queue.publish(Published(1, "", "q", False, False, b"\0\0", b"x"))
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - queue 'q' in vhost '/' not empty",
        lambda: host.check_delete_queue(ME, "q", if_empty=True),
    )
    queue.add_consumer(Consumer("t", queue, Silent()))
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - queue 'q' in vhost '/' in use",
        lambda: host.check_delete_queue(ME, "q", if_unused=True),
    )
    assert host.check_delete_queue(ME, "q") is queue
    assert host.remove_queue(queue) == 1
    assert host.remove_queue(queue) == 0
    assert names(host, "", "q") == set()


class Silent(Receiver):
    def deliver(self, consumer: Consumer, entry: Entry) -> None:
        pass

    def cancelled(self, consumer: Consumer) -> None:
        pass


def test_line_ends_are_dropped_from_names(host: VirtualHost) -> None:
    assert host.declare_queue(ME, "a\r\nb").name == "ab"
    assert host.declare_exchange("x\n", "direct").name == "x"


# -- exchanges


@pytest.mark.parametrize(
    ("error", "text", "name", "options"),
    [
        (PreconditionFailed, "PRECONDITION_FAILED - invalid exchange type 'foo'", "y", "foo"),
        (
            AccessRefused,
            "ACCESS_REFUSED - exchange name 'amq.foo' contains reserved prefix 'amq.*'",
            "amq.foo",
            "direct",
        ),
        (AccessRefused, DEFAULT, "", "direct"),
        (
            PreconditionFailed,
            "PRECONDITION_FAILED - inequivalent arg 'type' for exchange 'x' in vhost '/': "
            "received 'fanout' but current is 'direct'",
            "x",
            "fanout",
        ),
    ],
)
def test_exchanges_refused(
    host: VirtualHost, error: type[PeerError], text: str, name: str, options: str
) -> None:
    host.declare_exchange("x", "direct")
    refused(error, text, lambda: host.declare_exchange(name, options))


@pytest.mark.parametrize("flag", ["durable", "auto_delete", "internal"])
def test_exchange_flags_count(host: VirtualHost, flag: str) -> None:
    host.declare_exchange("x", "direct")
    refused(
        PreconditionFailed,
        f"PRECONDITION_FAILED - inequivalent arg '{flag}' for exchange 'x' in vhost '/': "
        "received 'true' but current is 'false'",
        lambda: host.declare_exchange("x", "direct", **{flag: True}),
    )


def test_exchange_arguments(host: VirtualHost) -> None:
    host.declare_exchange("x", "direct", arguments={"alternate-exchange": "a", "foo": 1})
    host.declare_exchange("x", "direct", arguments={"alternate-exchange": "a"})
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - inequivalent arg 'alternate-exchange' for exchange 'x' in vhost "
        "'/': received none but current is the value 'a' of type 'longstr'",
        lambda: host.declare_exchange("x", "direct"),
    )
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - invalid type 'signedint' for arg 'alternate-exchange' in "
        "exchange 'y' in vhost '/'",
        lambda: host.declare_exchange("y", "direct", arguments={"alternate-exchange": 5}),
    )


def test_passive_exchanges(host: VirtualHost) -> None:
    host.declare_exchange("amq.direct", "fanout", passive=True)
    host.declare_exchange("amq.direct", "direct", durable=True)
    refused(AccessRefused, DEFAULT, lambda: host.declare_exchange("", "direct", passive=True))
    refused(
        NotFound,
        "NOT_FOUND - no exchange 'x' in vhost '/'",
        lambda: host.declare_exchange("x", "direct", passive=True),
    )


def test_deleting_exchanges(host: VirtualHost) -> None:
    host.delete_exchange("nosuch")
    refused(AccessRefused, DEFAULT, lambda: host.delete_exchange(""))
    refused(
        AccessRefused,
        "ACCESS_REFUSED - deletion of system exchange 'amq.direct' in vhost '/' not allowed",
        lambda: host.delete_exchange("amq.direct"),
    )
    host.declare_exchange("x", "direct")
    host.declare_queue(ME, "q")
    host.bind_queue(ME, "q", "x", "k")
    refused(
        PreconditionFailed,
        "PRECONDITION_FAILED - exchange 'x' in vhost '/' in use",
        lambda: host.delete_exchange("x", if_unused=True),
    )
    host.delete_exchange("x")
    assert "x" not in host.exchanges
    host.remove_queue(host.queue("q"))


# -- bindings and routes


def test_bindings_refused(host: VirtualHost) -> None:
    host.declare_queue(ME, "q")
    reply = "amq.rabbitmq.reply-to.abc"
    for error, text, queue, exchange in (
        (NotFound, "NOT_FOUND - no queue 'x' in vhost '/'", "x", "amq.direct"),
        (NotFound, "NOT_FOUND - no exchange 'x' in vhost '/'", "q", "x"),
        (AccessRefused, DEFAULT, "q", ""),
        (
            AccessRefused,
            "ACCESS_REFUSED - cannot bind or unbind to a volatile (direct reply-to) queue",
            reply,
            "amq.direct",
        ),
    ):
        refused(error, text, lambda q=queue, e=exchange: host.bind_queue(ME, q, e, "k"))
    refused(AccessRefused, DEFAULT, lambda: host.unbind_queue(ME, "q", "", "k"))
    refused(AccessRefused, DEFAULT, lambda: host.bind_exchange("", "amq.direct", "k"))
    refused(
        NotFound,
        "NOT_FOUND - no exchange 'x' in vhost '/'",
        lambda: host.bind_exchange("x", "amq.direct", "k"),
    )


def test_unbinding_what_is_not_bound(host: VirtualHost) -> None:
    host.declare_queue(ME, "q")
    host.unbind_queue(ME, "q", "amq.direct", "k")
    host.unbind_queue(ME, "nosuch", "amq.direct", "k")
    host.unbind_queue(ME, "q", "nosuch", "k")
    host.unbind_exchange("amq.fanout", "amq.direct", "k")


def test_routes_follow_the_bindings(host: VirtualHost) -> None:
    host.declare_queue(ME, "q")
    assert names(host, "", "q") == {"q"}
    assert names(host, "amq.direct", "k") == set()
    host.bind_queue(ME, "q", "amq.direct", "k")
    assert names(host, "amq.direct", "k") == {"q"}
    host.bind_queue(ME, "q", "amq.direct", "k")
    host.unbind_queue(ME, "q", "amq.direct", "k")
    assert names(host, "amq.direct", "k") == set()
    host.bind_queue(ME, "q", "amq.direct", "k", {"v": 1})
    host.bind_queue(ME, "q", "amq.direct", "k", {"v": 2})
    host.unbind_queue(ME, "q", "amq.direct", "k", {"v": 1})
    assert names(host, "amq.direct", "k") == {"q"}
    host.remove_queue(host.queue("q"))
    assert names(host, "amq.direct", "k") == set()
    assert not host.exchange("amq.direct").bindings


def test_exchanges_bound_in_a_circle(host: VirtualHost) -> None:
    host.declare_queue(ME, "q")
    for name in ("a", "b"):
        host.declare_exchange(name, "fanout")
        host.bind_queue(ME, "q", name, "")
    host.bind_exchange("a", "b", "")
    host.bind_exchange("b", "a", "")
    assert all_names(host, "a", "") == ["q"]
    assert names(host, "a", "") == {"q"}


def test_a_route_through_headers_is_not_remembered(host: VirtualHost) -> None:
    host.declare_queue(ME, "q")
    host.bind_exchange("amq.headers", "amq.direct", "k")
    host.bind_queue(ME, "q", "amq.headers", "", {"a": 1})
    assert names(host, "amq.direct", "k") is None
    assert names(host, "amq.direct", "other") == set()
    assert all_names(host, "amq.direct", "k", a=1) == ["q"]
    assert all_names(host, "amq.direct", "k", a=2) == []


def test_alternate_exchanges(host: VirtualHost) -> None:
    host.declare_exchange("x", "direct", arguments={"alternate-exchange": "alt"})
    host.declare_queue(ME, "q")
    host.declare_queue(ME, "rest")
    host.bind_queue(ME, "q", "x", "k")
    assert names(host, "x", "other") == set()
    host.declare_exchange("alt", "fanout")
    host.bind_queue(ME, "rest", "alt", "")
    assert names(host, "x", "k") == {"q"}
    assert names(host, "x", "other") == {"rest"}
    host.delete_exchange("alt")
    assert names(host, "x", "other") == set()


def test_the_default_exchange_as_alternate(host: VirtualHost) -> None:
    host.declare_exchange("x", "direct", arguments={"alternate-exchange": ""})
    assert names(host, "x", "q") is None
    host.declare_queue(ME, "q")
    assert all_names(host, "x", "q") == ["q"]


def test_several_keys(host: VirtualHost) -> None:
    for name in ("a", "b", "c"):
        host.declare_queue(ME, name)
    assert all_names(host, "", "a", "b", "nosuch", "a") == ["a", "b"]


def test_auto_delete_goes_with_the_last_binding(host: VirtualHost) -> None:
    host.declare_queue(ME, "q")
    host.declare_exchange("x", "direct", auto_delete=True)
    host.declare_exchange("y", "direct", auto_delete=True)
    host.bind_exchange("y", "x", "k")
    host.bind_queue(ME, "q", "y", "k")
    assert names(host, "x", "k") == {"q"}
    host.unbind_queue(ME, "q", "y", "k")
    assert "y" not in host.exchanges
    assert "x" not in host.exchanges


def test_long_texts_are_cut_as_rabbitmq_cuts_them(host: VirtualHost) -> None:
    with pytest.raises(NotFound) as caught:
        host.queue("é" * 200)
    text = caught.value.reply_text
    assert text.endswith("é...")
    assert len(text.encode()) <= 255


def test_remembered_routes_are_bounded(host: VirtualHost, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("leveret.broker.exchanges.REMEMBERED_ROUTES", 10)
    exchange = host.exchange("amq.direct")
    for number in range(25):
        assert host.route(exchange, str(number)) == ()
    assert len(exchange.routes) <= 10


def test_every_queue_found_once(host: VirtualHost) -> None:
    queue: Queue = host.declare_queue(ME, "q")
    for key in ("#", "a.#", "*.b"):
        host.bind_queue(ME, "q", "amq.topic", key)
    assert host.route(host.exchange("amq.topic"), "a.b") == (queue,)
