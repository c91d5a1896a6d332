"""An RPC client that buys from the stock: calls, which wait for an answer, and casts.

    python client.py
"""

from __future__ import annotations

import oslo_messaging
from oslo_config import cfg
from stock import TOPIC, OutOfStock, configure


def main(conf: cfg.ConfigOpts) -> None:
    """Buy, buy too much, give back, and close the shop."""
    transport = oslo_messaging.get_rpc_transport(
        conf, conf.url, allowed_remote_exmods=[OutOfStock.__module__]
    )
    target = oslo_messaging.Target(topic=TOPIC)
    stock = oslo_messaging.get_rpc_client(transport, target, timeout=30)
    for count in (3, 2, 3):
        left = stock.call({}, "reserve", item="apple", count=count)
        print(f"{count} apples reserved, {left} left")
    try:
        stock.call({}, "reserve", item="pear", count=5)
    except OutOfStock as error:
        print("not reserved:", str(error).splitlines()[0])
    stock.cast({}, "put_back", item="pear", count=2)
    stock.prepare(server="one").cast({}, "close_shop")
    transport.cleanup()


if __name__ == "__main__":
    main(configure(__doc__))
