from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.processes import wait_for
from tests.replica.shop import TABLE
from tests.servers import Postgres, Replica


@dataclass(frozen=True, slots=True)
class Cluster:
    """A primary with the table of the shop, and two replicas."""

    primary: Postgres
    replicas: tuple[Replica, Replica]

    @property
    def urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    def wait_until_replayed(self) -> None:
        """Wait until both replicas have replayed the current LSN of the primary."""
        position = self.primary.sql("SELECT pg_current_wal_lsn()")
        query = f"SELECT pg_last_wal_replay_lsn() >= '{position}'"
        wait_for("the replicas", lambda: all(replica.sql(query) == "t" for replica in self.replicas))


def cluster_with(*settings: str) -> Iterator[Cluster]:
    with Postgres(*settings) as primary:
        primary.sql(TABLE)
        with primary.replica("one") as one, primary.replica("two") as two:
            cluster = Cluster(primary, (one, two))
            cluster.wait_until_replayed()
            yield cluster


@pytest.fixture(scope="module")
def shared_cluster() -> Iterator[Cluster]:
    """Return a cluster for tests that do not change it."""
    yield from cluster_with()


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    """Return a cluster for tests that stop or promote its servers."""
    yield from cluster_with()


@pytest.fixture
def impatient_cluster() -> Iterator[Cluster]:
    """Return a cluster whose replicas cancel reads that conflict with replay."""
    yield from cluster_with("max_standby_streaming_delay=0")


@pytest.fixture
def slow_cluster() -> Iterator[Cluster]:
    """Return a cluster whose replicas replay with a delay of two seconds."""
    yield from cluster_with("recovery_min_apply_delay=2s")
