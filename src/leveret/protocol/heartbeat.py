"""Heartbeats as deadlines (AMQP 0-9-1, 4.2.7; RabbitMQ, "Heartbeats").

The clock is the caller's: every method takes `now`, in seconds of one monotonic clock. Any byte
received counts as a sign of life, and any byte sent makes a heartbeat needless. Sending is
looked at every half interval: what was silent since the last look sends one heartbeat, so that
the peer never waits longer than one interval.
"""

from __future__ import annotations

__all__ = ["Heartbeat"]


class Heartbeat:
    """The two clocks of one connection.

    Args:
        interval: seconds, as negotiated; more than 0.
        now: the present.
    """

    __slots__ = ("_bytes_at_look", "_look", "interval")

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self._look = now + interval / 2
        self._bytes_at_look = 0

    def next_deadline(self, last_received: float) -> float:
        """When `is_due` or `has_expired` wants to be asked next.

        Args:
            last_received: when something last came from the peer.
        """
        return min(self._look, last_received + 2 * self.interval)

    def has_expired(self, silent: float) -> bool:
        """Whether the peer counts as gone, after so many seconds of silence: two intervals."""
        return silent >= 2 * self.interval

    def is_due(self, now: float, bytes_sent: int) -> bool:
        """Whether a heartbeat must be sent now.

        Args:
            now: the present.
            bytes_sent: how many bytes the connection has sent in all.
        """
        if now < self._look:
            return False
        silent = bytes_sent == self._bytes_at_look
        self._bytes_at_look = bytes_sent
        self._look = now + self.interval / 2
        return silent
