"""Under the monkey patch of gevent or eventlet: who drains does not stop the others.

python green_program.py gevent|eventlet HOST VHOST CERTIFICATE
"""

import sys

library, host, vhost, certificate = sys.argv[1:]
if library == "gevent":
    from gevent import monkey, sleep, spawn

    monkey.patch_all()
else:
    from eventlet import monkey_patch, sleep, spawn

    monkey_patch()

from leveret.compat import amqp  # noqa: E402

ssl = {"ca_certs": certificate} if certificate else False

ticks: list[float] = []
got: list[object] = []


def connect() -> amqp.Connection:
    """An open connection."""
    connection = amqp.Connection(host, virtual_host=vhost, ssl=ssl, login_method="PLAIN")
    connection.connect()
    return connection


def tick() -> None:
    """What runs beside."""
    while True:
        ticks.append(1)
        sleep(0.01)


def consume(connection: amqp.Connection, queue: str) -> None:
    """Drains until a hundred have come."""

    def on_message(message: amqp.Message) -> None:
        got.append(message.body)
        message.channel.basic_ack(message.delivery_tag)

    connection.channel().basic_consume(queue, callback=on_message)
    while len(got) < 100:
        connection.drain_events(timeout=10)


first, second = connect(), connect()
queue = first.channel().queue_declare(library, auto_delete=True).queue
spawn(tick)
consumer = spawn(consume, first, queue)
sleep(0.2)
assert len(ticks) > 5, ticks
publisher = second.channel()
for number in range(100):
    publisher.basic_publish(amqp.Message(str(number)), routing_key=queue)
consumer.get(timeout=10) if library == "gevent" else consumer.wait()
assert got == [str(number) for number in range(100)]
try:
    first.drain_events(timeout=0.1)
except TimeoutError:
    pass
first.close()
second.close()
print("all came, and", len(ticks) > 5)
