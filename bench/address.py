"""AMQP URLs in one spelling: clients read a missing or empty virtual host in different ways."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit


@dataclass(frozen=True, slots=True)
class Address:
    """The parts of an amqp:// URL, decoded."""

    host: str
    port: int
    user: str
    password: str
    virtual_host: str

    @classmethod
    def parse(cls, url: str) -> Address:
        """Read a URL; what is missing has RabbitMQ's defaults.

        Raises:
            ValueError: the scheme is not amqp (TLS would measure the TLS library).
        """
        parts = urlsplit(url)
        if parts.scheme != "amqp":
            raise ValueError(f"not an amqp:// URL: {parts.scheme or url!r}")
        return cls(
            host=parts.hostname or "localhost",
            port=parts.port or 5672,
            user=unquote(parts.username or "guest"),
            password=unquote(parts.password or "guest"),
            virtual_host=unquote(parts.path[1:]) or "/",
        )

    @property
    def url(self) -> str:
        """The URL with everything spelled out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user, password = quote(self.user, safe=""), quote(self.password, safe="")
        return f"amqp://{user}:{password}@{host}:{self.port}/{quote(self.virtual_host, safe='')}"
