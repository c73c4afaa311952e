"""The table ``[plugins.replica]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from scalekit import Duration, PositiveDuration, PositiveSize, Secret, Size, Table, Url

MIN_SECRET_LENGTH = 32


class ReplicaUrl(Url):
    """The URL of a replica."""

    SCHEMES = ("postgresql", "postgres", "sqlite")
    EXAMPLE = "postgresql://user@host:5432/name or sqlite:///copy.db"
    __slots__ = ()


class ReplicaConfig(Table):
    """The replicas, and the limits of their replication lag."""

    urls: tuple[ReplicaUrl, ...] = ()
    """The replicas; without any, all reads go to the primary."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """One number for each of urls: its share of the reads; without any, the shares are equal."""
    secret: Secret | None = None
    """The key that signs tokens; every instance of the service needs the same."""
    replay_timeout: Duration = Duration("50ms")
    """How long a read waits for a replica to replay the client's last write before it goes to the primary."""
    primary_after_write: PositiveDuration = Duration("2s")
    """How long a client reads from the primary after a write whose LSN is unknown."""
    max_lag: PositiveDuration = Duration("10s")
    """Maximum replication lag in time; a replica that exceeds it serves no reads."""
    max_lag_bytes: PositiveSize = Size("64MiB")
    """Maximum replication lag in bytes of write-ahead log."""
    check_interval: PositiveDuration = Duration("1s")
    """Time between two checks of every replica."""
    check_timeout: PositiveDuration = Duration("1s")
    """How long a check may take before the replica counts as failed."""
    token_ttl: PositiveDuration = Duration("1m")
    """How long a token is valid; after that, every replica that serves reads has replayed the write."""

    @model_validator(mode="after")
    def _fits_together(self) -> ReplicaConfig:
        if self.urls and self.secret is None:
            raise ValueError(
                "secret is required with urls, and every instance needs the same one; create it with"
                ' `openssl rand -base64 32` and write secret = "${REPLICA_SECRET}"'
            )
        if self.secret is not None and len(self.secret.get_secret_value()) < MIN_SECRET_LENGTH:
            raise ValueError(
                f"secret is shorter than {MIN_SECRET_LENGTH} characters; create one with `openssl rand -base64 32`,"
                " and use it in every instance"
            )
        if self.weights and len(self.weights) != len(self.urls):
            raise ValueError(f"weights has {len(self.weights)} numbers for {len(self.urls)} urls; set one for each")
        if len(set(self.names)) < len(self.names):
            raise ValueError("urls names a server twice; increase its weight instead")
        minimum = self.max_lag + self.primary_after_write + self.check_interval + self.check_timeout
        if self.token_ttl < minimum:
            raise ValueError(
                f"token_ttl {self.token_ttl} is too short: within it every replica must replay a write or be excluded;"
                f" set at least {minimum:g}s, the sum of max_lag, primary_after_write, check_interval and check_timeout"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """The replicas' addresses, as metrics, health and logs name them."""
        return tuple(_server_name(url) for url in self.urls)


def _server_name(url: Url) -> str:
    if url.scheme == "sqlite":
        return url.file
    return f"{url.parts.host}:{url.parts.port or 5432}"
