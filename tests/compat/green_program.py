"""Under the monkey patch of gevent or eventlet: who drains does not stop the others, and two may
read one connection, as Celery's workers do.

python green_program.py gevent|eventlet HOST VHOST CERTIFICATE
"""

import sys
from itertools import cycle

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


def connect(**options: object) -> amqp.Connection:
    """An open connection."""
    connection = amqp.Connection(
        host, virtual_host=vhost, ssl=ssl, login_method="PLAIN", **options
    )
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


def join(thread: object) -> None:
    """Wait for its end; what it raises."""
    thread.get(timeout=20) if library == "gevent" else thread.wait()


def confirm(connection: amqp.Connection, outcomes: list[object]) -> None:
    """Waits for the confirm of each publish."""
    channel = connection.channel()
    for number in range(300):
        outcomes.append(channel.basic_publish(amqp.Message(str(number)), "amq.fanout"))
    outcomes.append(None)


def read(connection: amqp.Connection, outcomes: list[object]) -> None:
    """Takes, beside `confirm`, what comes first."""
    for timeout in cycle([0, 0.001, 0]):
        if outcomes[-1:] == [None]:
            return
        try:
            connection.drain_events(timeout=timeout)
        except TimeoutError:
            pass
        sleep(0)


first, second = connect(), connect()
queue = first.channel().queue_declare(library, auto_delete=True).queue
spawn(tick)
consumer = spawn(consume, first, queue)
sleep(0.2)
assert len(ticks) > 5, ticks
publisher = second.channel()
for number in range(100):
    publisher.basic_publish(amqp.Message(str(number)), routing_key=queue)
join(consumer)
assert got == [str(number) for number in range(100)]
try:
    first.drain_events(timeout=0.1)
except TimeoutError:
    pass
first.close()
second.close()

shared = connect(confirm_publish=True)
outcomes: list[object] = []
for thread in [spawn(read, shared, outcomes), spawn(confirm, shared, outcomes)]:
    join(thread)
assert len(outcomes) == 301
shared.close()
print("all came, and", len(ticks) > 5)
