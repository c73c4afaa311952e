"""Where the broker is, and how to connect to it."""

from __future__ import annotations

import aiormq
from yarl import URL

from scalekit_queue.config import QueueConfig

DEFAULT_PORTS = {"amqp": 5672, "amqps": 5671}


class Broker:
    """The broker that *config* names; raises StartError when its certificates are not there."""

    def __init__(self, config: QueueConfig) -> None:
        self._url = URL(config.url.reveal())
        self.place = f"{self._url.host}:{self._url.port or DEFAULT_PORTS[config.url.scheme]}"
        self._security = config.tls("the broker") if config.url.scheme == "amqps" else None

    def connection(self, **options: str) -> aiormq.Connection:
        """Return a connection that is not made yet; *options* are those that aiormq reads from an address."""
        return aiormq.Connection(self._url.update_query(options), context=self._security)
