"""The habits of py-amqp that programs rely on, on every broker."""

from __future__ import annotations

import pickle
import select
import struct
from datetime import datetime
from decimal import Decimal

import pytest

from leveret.compat import amqp
from leveret.compat.amqp import spec
from leveret.compat.amqp.exceptions import MessageNacked
from leveret.compat.amqp.method_framing import FrameWriter

NOBODY = "no-such-queue"


def drain(connection, got, count, timeout=10):
    while len(got) < count:
        connection.drain_events(timeout=timeout)


def test_calls_return_what_py_amqp_returns(channel):
    declared = channel.queue_declare("returns", exclusive=True, auto_delete=False)
    assert declared == ("returns", 0, 0)
    assert declared.message_count == 0
    assert channel.queue_declare("returns", passive=True, nowait=True) is None
    assert channel.exchange_declare("returns", "fanout", auto_delete=True) is None
    assert channel.queue_bind("returns", "returns") == ()
    assert channel.queue_unbind("returns", "returns") == ()
    assert channel.exchange_delete("returns") == ()
    assert channel.basic_qos(0, 10, False) == ()
    assert channel.basic_get("returns") is None
    sent = channel.basic_publish(amqp.Message("a"), routing_key="returns")
    assert sent.ready
    calls = []
    sent.then(lambda: calls.append("then"))
    assert calls == ["then"]
    channel.basic_publish(amqp.Message("b"), routing_key="returns")
    assert channel.queue_purge("returns") == 2
    assert channel.basic_consume("returns", "tag", nowait=True) == "tag"
    assert channel.basic_cancel("tag") == "tag"
    assert channel.queue_delete("returns") == 0


class ReadByAnother(amqp.Channel):
    """Another greenlet has read consume-ok, and reads on before the one that waits has a turn."""

    def wait(self, method, *args, **kwargs):
        result = super().wait(method, *args, **kwargs)
        if method == spec.Basic.ConsumeOk:
            while sum(map(len, self._early.values())) < 3:
                self.connection.drain_events(timeout=10)
        return result


@pytest.mark.parametrize("no_ack", [False, True])
def test_messages_before_their_consumer_is_known(connection, queue, no_ack):
    channel = ReadByAnother(connection)
    channel.open()
    for body in ("a", "b", "c", "d"):
        channel.basic_publish(amqp.Message(body), routing_key=queue)
    got = []
    channel.basic_consume(queue, callback=lambda message: got.append(message), no_ack=no_ack)
    assert [message.body for message in got] == ["a", "b", "c"]
    drain(connection, got, 4)
    assert [message.body for message in got] == ["a", "b", "c", "d"]
    assert not any(message.delivery_info["redelivered"] for message in got)


def test_messages_of_a_consumer_that_stays_unknown_are_given_back(connection, channel, queue):
    shared = ReadByAnother(connection)
    shared.open()
    shared.basic_qos(0, 3, False)
    other = channel.queue_declare(exclusive=True, auto_delete=False).queue
    for body in ("a", "b", "c"):
        channel.basic_publish(amqp.Message(body), routing_key=queue)
    del shared.callbacks[shared.basic_consume(queue, "unknown", nowait=True)]
    shared.basic_consume(other, callback=print)
    assert not shared._early
    shared.basic_cancel("unknown")
    rejected = [shared.basic_get(queue) for _ in range(3)]
    assert all(message.delivery_info["redelivered"] for message in rejected)


def test_a_message_survives_the_round_trip(channel, queue):
    properties = {
        "content_type": "text/plain",
        "delivery_mode": 2,
        "priority": 0,
        "correlation_id": "",
        "timestamp": 1_700_000_000_000,  # milliseconds, as some send them
        "type": "kind",
        "application_headers": {
            "int": -1,
            "long": 2**40,
            "decimal": Decimal("-1.25"),
            "when": datetime(2020, 1, 2, 3, 4, 5),
            "nested": {"list": [1, None, True, "x"]},
            "bytes": b"\xff",
        },
    }
    channel.basic_publish(amqp.Message("grüße", unknown=1, **properties), routing_key=queue)
    message = channel.basic_get(queue)
    assert message.body == "grüße"
    assert message.properties == {**properties, "content_encoding": "utf-8"}
    assert message.type == "kind"
    assert message.headers == properties["application_headers"]
    assert message.delivery_info["routing_key"] == queue
    assert message.frame_method == spec.Basic.GetOk
    assert message.channel is channel
    message.channel = None
    assert pickle.loads(pickle.dumps(message)).properties == message.properties


@pytest.mark.parametrize(
    ("body", "encoding", "expected"),
    [
        (b"", None, ""),
        (b"\xff", None, b"\xff"),
        (b"\xff", "utf-8", b"\xff"),
        (b"a", "binary", b"a"),
        ("ä", "latin-1", "ä"),
    ],
)
def test_a_body_is_decoded_by_its_encoding_or_stays_bytes(channel, queue, body, encoding, expected):
    channel.basic_publish(amqp.Message(body, content_encoding=encoding), routing_key=queue)
    assert channel.basic_get(queue, no_ack=True).body == expected


def test_what_does_not_fit_raises_and_leaves_the_channel_usable(channel, queue):
    with pytest.raises(struct.error):
        channel.queue_declare("q" * 256)
    with pytest.raises(struct.error):
        channel.basic_publish(amqp.Message("x"), routing_key="k" * 256)
    with pytest.raises(struct.error):
        channel.basic_publish(amqp.Message("x", message_id="m" * 256), routing_key=queue)
    with pytest.raises(amqp.FrameSyntaxError):
        channel.basic_publish(amqp.Message("x", application_headers={"o": object()}))
    assert channel.queue_declare(queue, passive=True).message_count == 0


def test_after_a_channel_error_the_same_channel_is_open_again(channel):
    number = channel.channel_id
    with pytest.raises(amqp.NotFound) as caught:
        channel.queue_declare(NOBODY, passive=True)
    assert str(caught.value).startswith("Queue.declare: (404) NOT_FOUND")
    assert caught.value.reply_code == 404
    assert caught.value.method_sig == spec.Queue.Declare
    assert channel.is_open
    assert channel.channel_id == number
    channel.queue_declare(exclusive=True)


def test_a_consumer_gets_one_delivery_a_drain(connection, channel, queue):
    got = []
    for number in range(5):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue)
    tag = channel.basic_consume(queue, callback=got.append)
    assert got == []
    for number in range(5):
        assert connection.drain_events(timeout=10) is None
        assert [message.body for message in got] == [str(n) for n in range(number + 1)]
    assert got[0].delivery_info["consumer_tag"] == tag
    with pytest.raises(TimeoutError):
        connection.drain_events(timeout=0)
    for message in got:
        channel.basic_ack(message.delivery_tag)


def test_callbacks_run_inside_calls_that_wait(connection, channel, queue):
    got = []

    def on_message(message):
        got.append(channel.queue_declare(queue, passive=True).queue)

    channel.basic_consume(queue, callback=on_message, no_ack=True)
    channel.basic_publish(amqp.Message("x"), routing_key=queue)
    for _ in range(100):
        channel.queue_declare(queue, passive=True)
        if got:
            break
    assert got == [queue]


def test_a_delivery_for_nobody_is_rejected_with_a_warning(connection, channel, queue, caplog):
    tag = channel.basic_consume(queue, callback=print)
    del channel.callbacks[tag]
    channel.basic_publish(amqp.Message("x"), routing_key=queue)
    connection.drain_events(timeout=10)
    assert tag in caplog.text
    channel.basic_cancel(tag)
    message = channel.basic_get(queue)
    while message is None:
        message = channel.basic_get(queue)
    assert message.delivery_info["redelivered"]


def test_a_consumer_that_the_broker_cancels(connection, channel, connect):
    other = connect().channel()
    cancelled = []
    for name in ("one", "two"):
        other.queue_declare(name, auto_delete=False)
    channel.basic_consume("one", callback=print, on_cancel=cancelled.append, consumer_tag="c1")
    other.queue_delete("one")
    drain(connection, cancelled, 1)
    assert cancelled == ["c1"]
    channel.basic_consume("two", callback=print)
    other.queue_delete("two")
    with pytest.raises(amqp.ConsumerCancelled):
        drain(connection, cancelled, 2)
    assert connection.connected
    assert channel.queue_declare(exclusive=True)


def test_a_return_goes_to_its_handlers_or_raises(connection, channel):
    channel.basic_publish(amqp.Message("x"), routing_key=NOBODY, mandatory=True)
    with pytest.raises(amqp.ChannelError) as caught:
        connection.drain_events(timeout=10)
    assert caught.value.reply_code == 312
    got = []
    channel.events["basic_return"].add(lambda *args: got.append(args))
    channel.basic_publish(amqp.Message("y"), routing_key=NOBODY, mandatory=True)
    drain(connection, got, 1)
    error, exchange, routing_key, message = got[0]
    assert (error.reply_code, exchange, routing_key, message.body) == (312, "", NOBODY, "y")


def test_confirms_belong_to_their_publish(connect, broker):
    connection = connect(confirm_publish=True)
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    other = channel.queue_declare(exclusive=True).queue
    inner = []

    def on_message(message):  # publishes, and so waits, inside another publish
        channel.basic_ack(message.delivery_tag)
        channel.basic_publish(amqp.Message("inner"), routing_key=other, confirm_timeout=10)
        inner.append(message.body)

    channel.basic_consume(queue, callback=on_message)
    for number in range(20):
        channel.basic_publish(amqp.Message(str(number)), routing_key=queue, confirm_timeout=10)
    drain(connection, inner, 20)
    assert channel.queue_declare(other, passive=True).message_count == 20
    with pytest.raises(amqp.NotFound):
        channel.basic_publish(amqp.Message("x"), exchange="no-such-exchange")
    channel.basic_publish(amqp.Message("last"), routing_key=other, confirm_timeout=10)
    limits = {"x-max-length": 0, "x-overflow": "reject-publish"}
    full = channel.queue_declare(exclusive=True, arguments=limits).queue
    with pytest.raises(MessageNacked):
        channel.basic_publish(amqp.Message("x"), routing_key=full)


def test_publishes_count_from_the_request_for_confirms_on(connect):
    """A delivery comes, and its callback publishes, while the first publish asks for confirms."""
    connection = connect(confirm_publish=True)
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    connect().channel().basic_publish(amqp.Message("one"), routing_key=queue)
    inner = []

    def on_message(message):
        channel.basic_publish(amqp.Message("inner"), "amq.fanout", confirm_timeout=10)
        inner.append(channel._published)

    while not channel.queue_declare(queue, passive=True).message_count:
        pass
    channel.basic_consume(queue, callback=on_message, no_ack=True)
    assert select.select([connection.sock], [], [], 10)[0]
    channel.basic_publish(amqp.Message("outer"), "amq.fanout", confirm_timeout=10)
    assert inner == [1]
    assert channel._published == 2


def test_a_listener_hears_every_confirm(connect):
    channel = connect(confirm_publish=True).channel()
    heard = []
    channel.basic_publish(amqp.Message("x"), "amq.fanout", confirm_timeout=10)
    channel.events["basic_ack"].add(lambda tag, multiple: heard.append((tag, multiple)))
    channel.basic_publish(amqp.Message("x"), "amq.fanout", confirm_timeout=10)
    channel.basic_publish(amqp.Message("x"), "amq.fanout")
    assert heard == [(2, False), (3, False)]


def test_whoever_overrides_a_hook_sees_every_confirm(broker):
    seen = []

    class Watching(amqp.Connection):
        def on_inbound_method(self, channel_id, method_sig, payload, content):
            seen.append(method_sig)
            return super().on_inbound_method(channel_id, method_sig, payload, content)

    class Listening(amqp.Channel):
        def _on_basic_ack(self, delivery_tag, multiple):
            seen.append(delivery_tag)
            return super()._on_basic_ack(delivery_tag, multiple)

    host, port = broker.address()
    for watched, channel_class in ((Watching, amqp.Channel), (amqp.Connection, Listening)):
        with watched(f"{host}:{port}", virtual_host=broker.vhost, confirm_publish=True) as made:
            channel = channel_class(made)
            channel.open()
            channel.basic_publish(amqp.Message("x"), "amq.fanout", confirm_timeout=10)
            assert seen[-1] == (1 if channel_class is Listening else spec.Basic.Ack)


def test_closed_things_say_so(connection, channel):
    channel.close()
    channel.close()
    with pytest.raises(amqp.RecoverableConnectionError, match="basic_publish: connection closed"):
        channel.basic_publish(amqp.Message("x"))
    with pytest.raises(amqp.RecoverableConnectionError, match="connection already closed"):
        channel.queue_declare("x")
    assert channel.basic_cancel("x") is None
    assert list(connection._used_channel_ids) == []
    connection.close()
    connection.close()
    connection.collect()
    assert connection.channels is None
    assert not connection.connected
    for use in (connection.drain_events, connection.channel, connection.connect):
        with pytest.raises(amqp.RecoverableConnectionError):
            use()


def test_wrong_passwords_and_virtual_hosts(connect, broker):
    with pytest.raises(amqp.AccessRefused):
        connect(password="wrong")
    host, port = broker.address()
    with pytest.raises((amqp.NotAllowed, amqp.InvalidPath)):
        amqp.Connection(f"{host}:{port}", virtual_host="/none/such").connect()


def test_a_close_by_an_operator_is_the_mapped_error(connection, channel, broker):
    broker.close_connections("maintenance")
    with pytest.raises(amqp.ConnectionForced, match="maintenance"):
        for _ in range(10):
            connection.drain_events(timeout=10)
    assert connection.connected is None
    assert channel.connection is None


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_whoever_waits_on_the_socket_sees_every_frame(connect, tls):
    """Deliveries that come right behind the reply of an ordinary call."""
    count = 30
    connection = connect(tls=tls)
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    for _ in range(count):
        channel.basic_publish(amqp.Message(b"x" * 1000), routing_key=queue)
    while channel.queue_declare(queue, passive=True).message_count < count:
        pass
    got = []
    channel.basic_consume(queue, callback=got.append, no_ack=True)
    while len(got) < count:
        readable, _, _ = select.select([connection.sock], [], [], 10)
        assert readable, f"{len(got)} of {count} seen"
        connection.drain_events()
    assert not select.select([connection.sock], [], [], 0.05)[0]


@pytest.mark.parametrize("tls", [False, True], ids=["tcp", "tls"])
def test_bodies_of_many_frames(connect, tls):
    connection = connect(tls=tls)
    channel = connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    body = bytes(range(256)) * 12_000
    channel.basic_publish(amqp.Message(body), routing_key=queue)
    channel.basic_publish(amqp.Message("small"), routing_key=queue)
    got = []
    channel.basic_consume(queue, callback=got.append, no_ack=True)
    drain(connection, got, 2)
    assert [message.body for message in got] == [body, "small"]


def test_heartbeats_are_agreed_on_and_missed(connect):
    assert connect(heartbeat=0).heartbeat == 0
    connection = connect(heartbeat=7)
    assert connection.heartbeat == 7
    connection.heartbeat_tick()
    connection.last_heartbeat_received -= 15
    with pytest.raises(amqp.ConnectionForced, match="Too many heartbeats missed"):
        connection.heartbeat_tick()


def test_limits_that_the_client_proposes_hold(connect):
    connection = connect(frame_max=10_000, channel_max=2)
    assert connection.frame_max == 10_000
    channel = connection.channel()
    connection.channel()
    with pytest.raises(amqp.ResourceError):
        connection.channel()
    queue = channel.queue_declare(exclusive=True).queue
    channel.basic_publish(amqp.Message(b"x" * 50_000), routing_key=queue)
    message = channel.basic_get(queue)
    while message is None:
        message = channel.basic_get(queue)
    assert len(message.body) == 50_000


def test_what_a_subclass_makes_its_own_is_called(connect):
    """The shorter ways of what is sent and received all the time pass nothing over."""
    seen = []

    class Watching(amqp.Channel):
        def send_method(self, sig, *args, **options):
            seen.append(("send", sig))
            return super().send_method(sig, *args, **options)

        def dispatch_method(self, sig, payload, content):
            seen.append(("dispatch", sig))
            return super().dispatch_method(sig, payload, content)

        def _on_basic_ack(self, delivery_tag, multiple):
            seen.append(("confirmed", delivery_tag))
            return super()._on_basic_ack(delivery_tag, multiple)

    connection = connect(confirm_publish=True)
    channel = Watching(connection)
    channel.open()
    queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
    got = []
    channel.basic_consume(queue, callback=got.append)
    seen.clear()
    channel.basic_publish(amqp.Message("x"), routing_key=queue)
    drain(connection, got, 1)
    channel.basic_ack(got[0].delivery_tag)
    assert ("send", spec.Basic.Publish) in seen
    assert ("dispatch", spec.Basic.Ack) in seen
    assert ("confirmed", 1) in seen
    assert ("dispatch", spec.Basic.Deliver) in seen
    assert seen[-1] == ("send", spec.Basic.Ack)


def test_a_connection_of_its_own_sees_what_comes(broker):
    came = []

    class Watching(amqp.Connection):
        def on_inbound_method(self, channel_id, sig, payload, content):
            came.append((channel_id, sig))
            return super().on_inbound_method(channel_id, sig, payload, content)

    host, port = broker.address()
    with Watching(f"{host}:{port}", virtual_host=broker.vhost, connect_timeout=10) as connection:
        channel = connection.channel()
        queue = channel.queue_declare(exclusive=True, auto_delete=False).queue
        got = []
        channel.basic_consume(queue, callback=got.append)
        channel.basic_publish(amqp.Message("x"), routing_key=queue)
        drain(connection, got, 1)
    assert (1, spec.Basic.Deliver) in came


def test_a_connection_that_ends_while_a_publish_is_written_confirms_nothing(connect):
    class Ending(FrameWriter):
        def __call__(self, kind, channel, sig, args, content):
            super().__call__(kind, channel, sig, args, content)
            if sig == spec.Basic.Publish:
                connection.collect()

    connection = connect(confirm_publish=True, frame_writer=Ending)
    channel = connection.channel()
    channel.confirm_select()
    with pytest.raises(amqp.RecoverableConnectionError):
        channel.basic_publish(amqp.Message("x"), "amq.fanout")
