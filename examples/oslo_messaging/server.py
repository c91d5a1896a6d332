"""An RPC server that keeps a stock, and tells the listeners when something runs out.

    python server.py
"""

from __future__ import annotations

import threading
from typing import Any

import oslo_messaging
from oslo_config import cfg
from stock import NEAR_EMPTY, NOTIFICATIONS, TOPIC, OutOfStock, configure


class Stock:
    """What clients can call: every public method."""

    def __init__(self, notifier: oslo_messaging.Notifier) -> None:
        self._notifier = notifier
        self._lock = threading.Lock()  # calls come in many threads
        self._items = {"apple": 10, "pear": 4}
        self.closed = threading.Event()

    def reserve(self, context: dict[str, Any], item: str, count: int) -> int:
        """Take some of an item; how many are left.

        Raises:
            OutOfStock: there are not so many; none is taken.
        """
        with self._lock:
            left = self._items.get(item, 0) - count
            if left < 0:
                raise OutOfStock(f"{item}: {-left} too few")
            self._items[item] = left
        if left < NEAR_EMPTY:
            self._notifier.warn(context, "stock.low", {"item": item, "left": left})
        return left

    def put_back(self, context: dict[str, Any], item: str, count: int) -> None:
        """Give some of an item back; a cast, which has no answer."""
        with self._lock:
            self._items[item] = self._items.get(item, 0) + count

    def close_shop(self, context: dict[str, Any]) -> None:
        """End the server."""
        self.closed.set()


def main(conf: cfg.ConfigOpts) -> None:
    """Serve until a client closes the shop."""
    transport = oslo_messaging.get_rpc_transport(conf, conf.url)
    notifications = oslo_messaging.get_notification_transport(conf, conf.url)
    notifier = oslo_messaging.Notifier(
        notifications, "stock.one", driver="messagingv2", topics=[NOTIFICATIONS]
    )
    stock = Stock(notifier)
    target = oslo_messaging.Target(topic=TOPIC, server="one")
    server = oslo_messaging.get_rpc_server(transport, target, [stock])
    server.start()
    print("serving", flush=True)
    try:
        stock.closed.wait()
    except KeyboardInterrupt:
        pass
    server.stop()
    server.wait()
    transport.cleanup()
    notifications.cleanup()


if __name__ == "__main__":
    main(configure(__doc__))
