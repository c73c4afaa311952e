"""Services under load while the servers of their store are killed, paused and restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cache.integration.test_redis_service import APPLICATION, get, toml
from tests.processes import HOST, wait_for
from tests.servers import Redis, RedisCluster
from tests.service import Service
from tests.tools import WrkResult, wrk_load

THINGS = """\
local number = 0
function request()
  number = number + 1
  return wrk.format("GET", "/thing/" .. (number * 7919 % 3000))
end
"""
SHORT = APPLICATION.replace("max-age=600", "max-age=1")
"""Its responses expire soon, so that there are hits, misses and writes all the time."""
STORE_TIMEOUT = "50ms"
"""Of requests that wait for a server that hangs."""
SECONDS = 4
"""Minimum duration of the load in seconds: twice the TTL of responses."""


@contextmanager
def load(service: Service, folder: Path) -> Iterator[Callable[[], WrkResult]]:
    """Run 64 concurrent clients while inside; yield a function that stops them and reports."""
    script = folder / "things.lua"
    script.write_text(THINGS)
    with wrk_load(service.url, "-s", str(script), at_least=SECONDS) as finish:
        yield finish


def keys(server: Redis) -> int:
    return int(server.cli("DBSIZE"))


def check_no_request_failed(result: WrkResult) -> None:
    assert result.requests > 0
    errors = (result.not_2xx_or_3xx, result.connect_errors, result.read_errors, result.write_errors, result.timeouts)
    assert errors == (0, 0, 0, 0, 0), result.report


@pytest.mark.needs("redis", "wrk")
def test_no_request_fails_while_redis_is_killed_and_restarted(tmp_path: Path) -> None:
    with (
        Redis() as server,
        Service(toml(server.url, 2, STORE_TIMEOUT), {"service": SHORT}) as service,
        load(service, tmp_path) as report,
    ):
        wait_for("the store to be used", lambda: keys(server) > 100)
        server.kill()
        assert all(get(service, f"/during/{number}").status_code == 200 for number in range(50))
        server.start()
        check_no_request_failed(report())
        wait_for("the store to be used again", lambda: get(service, "/new").status_code == 200 and keys(server) > 0)


@pytest.mark.needs("redis", "wrk")
def test_no_request_fails_while_redis_hangs_and_resumes(tmp_path: Path) -> None:
    with (
        Redis() as server,
        Service(toml(server.url, 2, STORE_TIMEOUT), {"service": SHORT}) as service,
        load(service, tmp_path) as report,
    ):
        wait_for("the store to be used", lambda: keys(server) > 100)
        server.pause()
        try:
            assert all(get(service, f"/during/{number}").status_code == 200 for number in range(50))
        finally:
            server.resume()
        check_no_request_failed(report())


@pytest.mark.needs("redis", "wrk")
def test_no_request_fails_while_redis_hangs(tmp_path: Path) -> None:
    with Redis() as server, Service(toml(server.url, 2, STORE_TIMEOUT), {"service": SHORT}) as service:
        wait_for("the store to be used", lambda: get(service, "/before").status_code == 200 and keys(server) > 0)
        server.pause()
        try:
            with load(service, tmp_path) as report:
                result = report()
        finally:
            server.resume()
        print(f"p50 {result.p50 * 1000:.1f} ms, p99 {result.p99 * 1000:.1f} ms while the store hangs")
        check_no_request_failed(result)


@pytest.mark.needs("redis", "wrk")
def test_no_request_fails_while_a_master_of_a_cluster_is_killed(tmp_path: Path) -> None:
    with RedisCluster() as cluster:
        url = "redis-cluster://" + ",".join(f"{HOST}:{node.port}" for node in cluster.nodes)
        with (
            Service(toml(url, 2, STORE_TIMEOUT), {"service": SHORT}) as service,
            load(service, tmp_path) as report,
        ):
            victim = cluster.owner("x")
            wait_for("the store to be used", lambda: keys(victim) > 30)
            victim.kill()
            check_no_request_failed(report())
            assert all(get(service, f"/after/{number}").status_code == 200 for number in range(50))
