"""What server, client and listener of this example agree on.

The line about Leveret is `compat.install()`: oslo.messaging takes its URLs, `rabbit://`, to kombu's
`amqp`, which is Leveret then.
"""

from __future__ import annotations

from oslo_config import cfg

from leveret import compat

compat.install()

TOPIC = "stock"
NOTIFICATIONS = "stock-notifications"
NEAR_EMPTY = 3


class OutOfStock(Exception):
    """Not enough of it; travels from the server to the client."""


def configure(description: str | None) -> cfg.ConfigOpts:
    """The configuration: oslo's own, with the broker's URL as an option of the command line."""
    url = cfg.StrOpt("url", default="rabbit://guest:guest@localhost:5672//", help="the broker")
    cfg.CONF.register_cli_opt(url)
    cfg.CONF(project="stock", description=(description or "").partition("\n")[0])
    return cfg.CONF
