"""Where the broker is, and how to connect to it."""

from __future__ import annotations

import ssl

import aiormq
from yarl import URL

from scalekit.errors import StartError
from scalekit_queue.config import QueueConfig


class Broker:
    """The broker that *config* names; raises StartError when its certificates are not there."""

    def __init__(self, config: QueueConfig) -> None:
        self._url = URL(config.url.reveal())
        self._security = _security(config)

    def connection(self, **options: str) -> aiormq.Connection:
        """Return a connection that is not made yet; *options* are those that aiormq reads from an address."""
        return aiormq.Connection(self._url.update_query(options), context=self._security)


def _security(config: QueueConfig) -> ssl.SSLContext | None:
    if config.url.scheme != "amqps":
        return None
    try:
        context = ssl.create_default_context(cafile=config.ca_file)
        if config.cert_file:
            context.load_cert_chain(config.cert_file, config.key_file)
    except OSError as error:
        files = ", ".join(filter(None, (config.ca_file, config.cert_file, config.key_file)))
        raise StartError(f"no TLS to the broker with {files}: {error.strerror or error}; check the files") from None
    return context
