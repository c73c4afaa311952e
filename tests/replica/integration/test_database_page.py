"""The page of the databases shows the replicas of a real cluster."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import orjson
import pytest

from scalekit.contracts import CONSISTENCY, READS, Consistency
from tests.console.clients import console_app
from tests.replica.conftest import Cluster
from tests.replica.shop import SECRET, wait_until

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]


async def test_replicas_are_shown_with_lag_share_and_reason(cluster: Cluster) -> None:
    plugins: Mapping[str, Mapping[str, Any]] = {
        "pool": {"url": cluster.primary.url, "sslmode": "disable"},
        "replica": {"urls": cluster.urls, "secret": SECRET, "check_interval": "50ms"},
    }
    async with console_app(plugins) as browser:

        async def page() -> dict[str, Any]:
            blocks = orjson.loads((await browser.get("/-/database.json")).body)["blocks"]
            return {block.get("title") or block["text"]: block for block in blocks}

        async def states() -> list[str]:
            return sorted(row[1]["text"] for row in (await page())["Replicas"]["rows"])

        async def both_serve() -> bool:
            return await states() == ["serves reads", "serves reads"]

        async def one_is_excluded() -> bool:
            return await states() == ["excluded", "serves reads"]

        await wait_until("both replicas", both_serve)
        found = await page()
        for name, _, lag, lag_bytes, reads, _, reason in found["Replicas"]["rows"]:
            assert name in [f"127.0.0.1:{replica.port}" for replica in cluster.replicas]
            assert lag >= 0
            assert (lag_bytes, reads, reason) == (0, 0, "")
        pools = [row[0] for row in found["Connections"]["rows"]]
        assert "primary" in pools
        assert {row[0] for row in found["Replicas"]["rows"]} <= set(pools)
        assert [row[0] for row in found["Replicas by worker"]["rows"]] == ["1", "1"]
        reads = browser.app.context.get(READS)
        await reads.fetch_val("SELECT 1")  # outside of a request
        CONSISTENCY.set(Consistency())
        for _ in range(9):
            await reads.fetch_val("SELECT 1")
        found = await page()
        assert sum(row[4] for row in found["Replicas"]["rows"]) == 9
        assert sum(row[5] for row in found["Replicas"]["rows"]) == pytest.approx(0.9)
        assert found["Reads that went to the primary"]["facts"]["unknown"] == 0.1
        cluster.replicas[0].kill()
        await wait_until("one replica is excluded", one_is_excluded)
        excluded = next(row for row in (await page())["Replicas"]["rows"] if row[1]["text"] == "excluded")
        assert excluded[0] == f"127.0.0.1:{cluster.replicas[0].port}"
        assert excluded[2] is None
        assert excluded[6]
