"""Publisher confirms: every publish has one outcome, the right one, at a price that stays flat."""

from __future__ import annotations

import time
from collections.abc import Callable

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from leveret import wire
from leveret.exceptions import (
    ConnectionLost,
    PreconditionFailed,
    PublishNacked,
    PublishNotSent,
    PublishReturned,
    PublishUnknown,
    RemoteProtocolError,
)
from leveret.protocol import ClientChannel, ConnectionClosed, Outcome, Publication
from leveret.protocol.confirms import ConfirmTracker, Unclaimed

from .pair import NO_PROPERTIES, Pair, decode, drain, of, one, send

CONFIRMED, RETURNED, NACKED = Outcome.CONFIRMED, Outcome.RETURNED, Outcome.NACKED
NOT_SENT, UNKNOWN, PENDING = Outcome.NOT_SENT, Outcome.UNKNOWN, Outcome.PENDING


def outcomes(publications: list[Publication]) -> list[Outcome]:
    return [publication.outcome for publication in publications]


def sent(pair: Pair, count: int) -> tuple[ClientChannel, list[Publication]]:
    channel = pair.confirming()
    publications = [send(channel, b"%d" % number) for number in range(count)]
    pair.pump()
    pair.client_events.clear()
    return channel, publications


def test_numbers_start_at_one_with_confirm_select(pair: Pair) -> None:
    channel = pair.channel()
    before = send(channel)
    channel.send_request(wire.ConfirmSelect(), None)
    first, second = send(channel), send(channel)
    channel.send_request(wire.ConfirmSelect(), None)
    third = send(channel)
    assert [p.delivery_tag for p in (before, first, second, third)] == [0, 1, 2, 3]


def test_acks_and_nacks_out_of_order(pair: Pair) -> None:
    _, publications = sent(pair, 6)
    at_server = pair.at_server(1)
    at_server.send_ack(3)
    at_server.send_method(wire.BasicNack(1))
    at_server.send_ack(4, True)
    at_server.send_method(wire.BasicNack(0, True))
    pair.to_client()
    assert outcomes(publications) == [NACKED, CONFIRMED, CONFIRMED, CONFIRMED, NACKED, NACKED]
    assert pair.client_events == [publications[i] for i in (2, 0, 1, 3, 4, 5)]
    assert isinstance(publications[0].error, PublishNacked)
    assert publications[0].error.retryable
    assert publications[1].error is None


def test_a_confirm_twice_changes_nothing(pair: Pair) -> None:
    _, publications = sent(pair, 2)
    at_server = pair.at_server(1)
    for _ in range(2):
        at_server.send_ack(1)
    at_server.send_method(wire.BasicNack(1, True))
    pair.to_client()
    assert outcomes(publications) == [CONFIRMED, PENDING]
    assert pair.client_events == [publications[0]]


@pytest.mark.parametrize("method", [wire.BasicAck(3), wire.BasicAck(0), wire.BasicNack(9, True)])
def test_a_confirm_for_what_was_never_sent(pair: Pair, method: wire.Method) -> None:
    _, publications = sent(pair, 2)
    pair.client.receive_data(method.encode(1), 0.0)
    events = pair.client.events()
    error = one(ConnectionClosed, events).error
    assert isinstance(error, RemoteProtocolError)
    assert error.reply_code == wire.ReplyCode.COMMAND_INVALID
    assert outcomes(publications) == [UNKNOWN, UNKNOWN]


def test_a_confirm_without_confirm_mode(pair: Pair) -> None:
    channel = pair.channel()
    send(channel)
    pair.client.receive_data(wire.BasicAck(1).encode(1), 0.0)
    assert isinstance(one(ConnectionClosed, pair.client.events()).error, RemoteProtocolError)


# -- returns -----------------------------------------------------------------------------------


def give_back(
    pair: Pair,
    body: bytes = b"x",
    *,
    exchange: str = "",
    routing_key: str = "q",
    raw_properties: bytes = NO_PROPERTIES,
) -> None:
    pair.at_server(1).send_return(312, "NO_ROUTE", exchange, routing_key, raw_properties, body)


def confirm_all(pair: Pair) -> None:
    pair.at_server(1).send_ack(0, True)
    pair.to_client()


def test_a_returned_message(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel, b"%d" % n, mandatory=True) for n in range(3)]
    pair.pump()
    give_back(pair, b"1")
    pair.to_client()
    assert outcomes(publications) == [PENDING] * 3
    confirm_all(pair)
    assert outcomes(publications) == [CONFIRMED, RETURNED, CONFIRMED]
    error = publications[1].error
    assert isinstance(error, PublishReturned)
    assert (error.reply_code, error.reply_text, error.delivery_tag) == (312, "NO_ROUTE", 2)
    assert isinstance(error.returned, wire.Returned)
    assert of(wire.Returned, pair.client_events) == []


def test_a_return_that_no_publication_claims(pair: Pair) -> None:
    channel = pair.channel()
    send(channel, mandatory=True)
    pair.pump()
    give_back(pair)
    pair.to_client()
    assert one(wire.Returned, pair.client_events).body == b"x"


def test_properties_tell_publishes_apart(pair: Pair) -> None:
    """A headers exchange routes by nothing else."""
    channel = pair.confirming()
    first, second = (wire.Properties(headers={"n": n}).encode() for n in (1, 2))
    publications = [
        send(channel, exchange="amq.headers", mandatory=True, raw_properties=raw)
        for raw in (first, second)
    ]
    pair.pump()
    give_back(pair, exchange="amq.headers", raw_properties=second)
    confirm_all(pair)
    assert outcomes(publications) == [CONFIRMED, RETURNED]


def test_a_return_of_an_untracked_publish_is_not_taken_for_another(pair: Pair) -> None:
    channel = pair.confirming()
    first = send(channel, b"x", exchange="amq.headers", mandatory=True, tracked=False)
    second = send(channel, b"x", exchange="amq.headers", mandatory=True)
    pair.pump()
    give_back(pair, exchange="amq.headers")
    confirm_all(pair)
    assert one(wire.Returned, pair.client_events).body == b"x"
    assert (first.outcome, second.outcome) == (PENDING, CONFIRMED)
    assert of(Publication, pair.client_events) == [second]
    assert channel.confirms is not None
    assert len(channel.confirms) == 0


def test_returns_where_nothing_is_tracked(pair: Pair) -> None:
    channel = pair.confirming()
    send(channel, mandatory=True, tracked=False)
    pair.pump()
    give_back(pair)
    pair.to_client()
    tracked = send(channel, mandatory=True)
    pair.pump()
    give_back(pair)
    confirm_all(pair)
    assert len(of(wire.Returned, pair.client_events)) == 1
    assert tracked.outcome is RETURNED


def test_a_return_of_a_publish_from_before_confirm_mode(pair: Pair) -> None:
    """The broker returns it before it answers confirm.select."""
    channel = pair.channel()
    send(channel, mandatory=True)
    pair.to_server()
    channel.send_request(wire.ConfirmSelect(), None)
    publications = [send(channel, mandatory=True) for _ in range(2)]
    give_back(pair)
    pair.pump()
    give_back(pair)
    confirm_all(pair)
    assert outcomes(publications) == [RETURNED, CONFIRMED]
    assert one(wire.Returned, pair.client_events).body == b"x"


@pytest.mark.parametrize("whole", [True, False])
def test_confirm_mode_that_begins_while_the_channel_closes(pair: Pair, whole: bool) -> None:
    channel = pair.channel()
    send(channel, mandatory=True)
    pair.to_server()
    channel.send_request(wire.ConfirmSelect(), None)
    publication = send(channel, mandatory=True)
    give_back(pair)
    pair.to_server()
    give_back(pair)
    pair.at_server(1).send_ack(1)
    if whole:
        channel.send_close()
    else:
        pair.client.send_close()
    pair.to_client()
    assert publication.outcome is RETURNED
    assert one(wire.Returned, pair.client_events).body == b"x"


def test_confirm_mode_asked_for_twice(pair: Pair) -> None:
    channel = pair.confirming()
    publication = send(channel, mandatory=True)
    pair.to_server()
    channel.send_request(wire.ConfirmSelect(), None)
    give_back(pair)
    confirm_all(pair)
    assert publication.outcome is RETURNED
    assert of(wire.Returned, pair.client_events) == []


def test_confirm_mode_without_an_answer(pair: Pair) -> None:
    channel = pair.channel()
    channel.send_method(wire.ConfirmSelect(nowait=True))
    publication = send(channel, mandatory=True)
    pair.to_server()
    give_back(pair)
    confirm_all(pair)
    assert publication.outcome is RETURNED


def test_a_buffer_changed_after_publishing_is_still_found(pair: Pair) -> None:
    channel = pair.confirming()
    body = bytearray(b"before")
    publication = send(channel, body, mandatory=True)
    body[:] = b"after!"
    pair.pump()
    give_back(pair, b"before")
    confirm_all(pair)
    assert publication.outcome is RETURNED


def test_what_was_not_mandatory_was_not_returned(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel), send(channel, mandatory=True)]
    pair.pump()
    give_back(pair)
    confirm_all(pair)
    assert outcomes(publications) == [CONFIRMED, RETURNED]


def test_a_returned_message_that_is_nacked_or_lost(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel, b"%d" % n, mandatory=True) for n in range(2)]
    pair.pump()
    for body in (b"0", b"1"):
        give_back(pair, body)
    pair.at_server(1).send_method(wire.BasicNack(1))
    pair.to_client()
    pair.client.receive_eof(0.0)
    assert outcomes(publications) == [NACKED, RETURNED]


# -- the channel closes ------------------------------------------------------------------------

NO_EXCHANGE = "NOT_FOUND - no exchange 'nosuch' in vhost '/'"
TOO_LONG = "PRECONDITION_FAILED - invalid expiration 'abc': no_integer"


def refuse(pair: Pair, code: int, text: str) -> None:
    pair.at_server(1).send_close(code, text, class_id=60, method_id=40)
    pair.to_client()


def test_the_refused_publish_and_those_after_it(pair: Pair) -> None:
    channel = pair.confirming()
    before = send(channel)
    bad = send(channel, exchange="nosuch")
    after = send(channel)
    pair.pump()
    refuse(pair, 404, NO_EXCHANGE)
    assert outcomes([before, bad, after]) == [UNKNOWN, NACKED, NOT_SENT]
    assert isinstance(before.error, PublishUnknown)
    assert isinstance(after.error, PublishNotSent)
    assert "no exchange 'nosuch'" in str(bad.error)


def test_several_that_may_be_the_refused_one(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel, exchange=name) for name in ("", "nosuch", "", "nosuch", "")]
    pair.pump()
    refuse(pair, 404, NO_EXCHANGE)
    assert outcomes(publications) == [UNKNOWN, UNKNOWN, UNKNOWN, UNKNOWN, NOT_SENT]


def test_the_only_open_publish_is_the_refused_one(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel), send(channel)]
    pair.pump()
    pair.at_server(1).send_ack(1)
    refuse(pair, 406, TOO_LONG)
    assert outcomes(publications) == [CONFIRMED, NACKED]
    assert isinstance(publications[1].reason, PreconditionFailed)


def test_an_untracked_publish_may_be_the_refused_one(pair: Pair) -> None:
    channel = pair.confirming()
    publication = send(channel)
    send(channel, tracked=False)
    pair.pump()
    refuse(pair, 406, TOO_LONG)
    assert publication.outcome is UNKNOWN


@pytest.mark.parametrize(("code", "text"), [(404, NO_EXCHANGE), (406, TOO_LONG)])
def test_a_publish_from_before_confirm_mode_is_the_refused_one(
    pair: Pair, code: int, text: str
) -> None:
    channel = pair.channel()
    send(channel, exchange="nosuch")
    pair.to_server()
    channel.send_request(wire.ConfirmSelect(), None)
    publication = send(channel, exchange="nosuch")
    drain(pair.client)
    refuse(pair, code, text)
    assert publication.outcome is NOT_SENT


def test_an_untracked_publish_to_the_missing_exchange(pair: Pair) -> None:
    channel = pair.confirming()
    names = ("nosuch", "", "nosuch", "")
    first, second, _, last = [
        send(channel, exchange=name, tracked=number != 2) for number, name in enumerate(names)
    ]
    pair.pump()
    refuse(pair, 404, NO_EXCHANGE)
    assert outcomes([first, second, last]) == [UNKNOWN, UNKNOWN, NOT_SENT]


def test_a_virtual_host_with_the_name_of_an_exchange(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel, exchange=name) for name in ("/", "nosuch", "/")]
    pair.pump()
    refuse(pair, 404, NO_EXCHANGE)
    assert outcomes(publications) == [UNKNOWN, NACKED, NOT_SENT]


def test_a_channel_closed_for_another_reason(pair: Pair) -> None:
    channel = pair.confirming()
    publications = [send(channel), send(channel)]
    pair.pump()
    late = send(channel)
    pair.at_server(1).send_close(406, "PRECONDITION_FAILED - x", class_id=50, method_id=10)
    pair.to_client()
    assert outcomes([*publications, late]) == [UNKNOWN, UNKNOWN, NOT_SENT]
    assert pair.channel_closed().publications == [*publications, late]


# -- against a model ---------------------------------------------------------------------------

Step = tuple[str, int, bool]

steps = st.lists(
    st.tuples(
        st.sampled_from(["publish", "publish", "handle", "ack", "nack", "take"]),
        st.integers(0, 12),
        st.booleans(),
    ),
    max_size=60,
)

KINDS = [
    # exchange, properties, body, mandatory, tracked; the last exchange has no route
    ("a", b"\0\0", b"1", True, True),
    ("none", b"\0\0", b"1", True, True),
    ("none", b"\0\0", b"2", True, True),
    ("none", b"\0\0", b"1", True, False),
    ("none", b"\0\0", b"1", False, True),
    ("headers", b"\0\0", b"1", True, True),
    ("headers", b"\x10\0\1", b"1", True, True),  # delivery_mode 1: this one has no route
    ("headers", b"\x10\0\1", b"1", True, False),
    ("a", b"\0\0", b"1", True, False),
    ("a", b"\0\0", b"1", False, False),
]


class Broker:
    """What a broker does with publishes: handles them in order, confirms them in any.

    Args:
        before: the kinds of those from before confirm.select.
    """

    def __init__(self, before: list[int]) -> None:
        self.pair = Pair().open()
        self.channel = self.pair.channel()
        for kind in before:
            exchange, properties, body, mandatory, _ = KINDS[kind]
            send(
                self.channel,
                body,
                exchange=exchange,
                mandatory=mandatory,
                tracked=False,
                raw_properties=properties,
            )
        self.pair.to_server()
        self.before = self.pair.published()
        self.given_back = [self.give_back(message) for message in self.before].count(True)
        self.channel.send_request(wire.ConfirmSelect(), None)
        self.pair.to_server()
        self.publications: list[Publication] = []
        self.kinds: list[int] = []
        self.handled = 0
        self.open: dict[int, None] = {}
        self.expected: list[Outcome] = []
        self.returned: set[int] = set()
        self.unclaimed = 0

    def publish(self, index: int, flag: bool) -> None:
        exchange, properties, body, mandatory, tracked = KINDS[index % len(KINDS)]
        self.kinds.append(index % len(KINDS))
        self.publications.append(
            send(
                self.channel,
                body,
                exchange=exchange,
                mandatory=mandatory,
                tracked=tracked,
                raw_properties=properties,
            )
        )
        self.expected.append(PENDING)
        if flag:
            self.pair.to_server()

    def give_back(self, message: wire.Published) -> bool:
        no_route = message.exchange == "none" or (
            message.exchange == "headers" and message.raw_properties != b"\0\0"
        )
        if no_route and message.mandatory:
            self.pair.at_server(1).send_return(
                312, "NO_ROUTE", message.exchange, message.routing_key,
                message.raw_properties, message.body,
            )  # fmt: skip
        return no_route and message.mandatory

    def handle(self, count: int, flag: bool) -> None:
        self.pair.to_server()
        confirmed = self.pair.published()[len(self.before) :]
        for message in confirmed[self.handled : self.handled + count]:
            self.handled += 1
            self.open[self.handled] = None
            if self.give_back(message):
                self.returned.add(self.handled)
                if not KINDS[self.kinds[self.handled - 1]][4]:
                    self.unclaimed += 1

    def settle(self, index: int, multiple: bool, outcome: Outcome) -> None:
        if not self.open:
            return
        tag = list(self.open)[index % len(self.open)]
        tags = [t for t in self.open if t == tag or (multiple and t < tag)]
        for number in tags:
            del self.open[number]
            returned = number in self.returned and outcome is CONFIRMED
            self.expected[number - 1] = RETURNED if returned else outcome
        at_server = self.pair.at_server(1)
        if outcome is CONFIRMED:
            at_server.send_ack(tag, multiple)
        else:
            at_server.send_method(wire.BasicNack(tag, multiple))

    def ack(self, index: int, multiple: bool) -> None:
        self.settle(index, multiple, CONFIRMED)

    def nack(self, index: int, multiple: bool) -> None:
        self.settle(index, multiple, NACKED)

    def take(self, index: int, flag: bool) -> None:
        self.pair.to_client()

    def check(self, final: Callable[[int], Outcome | None] = lambda tag: None) -> None:
        for number, publication in enumerate(self.publications, 1):
            tracked = KINDS[self.kinds[number - 1]][4]
            expected = self.expected[number - 1] if tracked else PENDING
            if expected is PENDING and tracked:
                expected = final(number) or expected
            assert publication.outcome is expected, (number, KINDS[self.kinds[number - 1]])


@settings(max_examples=500, deadline=None)
@given(st.lists(st.integers(0, len(KINDS) - 1), max_size=5), steps, st.booleans())
def test_against_a_model(before: list[int], plan: list[Step], lose: bool) -> None:
    broker = Broker(before)
    for name, index, flag in plan:
        getattr(broker, name)(index, flag)
    broker.take(0, False)
    broker.check()
    events = broker.pair.client_events
    assert len(of(wire.Returned, events)) == broker.unclaimed + broker.given_back
    settled = of(Publication, events)
    assert len(settled) == len({id(p) for p in settled})
    tracked = [p for p, k in zip(broker.publications, broker.kinds, strict=True) if KINDS[k][4]]
    assert broker.channel.confirms is not None
    assert len(broker.channel.confirms) == len(tracked) - len(settled)
    if lose:
        reached = len(broker.pair.published()) - len(before)
        broker.pair.client.connection_lost(ConnectionLost("reset"))

        def final(tag: int) -> Outcome:
            if tag in broker.returned:
                return RETURNED
            return UNKNOWN if tag <= reached else NOT_SENT

        broker.check(final)


# -- the price ---------------------------------------------------------------------------------


def visits(count: int, order: Callable[[int], list[tuple[int, bool]]]) -> float:
    """CPU seconds to confirm `count` publishes in an order: other programs may run meanwhile."""
    tracker = ConfirmTracker()
    for _ in range(count):
        tracker.add(Publication("", "q", b"", True), 0)
    confirms = order(count)
    settled: list[Publication] = []
    start = time.thread_time()
    for tag, multiple in confirms:
        tracker.settle(tag, multiple, CONFIRMED, settled)
    seconds = time.thread_time() - start
    assert len(settled) == count
    return seconds


ORDERS: dict[str, Callable[[int], list[tuple[int, bool]]]] = {
    "in order": lambda n: [(tag, False) for tag in range(1, n + 1)],
    "backwards": lambda n: [(tag, False) for tag in range(n, 0, -1)],
    "the first never, then all": lambda n: [(tag, False) for tag in range(2, n)] + [(n, True)],
    "multiple, one by one": lambda n: [(tag, True) for tag in range(1, n + 1)],
    "multiple and single": lambda n: [(t, t % 2 == 0) for t in range(1, n + 1)] + [(n, True)],
}


@pytest.mark.parametrize("name", list(ORDERS))
def test_the_price_of_a_confirm_does_not_grow(name: str) -> None:
    small = min(visits(1000, ORDERS[name]) for _ in range(3))
    large = min(visits(20_000, ORDERS[name]) for _ in range(2))
    assert large < small * 20 * 6  # were it quadratic, it would be 400 times as much


def test_the_price_of_a_return_does_not_grow() -> None:
    def seconds(count: int) -> float:
        tracker = ConfirmTracker()
        for number in range(count):
            kind = Unclaimed if number % 2 else Publication
            tracker.add(kind("", "q", b"%d" % number, True), 0, b"\0\0")
        start = time.thread_time()
        for number in range(count):
            found = tracker.match_return(
                wire.Returned(1, 312, "", "", "q", b"\0\0", b"%d" % number)
            )
            assert (found is None) is (number % 2 == 1)
        return time.thread_time() - start

    assert min(seconds(10_000) for _ in range(2)) < min(seconds(500) for _ in range(3)) * 20 * 6


def test_unsent_confirm_select_is_harmless(pair: Pair) -> None:
    channel = pair.channel()
    channel.send_method(wire.ConfirmSelect(nowait=True))
    assert send(channel).delivery_tag == 1
    assert isinstance(decode(drain(pair.client))[0], wire.ConfirmSelect)
