"""An RPC server with its client, and a notification listener, of oslo.messaging."""

import logging
import sys
import threading

import oslo_messaging
from oslo_config import cfg

from leveret import compat

compat.install()
logging.disable()
topic = sys.argv[2]
url = "rabbit" + sys.argv[1].removeprefix("amqp")
conf = cfg.CONF
conf([])


class Calculator:
    """What the client calls."""

    def add(self, context: object, a: int, b: int) -> int:
        """The sum."""
        return a + b

    def fail(self, context: object) -> None:
        """An error that travels."""
        raise ValueError("no")


class Listener:
    """What gets the notifications."""

    def __init__(self) -> None:
        self.payload: object = None
        self.came = threading.Event()

    def info(self, context: object, publisher: str, event: str, payload: object, _: object) -> None:
        """A notification has come."""
        self.payload = payload
        self.came.set()


transport = oslo_messaging.get_rpc_transport(conf, url)
target = oslo_messaging.Target(topic=topic, server="one")
server = oslo_messaging.get_rpc_server(transport, target, [Calculator()], executor="threading")
server.start()
client = oslo_messaging.get_rpc_client(transport, oslo_messaging.Target(topic=topic), timeout=20)
assert [client.call({}, "add", a=number, b=1) for number in range(20)] == list(range(1, 21))
try:
    client.call({}, "fail")
except ValueError as error:
    assert "no" in str(error)  # noqa: PT017
except oslo_messaging.RemoteError as error:
    assert error.exc_type == "ValueError"  # noqa: PT017

notes = oslo_messaging.get_notification_transport(conf, url)
endpoint = Listener()
targets = [oslo_messaging.Target(topic=f"{topic}-notes")]
listener = oslo_messaging.get_notification_listener(notes, targets, [endpoint], "threading")
listener.start()
notifier = oslo_messaging.Notifier(notes, "me", driver="messaging", topics=[f"{topic}-notes"])
notifier.info({}, "made", {"a": 1})
assert endpoint.came.wait(20)
assert endpoint.payload == {"a": 1}
listener.stop()
listener.wait()
server.stop()
server.wait()
print("called, and notified")
