"""A replica that still follows the old primary after a failover is excluded."""

from __future__ import annotations

import asyncio

import pytest

from tests.processes import HOST
from tests.replica.conftest import Cluster
from tests.replica.shop import Client, shop, wait_until
from tests.servers import Postgres

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]


@pytest.mark.parametrize(("user", "reason"), [("postgres", "follows timeline 1"), ("app", "ahead of the primary")])
async def test_a_replica_of_an_old_primary_is_excluded(cluster: Cluster, user: str, reason: str) -> None:
    old, (new, follower) = cluster.primary, cluster.replicas
    old.sql("CREATE ROLE app LOGIN; GRANT ALL ON stock TO app")
    await asyncio.to_thread(cluster.wait_until_replayed)

    def address(server: Postgres) -> str:
        return f"postgresql://{user}@{HOST}:{server.port}/postgres"

    async with shop({"urls": [address(old), address(new)]}, {"urls": [address(follower)]}) as instance:
        client = Client([instance])
        await client.write(1, 1)
        await asyncio.to_thread(cluster.wait_until_replayed)
        new.sql("SELECT pg_promote()")
        old.sql("INSERT INTO stock SELECT number, 0 FROM generate_series(1000, 5000) AS number")

        async def left() -> bool:
            await instance.host.monitor.check_once()
            return reason in instance.host.monitor.results[f"replica.{HOST}:{follower.port}"].last_error

        await wait_until("the exclusion of the follower of the old primary", left, limit=60.0)
        await client.write(1, 2)
        assert (await client.read(1)).body == b"2"
        assert (await Client([instance]).read(1000)).body == b"None", "that row is on the old primary alone"
