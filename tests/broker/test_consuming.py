"""Channels that consume: raw frames in, RabbitMQ's answers out. No sockets, no waiting."""

from __future__ import annotations

from collections.abc import Callable

from broker_peer import Peer, bodies, consume, declare, refused

from leveret import wire
from leveret.broker.node import Node

Connect = Callable[[], Peer]


# -- consuming


def test_deliveries(connect: Connect) -> None:
    publisher, consumer = connect().open(), connect().open()
    declare(publisher)
    publisher.publish(body=b"early")
    consumer.send(wire.BasicConsume("q", "t"))
    answer, first = consumer.read()
    assert answer == wire.BasicConsumeOk("t")
    publisher.publish(body=b"late")
    (second,) = consumer.deliveries()
    assert [(d.body, d.delivery_tag, d.consumer_tag) for d in (first, second)] == [
        (b"early", 1, "t"),
        (b"late", 2, "t"),
    ]
    consumer.send(wire.BasicAck(2, multiple=True))
    assert consumer.read() == []


def test_a_consumer_without_a_tag_gets_one(peer: Peer) -> None:
    declare(peer)
    answer = peer.ask(wire.BasicConsume(""), wire.BasicConsumeOk)
    assert answer.consumer_tag.startswith("amq.ctag-")


def test_large_bodies_are_split(connect: Connect) -> None:
    peer = connect().open(frame_max=8192)
    declare(peer)
    body = bytes(range(256)) * 100
    publish = wire.encode_publish(1, "", "q", False, False, b"\0\0", body, 8192)
    peer.raw(publish if isinstance(publish, bytes) else b"".join(publish))
    peer.send(wire.BasicGet("q"))
    data = bytes(peer._output)
    assert peer.read()[0].body == body
    found = wire.decode_frames(data, 0, 8192)[0]
    assert found[0].body == body


def test_properties_that_do_not_fit_the_frames_of_a_consumer(connect: Connect) -> None:
    peer, small, getter = connect().open(), connect().open(frame_max=8192), connect()
    getter.open(frame_max=8192)
    declare(peer)
    consume(small)
    peer.publish(headers={"large": "x" * 10_000})
    close = small.one(wire.ConnectionClose)
    assert close.reply_text.startswith("FRAME_ERROR - basic.deliver: properties of ")
    getter.send(wire.BasicGet("q", no_ack=True))
    assert getter.one(wire.ConnectionClose).reply_code == 501
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).redelivered


def test_prefetch_and_settling(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.BasicQos(0, 3), wire.BasicQosOk)
    consume(peer)
    for number in range(6):
        peer.publish(body=b"%d" % number)
    assert bodies(peer.deliveries()) == [b"0", b"1", b"2"]
    peer.send(wire.BasicAck(1))
    assert bodies(peer.deliveries()) == [b"3"]
    peer.send(wire.BasicReject(2, requeue=False))
    assert bodies(peer.deliveries()) == [b"4"]
    peer.send(wire.BasicNack(4, multiple=True, requeue=True))
    again = peer.deliveries()
    assert bodies(again) == [b"2", b"3"]
    assert all(delivery.redelivered for delivery in again)
    peer.send(wire.BasicAck(0, multiple=True))
    assert bodies(peer.deliveries()) == [b"5"]


def test_the_channels_limit(peer: Peer) -> None:
    declare(peer)
    peer.ask(wire.BasicQos(0, 2, global_=True), wire.BasicQosOk)
    consume(peer, "a")
    consume(peer, "b")
    for number in range(4):
        peer.publish(body=b"%d" % number)
    assert [d.consumer_tag for d in peer.deliveries()] == ["a", "b"]
    peer.send(wire.BasicQos(0, 3, global_=True))
    answer, third = peer.read()
    assert isinstance(answer, wire.BasicQosOk)
    assert third.body == b"2"


def test_a_multiple_ack_of_a_tag_that_is_gone(peer: Peer) -> None:
    declare(peer)
    consume(peer)
    for _ in range(3):
        peer.publish()
    peer.deliveries()
    peer.send(wire.BasicAck(2))
    assert peer.read() == []
    peer.send(wire.BasicAck(2, multiple=True))
    refused(peer, 406, "PRECONDITION_FAILED - unknown delivery tag 2", 60, 80)


def test_recover_answers_before_it_delivers_again(peer: Peer) -> None:
    declare(peer)
    consume(peer)
    peer.publish(body=b"0")
    peer.publish(body=b"1")
    peer.deliveries()
    peer.send(wire.BasicRecover(True))
    answer, *again = peer.read()
    assert isinstance(answer, wire.BasicRecoverOk)
    assert [(d.body, d.delivery_tag, d.redelivered) for d in again] == [
        (b"0", 3, True),
        (b"1", 4, True),
    ]
    peer.send(wire.BasicRecoverAsync(True))
    assert [d.delivery_tag for d in peer.deliveries()] == [5, 6]


def test_cancel_keeps_what_is_unsettled(peer: Peer) -> None:
    declare(peer)
    consume(peer)
    peer.publish(body=b"0")
    peer.deliveries()
    assert peer.ask(wire.BasicCancel("t"), wire.BasicCancelOk).consumer_tag == "t"
    peer.ask(wire.BasicCancel("nosuch"), wire.BasicCancelOk)
    peer.ask(wire.BasicGet("q"), wire.BasicGetEmpty)
    peer.send(wire.BasicNack(1, requeue=True))
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).redelivered


def test_consumers_are_told_when_their_queue_is_deleted(connect: Connect) -> None:
    owner, told, untold = connect().open(), connect().open(), connect().open(capabilities={})
    declare(owner)
    consume(owner)
    consume(told)
    consume(untold)
    owner.send(wire.QueueDelete("q"))
    answer, news = owner.read()
    assert answer == wire.QueueDeleteOk(0)
    assert news == wire.BasicCancel("t", True)
    assert told.one(wire.BasicCancel) == wire.BasicCancel("t", True)
    assert untold.read() == []
    assert owner.ask(wire.QueueDelete("q"), wire.QueueDeleteOk).message_count == 0
    declare(told)
    consume(told)


def test_auto_delete_and_exclusive_queues_go(connect: Connect, node: Node) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer, "auto", auto_delete=True)
    declare(peer, "mine", exclusive=True)
    consume(peer, "a", "auto")
    consume(other, "b", "auto")
    other.ask(wire.BasicCancel("b"), wire.BasicCancelOk)
    assert set(node.hosts["/"].queues) == {"auto", "mine"}
    other.send(wire.BasicGet("mine"))
    assert other.one(wire.ChannelClose).reply_code == 405
    peer.ask(wire.BasicCancel("a"), wire.BasicCancelOk)
    assert set(node.hosts["/"].queues) == {"mine"}
    peer.session.drop()
    assert not node.hosts["/"].queues


def test_a_closed_channel_gives_back_what_it_had(connect: Connect) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer)
    consume(peer)
    for number in range(3):
        peer.publish(body=b"%d" % number)
    peer.deliveries()
    peer.ask(wire.ChannelClose(200, "bye"), wire.ChannelCloseOk)
    other.send(wire.BasicConsume("q", "t"))
    _, *given = other.read()
    assert [(d.body, d.redelivered) for d in given] == [(b"0", True), (b"1", True), (b"2", True)]


def test_a_lost_connection_gives_back_what_it_had(connect: Connect) -> None:
    peer, other = connect().open(), connect().open()
    declare(peer)
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk, channel=2)
    consume(peer)
    peer.ask(wire.BasicConsume("q", "t"), wire.BasicConsumeOk, channel=2)
    peer.publish(body=b"0")
    peer.publish(body=b"1")
    peer.session.receive_eof()
    assert peer.closed
    other.send(wire.BasicConsume("q", "t"))
    _, *given = other.read()
    assert bodies(given) == [b"0", b"1"]


def test_a_message_for_a_channel_that_closes_in_the_same_packet(peer: Peer) -> None:
    """Whether it is still delivered is open; it may not be lost."""
    declare(peer)
    peer.ask(wire.ChannelOpen(), wire.ChannelOpenOk, channel=2)
    peer.ask(wire.BasicConsume("q", "t"), wire.BasicConsumeOk, channel=2)
    publish = wire.encode_publish(1, "", "q", False, False, b"\0\0", b"x", 0)
    assert isinstance(publish, bytes)
    peer.raw(publish + wire.ChannelClose(200, "bye").encode(2))
    assert isinstance(peer.read()[-1], wire.ChannelCloseOk)
    assert peer.ask(wire.BasicGet("q"), wire.Delivery).body == b"x"


def test_the_queue_declared_last_is_the_default(peer: Peer) -> None:
    name = declare(peer, "")
    peer.ask(wire.QueueBind("", "amq.direct", ""), wire.QueueBindOk)
    peer.publish(name, exchange="amq.direct")
    assert peer.ask(wire.BasicGet(""), wire.Delivery).routing_key == name
    assert peer.ask(wire.QueuePurge(""), wire.QueuePurgeOk).message_count == 0
    peer.ask(wire.QueueUnbind("", "amq.direct", ""), wire.QueueUnbindOk)
    peer.ask(wire.QueueDelete(""), wire.QueueDeleteOk)


def test_small_answers(peer: Peer) -> None:
    assert peer.ask(wire.ChannelFlow(True), wire.ChannelFlowOk).active
    assert peer.ask(wire.AccessRequest("/data"), wire.AccessRequestOk).ticket == 1
    peer.ask(wire.ExchangeDeclare("x", "topic"), wire.ExchangeDeclareOk)
    peer.ask(wire.ExchangeBind("x", "amq.direct", "k"), wire.ExchangeBindOk)
    peer.ask(wire.ExchangeUnbind("x", "amq.direct", "k"), wire.ExchangeUnbindOk)
    peer.ask(wire.ExchangeDelete("x"), wire.ExchangeDeleteOk)


# -- direct reply-to


def test_direct_reply_to(connect: Connect) -> None:
    client, server = connect().open(), connect().open()
    declare(server)
    consume(client, "r", "amq.rabbitmq.reply-to", no_ack=True)
    client.publish(reply_to="amq.rabbitmq.reply-to", correlation_id="c")
    request = server.ask(wire.BasicGet("q", no_ack=True), wire.Delivery)
    name = request.properties.reply_to
    assert name.startswith("amq.rabbitmq.reply-to.")
    assert len(name) == 91
    assert request.properties.correlation_id == "c"
    found = server.ask(wire.QueueDeclare(name, passive=True), wire.QueueDeclareOk)
    assert (found.message_count, found.consumer_count) == (0, 1)
    server.ask(wire.ConfirmSelect(), wire.ConfirmSelectOk)
    server.publish(name, b"reply", mandatory=True)
    server.one(wire.BasicAck)
    (reply,) = client.deliveries()
    assert (reply.body, reply.consumer_tag, reply.delivery_tag) == (b"reply", "r", 1)
    assert (reply.exchange, reply.routing_key) == ("", name)
    client.session.drop()
    server.publish(name, b"late", mandatory=True)
    server.one(wire.BasicAck)
    server.publish(name + "x", b"nobody", mandatory=True)
    returned, _ = server.read()
    assert returned.reply_code == 312
    server.send(wire.QueueDeclare(name, passive=True))
    assert server.one(wire.ChannelClose).reply_code == 404


def test_one_reply_consumer_a_channel(peer: Peer) -> None:
    consume(peer, "r", "amq.rabbitmq.reply-to", no_ack=True)
    peer.ask(wire.BasicCancel("r"), wire.BasicCancelOk)
    consume(peer, "r", "amq.rabbitmq.reply-to", no_ack=True)
    peer.send(wire.BasicConsume("amq.rabbitmq.reply-to", "s", no_ack=True))
    refused(peer, 406, "PRECONDITION_FAILED - reply consumer already set", 60, 20)
    answer = peer.ask(wire.QueueDeclare("amq.rabbitmq.reply-to"), wire.QueueDeclareOk)
    assert (answer.queue, answer.consumer_count) == ("amq.rabbitmq.reply-to", 1)
