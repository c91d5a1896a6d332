"""Who reads, who sends, and that nobody waits for one who does neither."""

from __future__ import annotations

import contextlib
import select
import signal
import socket
import sys
import threading
import time

import pytest

import leveret
from leveret import protocol, wire
from leveret.broker import Broker
from leveret.sync.engine import IO_THREAD, NOBODY
from leveret.sync.readiness import READ, WRITE, Readiness
from leveret.sync.transport import Core

from ..support.proxy import Proxy
from ..support.scripted import STEPS, ScriptedBroker, scripted_broker
from ..support.signals import alarm
from ..support.threads import Signal, eventually, start

SECONDS = 10.0


def ask(channel: leveret.Channel, queue: str) -> None:
    """A request by which this thread has led, or will."""
    assert channel.queue_declare(queue, passive=True, timeout=SECONDS).queue == queue


def lead(channel: leveret.Channel, queue: str) -> None:
    """Have the caller of the next operation lead: the I/O thread stands by after an answer."""
    core = channel.core

    def stands_by() -> bool:
        ask(channel, queue)
        return bool(core.reading == NOBODY)

    eventually(stands_by)


def test_the_one_that_waits_reads(channel: leveret.Channel) -> None:
    """Answers are read in the caller's thread, all but the first few."""
    queue = channel.queue_declare(exclusive=True).queue
    lead(channel, queue)
    before = channel.core._leads
    for _ in range(200):
        ask(channel, queue)
    assert channel.core._leads - before > 100


def test_the_io_thread_reads_when_nobody_waits(channel: leveret.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    lead(channel, queue)
    eventually(lambda: channel.core.reading == IO_THREAD)
    ask(channel, queue)


@pytest.mark.parametrize("what", ["publish", "ack", "nack", "nowait"])
def test_what_nobody_waits_for_leaves_all_the_same(
    channel: leveret.Channel, other: leveret.Channel, what: str
) -> None:
    """The caller has led, the I/O thread stands by, and then the caller does something else."""
    queue = channel.queue_declare("left-alone", auto_delete=True).queue
    if what in ("ack", "nack"):
        channel.publish(b"", routing_key=queue)
        delivery = channel.get(queue)
        assert delivery is not None
    lead(channel, queue)
    if what == "publish":
        channel.basic_publish(b"x", routing_key=queue)
    elif what == "nowait":
        channel.publish_nowait(b"x", routing_key=queue)
    elif what == "ack":
        delivery.ack()
        channel.basic_publish(b"x", routing_key=queue)  # comes behind the ack
    else:
        delivery.nack()
    try:
        got = eventually(lambda: other.get(queue, no_ack=True))
        assert got.redelivered is (what == "nack")
    finally:
        other.queue_delete(queue)


def test_the_end_of_leading_leaves_nobody_behind(channel: leveret.Channel) -> None:
    """Some lead, some sleep, and each of them ends first at some time."""
    queue = channel.queue_declare(exclusive=True).queue
    channels = [leveret.Connection(channel.core).channel() for _ in range(6)]

    def work(mine: leveret.Channel, number: int) -> int:
        for turn in range(150):
            ask(mine, queue)
            if turn % (number + 1) == 0:
                mine.publish(b"", routing_key=queue, timeout=SECONDS)
        return number

    workers = [start(work, mine, number) for number, mine in enumerate(channels)]
    assert [worker.result(60) for worker in workers] == list(range(6))
    core = channel.core
    assert not core.unanswered
    assert not core._asking


def test_who_leads_for_long_is_relieved(channel: leveret.Channel, other: leveret.Channel) -> None:
    """A consumer that waits leads; what another thread asks meanwhile is answered, and when the
    consumer is busy the I/O thread reads.
    """
    queue = channel.queue_declare("relief", auto_delete=True).queue
    busy, go_on = threading.Event(), threading.Event()
    mine = leveret.Connection(channel.core).channel()

    def consume() -> None:
        with mine.consume(queue, no_ack=True) as consumer:
            for delivery in consumer:
                if delivery.body == b"end":
                    return
                busy.set()
                assert go_on.wait(SECONDS)

    lead(channel, queue)
    consumer = start(consume)
    eventually(lambda: channel.core.reading > NOBODY and channel.core._called_back)
    for _ in range(20):
        ask(channel, queue)
    other.publish(b"", routing_key=queue)
    assert busy.wait(SECONDS)
    seen = Signal()
    channel.on_return = seen
    channel.basic_publish(b"", routing_key="nowhere", mandatory=True)
    seen.next()
    go_on.set()
    other.publish(b"end", routing_key=queue)
    consumer.result()


def test_a_consumer_that_is_cancelled_while_it_leads(channel: leveret.Channel) -> None:
    queue = channel.queue_declare(exclusive=True).queue
    consumer = channel.consume(queue)
    lead(channel, queue)
    iterating = start(list, consumer)
    eventually(lambda: channel.core._led_for is not None)
    consumer.cancel(timeout=SECONDS)
    assert iterating.result() == []


def test_two_of_one_consumer(channel: leveret.Channel, other: leveret.Channel) -> None:
    """One leads, one sleeps; either may get the delivery."""
    queue = channel.queue_declare("shared", auto_delete=True).queue
    consumer = channel.consume(queue, no_ack=True)
    lead(channel, queue)
    takers = [start(consumer.get, SECONDS) for _ in range(2)]
    eventually(lambda: channel.core.unanswered == 2)
    for _ in range(2):
        other.publish(b"x", routing_key=queue)
    assert [taker.result().body for taker in takers] == [b"x", b"x"]
    consumer.cancel()


def test_a_deadline_while_other_things_arrive(
    channel: leveret.Channel, other: leveret.Channel
) -> None:
    """What comes for others does not put the deadline off."""
    queue = channel.queue_declare("noise", auto_delete=True).queue
    quiet = channel.queue_declare(exclusive=True).queue
    with channel.consume(queue, no_ack=True), channel.consume(quiet) as consumer:
        lead(channel, queue)
        stop = threading.Event()

        def make_noise() -> None:
            while not stop.is_set():
                other.publish(b"", routing_key=queue)

        noise = start(make_noise)
        try:
            with pytest.raises(leveret.DeadlineExceeded):
                consumer.get(timeout=0.2)
        finally:
            stop.set()
            noise.result()


def test_an_interrupt_of_one_that_leads(channel: leveret.Channel) -> None:
    """Ctrl-C ends the wait, and the connection is as good as before."""
    queue = channel.queue_declare(exclusive=True).queue
    consumer = channel.consume(queue)
    lead(channel, queue)
    for _ in range(5):
        with alarm(signal.default_int_handler, 0.05), pytest.raises(KeyboardInterrupt):
            next(consumer)
        assert channel.core._led_for is None
        ask(channel, queue)
    eventually(lambda: channel.core.reading == IO_THREAD)
    channel.publish(b"x", routing_key=queue)
    assert consumer.get(timeout=SECONDS).body == b"x"


class SoftTimeLimit(Exception):
    """As programs have them raised by a signal handler."""


@pytest.mark.parametrize("kind", [SoftTimeLimit, TimeoutError, ValueError, BlockingIOError])
def test_what_a_signal_handler_raises_where_its_thread_leads(
    channel: leveret.Channel, kind: type[Exception]
) -> None:
    """It comes to the caller as it is, and is no fault of the connection's."""
    queue = channel.queue_declare(exclusive=True).queue
    consumer = channel.consume(queue)
    lead(channel, queue)

    def handle(*_: object) -> None:
        assert channel.core._resting
        raise kind("raised by a handler")

    with alarm(handle), pytest.raises(kind, match="raised by a handler"):
        consumer.get(timeout=SECONDS)
    ask(channel, queue)
    channel.publish(b"x", routing_key=queue)
    assert consumer.get(timeout=SECONDS).body == b"x"


def test_what_a_signal_handler_raises_where_its_thread_works(channel: leveret.Channel) -> None:
    """It comes to the caller as it is; the connection ends, for it may have lost bytes."""
    queue = channel.queue_declare(exclusive=True).queue
    core = channel.core
    channel.publish(b"x", routing_key=queue)
    lead(channel, queue)
    dispatch = core.dispatch
    here = threading.get_ident()

    def interrupted() -> bool:
        if threading.get_ident() == here:
            raise SoftTimeLimit
        return bool(dispatch())

    core.dispatch = interrupted
    try:
        with pytest.raises(SoftTimeLimit):
            channel.basic_get(queue, timeout=SECONDS)
    finally:
        del core.dispatch
    core._thread.join(SECONDS)
    with pytest.raises(leveret.ChannelClosedError):
        ask(channel, queue)


@pytest.mark.parametrize("kind", [SoftTimeLimit, KeyboardInterrupt])
@pytest.mark.parametrize("lost", ["request", "confirm"])
def test_an_interrupt_while_answers_are_handed_out(
    channel: leveret.Channel, kind: type[BaseException], lost: str
) -> None:
    """The connection ends, and so does the wait of those whose answers were in hand."""
    queue = channel.queue_declare(exclusive=True).queue
    core = channel.core
    mine = leveret.Connection(core).channel()
    mine.publish(b"", routing_key=queue)
    consumer = channel.consume(queue, no_ack=True)
    here = threading.get_ident()
    handlers = dict(core._handlers)
    armed = threading.Event()

    def interrupted(event: object) -> None:
        if armed.is_set() and threading.get_ident() == here:
            raise kind
        handlers[type(event)](event)

    def was_interrupted() -> bool:
        """While this thread led; now and then the I/O thread is quicker."""
        lead(channel, queue)
        armed.set()
        try:
            consumer.get(timeout=1.0)
        except (KeyboardInterrupt, SoftTimeLimit):
            return True
        except leveret.DeadlineExceeded:
            return False
        finally:
            armed.clear()
        return False

    core._handlers[protocol.Reply] = core._handlers[protocol.Outcomes] = interrupted
    other = start(_ask_when_led, core, armed, mine, queue, lost)
    try:
        eventually(was_interrupted)
    finally:
        core._handlers.update(handlers)
    began = time.monotonic()
    if lost == "confirm":
        other.result()  # it was known to be confirmed
    else:
        with pytest.raises(leveret.ConnectionLost):
            other.result()
    assert time.monotonic() - began < SECONDS / 2
    core._thread.join(SECONDS)
    assert not core.unanswered


def _ask_when_led(
    core: Core, armed: threading.Event, channel: leveret.Channel, queue: str, what: str
) -> None:
    eventually(lambda: armed.is_set() and core.reading > NOBODY)
    if what == "request":
        channel.queue_declare(queue, passive=True, timeout=SECONDS)
    else:
        channel.publish(b"", routing_key=queue, timeout=SECONDS)


def test_a_signal_handler_that_leaves_leading_to_the_io_thread(
    channel: leveret.Channel, other: leveret.Channel
) -> None:
    """It has dropped a consumer, which is for the I/O thread to end: from then on that one reads,
    and nobody beside it.
    """
    queue = channel.queue_declare("left-to-others", auto_delete=True).queue
    consumer = channel.consume(queue)
    core = channel.core
    dropped = [channel.consume(channel.queue_declare(exclusive=True).queue)]
    receive = core._receive
    armed, stranger = threading.Event(), threading.Event()

    def noted() -> None:
        if armed.is_set():
            if threading.current_thread() is core._thread:
                stranger.wait(0.3)  # were there one, it would read now
            else:
                stranger.set()
        receive()

    def handle(*_: object) -> None:
        dropped.clear()
        ask(channel, queue)
        assert core.reading == IO_THREAD
        armed.set()
        other.publish(b"x", routing_key=queue, timeout=SECONDS)

    lead(channel, queue)
    core._receive = noted
    try:
        with alarm(handle):
            assert consumer.get(timeout=SECONDS).body == b"x"
    finally:
        del core._receive
    assert not stranger.is_set()


def test_a_signal_handler_that_takes_long(channel: leveret.Channel) -> None:
    """It waits for another thread, whose answers the interrupted thread would have to read."""
    queue = channel.queue_declare(exclusive=True).queue
    consumer = channel.consume(queue)
    core = channel.core
    mine = leveret.Connection(core).channel()
    answered: list[bool] = []

    def handle(*_: object) -> None:
        worker = start(ask, mine, queue)
        worker.result(SECONDS)
        answered.append(True)
        for _ in range(20):
            start(ask, mine, queue).result(SECONDS)

    lead(channel, queue)
    for turn in range(3):
        with alarm(handle):
            eventually_published = start(_publish_after, answered, turn, mine, queue)
            consumer.get(timeout=SECONDS).ack()
            eventually_published.result()
            lead(channel, queue)
    assert len(answered) == 3
    assert not core.unanswered


def _publish_after(
    answered: list[bool], turn: int, channel: leveret.Channel, queue: str
) -> None:
    eventually(lambda: len(answered) > turn)
    channel.publish(b"", routing_key=queue, timeout=SECONDS)


def test_an_interrupt_between_two_steps_of_waiting() -> None:
    """What the poll object watches is known all the same, or it would wait for nothing."""
    mine, peer = socket.socketpair()
    with mine, peer:
        readiness = Readiness(mine)
        peer.send(b"x")
        assert readiness.wait(READ, SECONDS) == READ

        def interrupted(frame: object, event: str, argument: object) -> None:
            if event == "c_return" and getattr(argument, "__name__", "") == "unregister":
                sys.setprofile(None)
                raise KeyboardInterrupt

        sys.setprofile(interrupted)
        try:
            with pytest.raises(KeyboardInterrupt):
                readiness.wait(0, 0.0)
        finally:
            sys.setprofile(None)
        assert readiness.wait(0, 0.0) == 0
        assert readiness.wait(READ, SECONDS) == READ
        readiness.close()


def test_a_signal_handler_that_waits_where_its_thread_leads(channel: leveret.Channel) -> None:
    """It leads in the place of the thread it has interrupted, which still gets its own."""
    queue = channel.queue_declare(exclusive=True).queue
    consumer = channel.consume(queue)
    lead(channel, queue)
    asked = Signal()

    def handle(*_: object) -> None:
        ask(channel, queue)
        asked(channel.core._led_for is not None)
        channel.publish(b"x", routing_key=queue, timeout=SECONDS)

    with alarm(handle, 0.05):
        assert consumer.get(timeout=SECONDS).body == b"x"
    assert asked.calls == [(True,)]


def test_two_that_close() -> None:
    """Each has its own deadline, and the socket is closed in any case."""
    with scripted_broker(script=STEPS[:4]) as broker:
        connection = leveret.connect(f"amqp://guest:guest@{broker.address}")
        first = start(connection.close)
        eventually(lambda: not connection.is_open)
        with pytest.raises(leveret.DeadlineExceeded, match=r"connection\.close"):
            connection.close(timeout=0.05)
        first.result()


def test_a_cut_while_one_leads(broker: Broker) -> None:
    with Proxy(broker.url) as proxy:
        connection = leveret.connect(proxy.url)
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True).queue
        lead(channel, queue)
        waiting = start(next, channel.consume(queue))
        eventually(lambda: channel.core.reading > NOBODY)
        proxy.cut()
        with pytest.raises(leveret.ChannelClosedError):
            waiting.result()
        eventually(lambda: not channel.core._thread.is_alive())
        with contextlib.suppress(leveret.LeveretError):
            connection.close()


def _answer(broker: ScriptedBroker) -> None:
    """Say that there is a queue, each time that it is asked for, until the client has gone."""
    question, tail = wire.QueueDeclare("q", passive=True).encode(1), b""
    while data := broker.peer.recv(65536):
        tail = tail[-len(question) :] + data
        if tail.endswith(question):
            broker.peer.sendall(wire.QueueDeclareOk("q", 0, 0).encode(1))


def note_waits(channel: leveret.Channel) -> list[int]:
    """What is waited for from now on, each time."""
    waits: list[int] = []
    readiness = channel.core.readiness
    wait = readiness.wait

    def noted(wanted: int, timeout: float | None) -> int:
        waits.append(wanted)
        return wait(wanted, timeout)

    readiness.wait = noted
    return waits


def test_who_leads_sends_when_the_socket_takes_more() -> None:
    """And sleeps until it does."""
    with scripted_broker(script=STEPS[:-1]) as broker:
        connection = leveret.connect(f"amqp://{broker.address}", heartbeat=0, timeout=SECONDS)
        channel = connection.channel()
        peer = start(_answer, broker)
        lead(channel, "q")
        waits = note_waits(channel)
        body = bytes(32_000_000)

        def has_waited() -> bool:
            channel.basic_publish(body, routing_key="q", mandatory=False)
            ask(channel, "q")
            return any(wanted & WRITE for wanted in waits)

        eventually(has_waited)
        assert sum(1 for wanted in waits if wanted & WRITE) < 2000
        channel.core.abort()
        peer.result(SECONDS)


def test_nobody_is_busy_while_the_socket_takes_no_more() -> None:
    with scripted_broker(script=STEPS[:-1]) as broker:
        connection = leveret.connect(f"amqp://{broker.address}", heartbeat=0, timeout=SECONDS)
        channel = connection.channel()
        waits = note_waits(channel)
        body = bytes(1_000_000)
        with pytest.raises(leveret.DeadlineExceeded):
            while True:
                channel.basic_publish(body, routing_key="q", timeout=0.5)
        assert any(wanted & WRITE for wanted in waits)
        assert len(waits) < 200
        channel.core.abort()


def test_without_poll(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on Windows, and where another library has taken `select.poll` away."""
    monkeypatch.delattr(select, "poll")
    with leveret.connect(broker.url) as connection, connection.channel() as channel:
        queue = channel.queue_declare(exclusive=True).queue
        consumer = channel.consume(queue)
        lead(channel, queue)
        channel.publish(bytes(5_000_000), routing_key=queue)
        delivery = consumer.get(timeout=SECONDS)
        assert len(delivery.body) == 5_000_000
        delivery.ack()
        eventually(lambda: channel.core.reading == IO_THREAD)
        channel.publish(b"x", routing_key=queue)
        assert consumer.get(timeout=SECONDS).body == b"x"


def test_the_io_thread_finds_the_connection_broken_while_another_reads(broker: Broker) -> None:
    """It must not read the last words beside the one that leads: two would mix the bytes up."""
    with Proxy(broker.url) as proxy:
        _find_it_broken(proxy)


def _find_it_broken(proxy: Proxy) -> None:
    connection = leveret.connect(proxy.url)
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    core = channel.core
    lead(channel, queue)
    waiting = start(next, channel.consume(queue))
    eventually(lambda: core.reading > NOBODY and core._called_back)
    receive_last_words = core._receive_last_words
    readers: list[int] = []

    def noted() -> None:
        readers.append(core.reading)
        receive_last_words()

    core._receive_last_words = noted
    proxy.hold_to_broker()  # or it would answer
    core._stream._socket.shutdown(socket.SHUT_WR)
    core._sleeping = False  # nobody wakes the one that leads
    channel.basic_publish(b"x", routing_key=queue)
    core._baton.pass_on()
    with pytest.raises(leveret.ChannelClosedError):
        waiting.result()
    core._thread.join(SECONDS)
    assert readers == [IO_THREAD]
    with contextlib.suppress(leveret.LeveretError):
        connection.close()
