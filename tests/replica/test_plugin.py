"""Standbys that do not follow the primary are found by `scalekit doctor`."""

from __future__ import annotations

import pytest

from scalekit import create_app
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_replica.plugin import replication_findings
from tests.replica.conftest import Cluster

pytestmark = pytest.mark.anyio
SECRET = "0123456789abcdef0123456789abcdef"


@pytest.mark.needs("postgres")
async def test_standbys_that_follow_the_primary_are_counted(shared_cluster: Cluster) -> None:
    urls = shared_cluster.urls
    found = []
    for more in ([], ["postgresql://postgres@127.0.0.1:1/postgres"]):
        replica = {"urls": [*urls, *more], "secret": SECRET}
        plugins = {"pool": {"url": shared_cluster.primary.url}, "replica": replica}
        host = create_app({"plugins": plugins}, app=bare_application)
        (diagnostic,) = host.settings.plugins.diagnostics(host.context)["replica"]
        async with running(host):
            found.append([(each.key, each.value) for each in await diagnostic.probe()])
    assert found == [[], [("pg_stat_replication", str(len(urls)))]]


def test_a_primary_needs_a_sender_for_another_standby() -> None:
    assert [each.key for each in replication_findings("replica", 2, 2, 2)] == ["max_wal_senders"]
    assert [each.key for each in replication_findings("logical", 10, 1, 2)] == ["pg_stat_replication"]
    assert not list(replication_findings("replica", 3, 2, 2))
    assert [each.key for each in replication_findings("minimal", 0, 0, 2)] == ["wal_level"]
