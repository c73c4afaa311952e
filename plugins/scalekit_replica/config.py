"""The table ``[plugins.replica]``."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from scalekit import Duration, PositiveDuration, PositiveSize, Secret, Size, Table, Url

SHORTEST_SECRET = 32


class ReplicaUrl(Url):
    """The address of a replica."""

    SCHEMES = ("postgresql", "postgres", "sqlite")
    EXAMPLE = "postgresql://user@host:5432/name or sqlite:///copy.db"
    __slots__ = ()


class ReplicaConfig(Table):
    """Where may be read besides the database that is written to, and how far behind it may be."""

    urls: tuple[ReplicaUrl, ...] = ()
    """The replicas; without any, everything is read where it is written."""
    weights: tuple[Annotated[float, Field(gt=0)], ...] = ()
    """The share of reads that each of urls gets beside the others; without any, all get the same."""
    secret: Secret | None = None
    """What tokens are signed with; every instance of the service needs the same."""
    wait: Duration = Duration("50ms")
    """How long a read waits for a replica to have what its client has written, before it goes to the primary."""
    sticky: PositiveDuration = Duration("2s")
    """How long a client reads from the primary after a write whose position is not known."""
    max_lag: PositiveDuration = Duration("10s")
    """How far a replica may be behind in time; one that is further behind gets no reads."""
    max_lag_bytes: PositiveSize = Size("64MiB")
    """How far a replica may be behind in bytes of the write-ahead log."""
    check_interval: PositiveDuration = Duration("1s")
    """Time between two looks at every replica."""
    check_timeout: PositiveDuration = Duration("1s")
    """How long a look may take before the replica counts as failed."""
    lifetime: PositiveDuration = Duration("1m")
    """How long a token is good for; past that, every replica that may be read from has what it stands for."""

    @model_validator(mode="after")
    def _fits_together(self) -> ReplicaConfig:
        if self.urls and self.secret is None:
            raise ValueError(
                "secret is required where there are urls, and every instance needs the same; make one with"
                ' `openssl rand -base64 32` and write secret = "${REPLICA_SECRET}"'
            )
        if self.secret is not None and len(self.secret.get_secret_value()) < SHORTEST_SECRET:
            raise ValueError(
                f"secret is shorter than {SHORTEST_SECRET} characters; make one with `openssl rand -base64 32`,"
                " and give every instance the same"
            )
        if self.weights and len(self.weights) != len(self.urls):
            raise ValueError(f"weights has {len(self.weights)} numbers for {len(self.urls)} urls; give one for each")
        if len(set(self.names)) < len(self.names):
            raise ValueError("urls names a server twice; give it a larger weight instead")
        least = self.max_lag + self.sticky + self.check_interval + self.check_timeout
        if self.lifetime < least:
            raise ValueError(
                f"lifetime {self.lifetime} is too short: within it every replica must get what was written, or leave;"
                f" give it at least {least:g}s, the sum of max_lag, sticky, check_interval and check_timeout"
            )
        return self

    @property
    def names(self) -> tuple[str, ...]:
        """What the replicas are called in metrics, health and log: where they are."""
        return tuple(_place(url) for url in self.urls)


def _place(url: Url) -> str:
    if url.scheme == "sqlite":
        return url.file
    return f"{url.parts.host}:{url.parts.port or 5432}"
