"""Configuration table ``[plugins.broadcast]``."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from scalekit import Duration, PositiveDuration, PositiveSize, Size, Table, TextPattern, Url
from scalekit_redis import REDIS_SCHEMES, parse_url

Bound = Annotated[int, Field(ge=1, le=1_000_000)]
MAX_STORED = 64 * 2**20
"""Bytes of the history of one channel, at most."""
MAX_MESSAGE = 16 * 2**20
"""Bytes of a message, at most."""


def _supported_transport(url: Url) -> Url:
    if url.reveal() == "memory:":
        return url
    if url.scheme not in REDIS_SCHEMES:
        raise ValueError(f'unsupported transport {str(url)!r}; write "memory:" or "redis://127.0.0.1:6379/0"')
    parse_url(url.reveal())
    return url


class BroadcastConfig(Table):
    """Broadcasts to the subscribers of channels in all processes."""

    url: Annotated[Url, AfterValidator(_supported_transport)] = Url("memory:")
    """BroadcastTransport: ``memory:`` between the workers of one machine, or ``redis://`` or ``redis-cluster://``."""
    prefix: Annotated[str, TextPattern(r"^[A-Za-z0-9_.-]{1,64}$", 'at most 64 letters, digits and "_ . -"')] = (
        "broadcast"
    )
    """First part of the names of channels and streams in Redis; services with the same one share their channels."""
    history: Annotated[int, Field(ge=1, le=10_000)] = 100
    """Messages of each channel that are kept, for clients that reconnect and for slow subscribers."""
    history_ttl: PositiveDuration = Duration("1h")
    """How long the history of a channel is kept after its last message."""
    history_size: PositiveSize = Size("64MiB")
    """Memory of all histories with ``memory:``; those of the least recently used channels are removed first."""
    max_message_size: PositiveSize = Size("64KiB")
    """Maximum size of the JSON of a message."""
    max_channels: Bound = 10_000
    """Maximum number of channels with subscribers in each process."""
    max_subscribers: Bound = 20_000
    """Maximum number of subscribers in each process."""
    slow_subscribers: Literal["drop_oldest", "disconnect"] = "drop_oldest"
    """Subscribers that are more than ``history`` messages behind skip the oldest ones, or their iteration fails."""
    subscribe_timeout: PositiveDuration = Duration("3s")
    """How long a new subscription waits for the transport; then the response is 503."""
    redis_timeout: PositiveDuration = Duration("2s")
    """How long to wait for a reply of Redis."""
    keep_alive: PositiveDuration = Duration("15s")
    """Interval of comments on an idle stream of server-sent events, so that proxies do not close it."""
    retry: PositiveDuration = Duration("2s")
    """How long a browser waits before it reconnects to a stream of server-sent events."""

    @model_validator(mode="after")
    def _one_channel_fits(self) -> BroadcastConfig:
        if self.max_message_size > MAX_MESSAGE:
            raise ValueError(
                f"max_message_size {self.max_message_size} is more than 16MiB; publish a reference instead"
            )
        size = self.history * int(self.max_message_size)
        if size > MAX_STORED:
            raise ValueError(
                f"history {self.history} times max_message_size {self.max_message_size} is more than 64MiB;"
                " lower one of them"
            )
        return self

    @property
    def in_memory(self) -> bool:
        """Whether the transport is the memory of the service."""
        return self.url.reveal() == "memory:"
