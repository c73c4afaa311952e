"""Settings of a database server are compared with what the service needs of it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date
from typing import Any

import pytest

from scalekit import INSTANCES, ConnectionUse, create_app
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_pool.config import DatabaseUrl, PoolConfig
from scalekit_pool.diagnostics import access_findings, connection_findings, slot_findings, version_findings
from tests.servers import Postgres

pytestmark = pytest.mark.anyio
SAFE = ("fsync=on", "full_page_writes=on", "idle_in_transaction_session_timeout=5min")
Found = dict[str, tuple[str, str]]


@pytest.fixture(scope="module")
def safe_server() -> Iterator[Postgres]:
    with Postgres(*SAFE, "max_connections=40", "wal_level=logical") as server:
        server.sql("CREATE ROLE shop LOGIN; GRANT ALL ON SCHEMA public TO shop")
        yield server


async def diagnosed(pool: dict[str, Any], instances: int = 1, **plugins: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return severity, key and value of the findings."""
    host = create_app({"server": {"workers": 2}, "plugins": {"pool": pool, **plugins}}, app=bare_application)
    host.context.provide(INSTANCES, instances)
    diagnostics = host.settings.plugins.diagnostics(host.context)
    async with running(host):
        found = [finding for items in diagnostics.values() for each in items for finding in await each.probe()]
    return [(each.severity.value, each.key, each.value) for each in found if each.name != "database-version"]


def as_shop(server: Postgres) -> str:
    return server.url.replace("postgres@", "shop@")


@pytest.mark.needs("postgres")
async def test_a_server_with_safe_settings_has_no_finding(safe_server: Postgres) -> None:
    assert await diagnosed({"url": as_shop(safe_server), "max_size": 14}) == []


@pytest.mark.needs("postgres")
@pytest.mark.parametrize(("instances", "severity"), [(1, None), (3, "warning"), (4, "error")])
async def test_the_pools_of_all_processes_fit_into_the_connections_of_the_server(
    safe_server: Postgres, instances: int, severity: str | None
) -> None:
    found = await diagnosed({"url": as_shop(safe_server), "max_size": 5}, instances)
    assert found == ([] if severity is None else [(severity, "max_connections", "37")])


@pytest.mark.needs("postgres")
async def test_limits_of_role_and_database_count_too(safe_server: Postgres) -> None:
    safe_server.sql("ALTER ROLE shop CONNECTION LIMIT 12")
    try:
        found = await diagnosed({"url": as_shop(safe_server), "max_size": 10})
        assert found == [("error", "max_connections", "12")]
    finally:
        safe_server.sql("ALTER ROLE shop CONNECTION LIMIT -1")


@pytest.mark.needs("postgres")
async def test_the_connections_of_the_queue_count_too(safe_server: Postgres) -> None:
    safe_server.sql("GRANT CREATE ON SCHEMA public TO shop")
    pool = {"url": as_shop(safe_server), "max_size": 14}
    found = await diagnosed(pool, queue={"url": "database:", "max_connections": 5})
    assert found == [("error", "max_connections", "37")]


@pytest.mark.needs("postgres")
async def test_the_server_of_a_queue_of_its_own_is_examined_too(safe_server: Postgres, tmp_path: Any) -> None:
    safe_server.sql("GRANT CREATE ON SCHEMA public TO shop")
    pool = {"url": f"sqlite:///{tmp_path}/shop.db"}
    assert await diagnosed(pool, queue={"url": as_shop(safe_server), "max_connections": 8}) == []
    found = await diagnosed(pool, queue={"url": safe_server.url, "max_connections": 20})
    assert found == [("error", "max_connections", "37"), ("warning", "is_superuser", "on")]


@pytest.mark.needs("postgres")
async def test_a_superuser_on_a_server_without_durability_is_found(safe_server: Postgres) -> None:
    for setting in ("fsync = off", "full_page_writes = off", "synchronous_commit = off"):
        safe_server.sql(f"ALTER SYSTEM SET {setting}")
    safe_server.sql("SELECT pg_reload_conf()")
    try:
        found = await diagnosed({"url": safe_server.url, "max_size": 5})
    finally:
        safe_server.sql("ALTER SYSTEM RESET ALL")
        safe_server.sql("SELECT pg_reload_conf()")
    # fsync and full_page_writes of this server are set on its command line, which takes precedence.
    assert found == [("warning", "synchronous_commit", "off"), ("warning", "is_superuser", "on")]


@pytest.mark.needs("postgres")
async def test_settings_of_a_server_for_tests_are_errors(shared_postgres: Postgres) -> None:
    found = await diagnosed({"url": shared_postgres.url})
    assert ("error", "fsync", "off") in found
    assert ("error", "full_page_writes", "off") in found
    assert ("advice", "idle_in_transaction_session_timeout", "0") in found


@pytest.mark.needs("postgres")
async def test_an_unused_replication_slot_is_found_by_what_it_retains(
    safe_server: Postgres, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("scalekit_pool.diagnostics.MANY_RETAINED", 0)
    safe_server.sql("SELECT pg_create_physical_replication_slot('standby', true)")
    try:
        found = await diagnosed({"url": as_shop(safe_server), "max_size": 5})
    finally:
        safe_server.sql("SELECT pg_drop_replication_slot('standby')")
    assert found == [("warning", "pg_replication_slots", "standby")]


@pytest.mark.needs("mariadb")
async def test_a_mariadb_is_examined(mariadb_url: str) -> None:
    found = await diagnosed({"url": mariadb_url, "max_size": 100}, 10)
    assert [(severity, key) for severity, key, _ in found] == [
        ("error", "max_connections"),
        ("warning", "innodb_flush_log_at_trx_commit"),
    ]


async def test_a_file_is_not_shared_by_instances(tmp_path: Any) -> None:
    pool = {"url": f"sqlite:///{tmp_path}/shop.db"}
    assert await diagnosed(pool) == []
    assert await diagnosed(pool, 2) == [("error", "plugins.pool.url", "")]


def test_the_remedy_has_a_size_that_fits() -> None:
    uses = [ConnectionUse("plugins.pool.max_size", 20), ConnectionUse("plugins.queue.max_connections", 8)]
    (finding,) = connection_findings(uses, 8, 97, "max_connections")
    assert "8 processes with plugins.pool.max_size 20 + plugins.queue.max_connections 8 may open 224" in finding.message
    assert finding.remedy.startswith("lower max_size to 4,")


def test_versions_end() -> None:
    assert not list(version_findings(15, "15.18", date(2027, 11, 11)))
    assert [each.value for each in version_findings(15, "15.18", date(2027, 11, 12))] == ["15.18"]
    assert [each.value for each in version_findings(12, "12.22", date(2024, 1, 1))] == ["12.22"]
    assert not list(version_findings(99, "99.0", date(2060, 1, 1)))


def test_few_bytes_of_a_slot_are_no_finding() -> None:
    assert not list(slot_findings([{"slot_name": "standby", "retained": 1000}, {"slot_name": "b", "retained": -5}]))


@pytest.mark.parametrize(
    ("url", "sslmode", "count"),
    [
        ("postgresql://shop@10.0.0.7/shop", "prefer", 1),
        ("postgresql://shop@10.0.0.7/shop", "verify-full", 0),
        ("postgresql://shop@127.0.0.1/shop", "prefer", 0),
        ("mysql://shop@db.example/shop", "disable", 1),
    ],
)
def test_a_remote_server_needs_verified_tls(url: str, sslmode: Any, count: int) -> None:
    assert len(list(access_findings(PoolConfig(url=DatabaseUrl(url), sslmode=sslmode)))) == count
