"""The cache in the store of the cluster cache."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from scalekit import create_app
from scalekit.contracts import CACHE, CLUSTER_CACHE
from scalekit.testing import request, running
from tests.cache.conftest import Shared
from tests.cache.integration.test_redis_service import APPLICATION
from tests.command_line import scalekit

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


def nodes(shared: Shared) -> list[str]:
    return shared.url.partition("//")[2].split(",")


def tables(shared: Shared) -> dict[str, Any]:
    policies = [{"path": "/tagged", "ttl": "1h", "tags": ["t"]}]
    cluster = {"nodes": nodes(shared), "store_timeout": "5s"}
    return {"plugins": {"cluster-cache": cluster, "cache": {"url": "cluster-cache:", "policies": policies}}}


async def test_processes_share_responses_and_the_values_of_both_caches_are_separate(cluster_servers: Shared) -> None:
    cluster_servers.clear()
    names: dict[str, Any] = {}
    exec(APPLICATION, names)
    one, two = (create_app(tables(cluster_servers), app=names["app"]) for _ in range(2))
    async with running(one) as first, running(two) as second:
        stored = (await request(one, "/tagged", state=first)).body
        await one.context.get(CACHE).set("a", "cache", 60)
        await one.context.get(CLUSTER_CACHE).set("a", "cluster", 60)
        assert await two.context.get(CACHE).get("a") == "cache"
        assert await two.context.get(CLUSTER_CACHE).get("a") == "cluster"
        assert (await request(two, "/tagged", state=second)).body == stored


def test_the_command_purges_the_store_of_the_cluster_cache(cluster_servers: Shared, tmp_path: Path) -> None:
    cluster_servers.clear()
    (tmp_path / "service.py").write_text(APPLICATION)
    listed = ", ".join(f'"{node}"' for node in nodes(cluster_servers))
    (tmp_path / "scalekit.toml").write_text(
        f'[app]\ntarget = "service:app"\n[plugins.cluster-cache]\nnodes = [{listed}]\nstore_timeout = "5s"\n'
        '[plugins.cache]\nurl = "cluster-cache:"\n'
    )
    done = scalekit("cache", "purge", "--tag", "t", folder=tmp_path)
    assert (done.returncode, done.stderr) == (0, "")
    assert any("purges" in server.cli("KEYS", "*purges*") for server in cluster_servers.servers)
