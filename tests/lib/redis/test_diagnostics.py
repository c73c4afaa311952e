"""Settings of a Redis are compared with what all plugins store there."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from scalekit import INSTANCES, create_app
from scalekit.testing import running
from scalekit.testing.conformance import bare_application
from scalekit_redis.diagnostics import (
    RedisContents,
    RedisUse,
    access_findings,
    parse_info,
    persistence_findings,
    redis_diagnostics,
    server_findings,
)
from scalekit_redis.url import parse_url
from tests.servers import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]
SECRET = "a secret for tests that is long enough"
CACHE = {"policies": [{"path": "/**", "ttl": "1m"}]}
SESSIONS = RedisUse("plugins.jwt.redis_url", "sessions", RedisContents.RECORDS)


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as server:
        yield server


@pytest.fixture
def configured(server: Redis) -> Iterator[Redis]:
    """Return the server, whose settings a test may change."""
    yield server
    for name, value in (("maxmemory", "64mb"), ("maxmemory-policy", "noeviction"), ("appendonly", "no")):
        server.cli("CONFIG", "SET", name, value)


@asynccontextmanager
async def diagnosed(plugins: dict[str, Any], instances: int = 1) -> AsyncGenerator[dict[str, tuple[str, str]], None]:
    """Yield severity and value of the findings of all plugins by name."""
    host = create_app({"plugins": plugins}, app=bare_application)
    host.context.provide(INSTANCES, instances)
    diagnostics = host.settings.plugins.diagnostics(host.context)
    async with running(host):
        found = [finding for items in diagnostics.values() for each in items for finding in await each.probe()]
    yield {each.name: (each.severity.value, each.value) for each in found if each.name != "redis-version"}


async def test_a_cache_needs_a_limit_and_eviction(configured: Redis) -> None:
    cache = {"cache": {**CACHE, "url": configured.url}}
    async with diagnosed(cache) as found:
        assert found == {"redis-eviction": ("warning", "noeviction")}
    configured.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with diagnosed(cache) as found:
        assert found == {}
    configured.cli("CONFIG", "SET", "maxmemory", "0")
    async with diagnosed(cache) as found:
        assert found == {"redis-maxmemory": ("warning", "0")}


async def test_sessions_need_persistence_and_no_eviction(configured: Redis) -> None:
    jwt = {"jwt": {"secret": SECRET, "session_store": "redis", "redis_url": configured.url}}
    async with diagnosed(jwt) as found:
        assert found == {"redis-persistence": ("warning", "no")}
    configured.cli("CONFIG", "SET", "appendonly", "yes")
    configured.cli("CONFIG", "SET", "maxmemory-policy", "allkeys-lru")
    async with diagnosed(jwt) as found:
        assert found == {"redis-eviction": ("error", "allkeys-lru")}


async def test_limits_need_no_persistence_and_should_not_be_evicted(configured: Redis) -> None:
    limits = {"ratelimit": {"url": configured.url, "default": "10/s"}}
    async with diagnosed(limits) as found:
        assert found == {}
    configured.cli("CONFIG", "SET", "maxmemory-policy", "volatile-ttl")
    async with diagnosed(limits) as found:
        assert found == {"redis-eviction": ("warning", "volatile-ttl")}


async def test_no_policy_fits_to_a_cache_and_sessions_on_one_server(configured: Redis) -> None:
    other_database = configured.url.removesuffix("0") + "1"
    plugins = {
        "cache": {**CACHE, "url": other_database},
        "idempotency": {"store": "redis", "redis_url": configured.url},
        "broadcast": {"url": configured.url},
    }
    async with diagnosed(plugins) as found:
        assert found.keys() == {"redis-eviction", "redis-shared", "redis-persistence"}
        assert found["redis-shared"] == ("warning", "shared")


async def test_the_connections_of_all_processes_are_compared_with_the_limit(configured: Redis) -> None:
    configured.cli("CONFIG", "SET", "maxclients", "100")
    limits = {"ratelimit": {"url": configured.url, "default": "10/s"}}
    for instances, severity in ((10, None), (30, "warning"), (40, "error")):
        async with diagnosed(limits, instances) as found:
            assert found == ({} if severity is None else {"redis-connections": (severity, "100")})
    configured.cli("CONFIG", "SET", "maxclients", "10000")


async def test_stores_in_memory_are_found_with_several_instances() -> None:
    plugins: dict[str, Any] = {
        "cache": CACHE,
        "cluster-cache": {},
        "ratelimit": {"default": "10/s"},
        "jwt": {"secret": SECRET},
        "idempotency": {},
        "broadcast": {},
    }
    async with diagnosed(plugins) as found:
        assert found == {}
    for name, severity in (
        ("cache", "advice"),
        ("cluster-cache", "advice"),
        ("ratelimit", "warning"),
        ("jwt", "error"),
        ("idempotency", "error"),
        ("broadcast", "error"),
    ):
        async with diagnosed({name: plugins[name]}, 2) as found:
            assert found == {"separate-stores": (severity, "")}, name


def test_urls_with_a_node_in_common_are_one_cluster() -> None:
    context = create_app({}, app=bare_application).context
    use = RedisUse("plugins.cache.url", "responses", RedisContents.CACHE)
    urls = (
        "redis-cluster://a,b",
        "redis-cluster://b,c",
        "redis-cluster://c",
        "redis-cluster://d",
        "unix:///run/r.sock",
    )
    assert [len(redis_diagnostics(context, url, use)) for url in urls] == [1, 0, 0, 1, 1]


def test_replicas_and_old_versions_are_found() -> None:
    info = parse_info("# Server\r\nredis_version:6.0.16\r\nrole:slave\r\n\r\nmaxclients:10000\r\n")
    assert [each.name for each in server_findings(info, "plugins.cache.url", 1)] == ["redis-version", "redis-role"]
    valkey = {"redis_version": "7.2.4", "valkey_version": "8.1.0", "role": "master", "maxclients": "10000"}
    assert not list(server_findings(valkey, "plugins.cache.url", 1))


def test_failed_writes_to_disk_are_errors() -> None:
    info = {"aof_enabled": "1", "rdb_last_bgsave_status": "err", "aof_last_write_status": "ok"}
    (finding,) = persistence_findings(info, [SESSIONS])
    assert (finding.severity.value, finding.key, finding.value) == ("error", "rdb_last_bgsave_status", "err")


@pytest.mark.parametrize(
    ("url", "count"),
    [
        ("redis://10.0.0.7:6379", 1),
        ("redis://:secret@10.0.0.7:6379", 0),
        ("redis://127.0.0.1:6379", 0),
        ("unix:///run/redis.sock", 0),
    ],
)
def test_a_remote_server_needs_a_password(url: str, count: int) -> None:
    assert len(list(access_findings(parse_url(url), ""))) == count
