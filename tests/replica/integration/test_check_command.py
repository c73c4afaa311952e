from __future__ import annotations

import asyncio
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command_line import scalekit
from tests.processes import free_ports
from tests.replica.conftest import Cluster
from tests.replica.shop import SECRET
from tests.servers import Postgres

pytestmark = [pytest.mark.needs("postgres"), pytest.mark.anyio]


def address(server: Postgres) -> str:
    return f"127.0.0.1:{server.port}"


async def check(tmp_path: Path, primary: str, replica: str) -> CompletedProcess[str]:
    """Run ``scalekit check --connect`` with one replica."""
    (tmp_path / "shop.py").write_text("async def app(scope, receive, send):\n    pass\n")
    (tmp_path / "scalekit.toml").write_text(
        f'[app]\ntarget = "shop:app"\n[plugins.pool]\nurl = "{primary}"\n'
        f'[plugins.replica]\nurls = ["{replica}"]\nsecret = "{SECRET}"\n'
    )
    return await asyncio.to_thread(scalekit, "check", "--connect", folder=tmp_path)


async def test_check_connect_has_one_line_for_each_mistake(shared_cluster: Cluster, tmp_path: Path) -> None:
    primary, replica = shared_cluster.primary, shared_cluster.replicas[0]
    (port,) = free_ports(1)
    lines = {
        primary.url.replace("postgres@", "postgres:hunter2@"): f"{address(primary)} is a primary, not a replica",
        f"postgresql://postgres:hunter2@127.0.0.1:{port}/postgres": f"nothing listens at 127.0.0.1:{port}",
    }
    for url, line in lines.items():
        result = await check(tmp_path, primary.url, url)
        failed = [each for each in result.stdout.splitlines() if each.startswith("failed")]
        assert len(failed) == 1
        assert failed[0].endswith(line)
        assert result.returncode == 1
        assert "hunter2" not in result.stdout + result.stderr
    assert (await check(tmp_path, primary.url, replica.url)).returncode == 0


async def test_a_replica_of_another_dialect_fails_the_start(shared_cluster: Cluster, tmp_path: Path) -> None:
    (tmp_path / "copy.db").touch()
    result = await check(tmp_path, shared_cluster.primary.url, f"sqlite:///{tmp_path}/copy.db")
    assert result.returncode == 1
    assert "is sqlite, but the primary is postgresql; name a copy of it" in result.stderr
