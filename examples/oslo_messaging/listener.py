"""A notification listener: prints what runs out.

    python listener.py
"""

from __future__ import annotations

import threading
from typing import Any

import oslo_messaging
from oslo_config import cfg
from stock import NOTIFICATIONS, configure


class Printer:
    """Takes notifications of priority `warn`; each priority is a method."""

    def warn(
        self,
        context: dict[str, Any],
        publisher: str,
        event: str,
        payload: dict[str, Any],
        metadata: dict[str, Any],
    ) -> oslo_messaging.NotificationResult:
        """One notification; it is the broker's until this returns."""
        print(f"{publisher} {event}: {payload['item']}, {payload['left']} left", flush=True)
        return oslo_messaging.NotificationResult.HANDLED


def main(conf: cfg.ConfigOpts) -> None:
    """Listen until Ctrl-C."""
    transport = oslo_messaging.get_notification_transport(conf, conf.url)
    targets = [oslo_messaging.Target(topic=NOTIFICATIONS)]
    listener = oslo_messaging.get_notification_listener(
        transport, targets, [Printer()]
    )
    listener.start()
    print("listening", flush=True)
    try:
        threading.Event().wait()
    except KeyboardInterrupt:
        pass
    listener.stop()
    listener.wait()
    transport.cleanup()


if __name__ == "__main__":
    main(configure(__doc__))
