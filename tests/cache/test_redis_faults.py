"""Services under load while the servers of their store are killed, paused and restarted."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.cache.test_redis_service import APPLICATION, get, toml
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
"""What it answers ends soon, so that there are hits, misses and writes all the time."""
SECONDS = 4
"""How long at least there is load, two of what the service keeps."""


@contextmanager
def load(service: Service, folder: Path) -> Iterator[Callable[[], WrkResult]]:
    """Ask 64 at once for many things while inside; give what ends that and reports."""
    script = folder / "things.lua"
    script.write_text(THINGS)
    with wrk_load(service.url, "-s", str(script), at_least=SECONDS) as finish:
        yield finish


def keys(server: Redis) -> int:
    return int(server.cli("DBSIZE"))


def nobody_noticed(result: WrkResult) -> None:
    assert result.requests > 0
    errors = (result.not_2xx_or_3xx, result.connect_errors, result.read_errors, result.write_errors, result.timeouts)
    assert errors == (0, 0, 0, 0, 0), result.report


@pytest.mark.needs("redis", "wrk")
def test_a_server_that_is_killed_and_started_again(tmp_path: Path) -> None:
    with (
        Redis() as server,
        Service(toml(server.url, 2), {"service": SHORT}) as service,
        load(service, tmp_path) as report,
    ):
        wait_for("the store to be used", lambda: keys(server) > 100)
        server.kill()
        assert all(get(service, f"/during/{number}").status_code == 200 for number in range(50))
        server.start()
        nobody_noticed(report())
        wait_for("the store to be used again", lambda: get(service, "/new").status_code == 200 and keys(server) > 0)


@pytest.mark.needs("redis", "wrk")
def test_a_server_that_hangs_and_goes_on(tmp_path: Path) -> None:
    with (
        Redis() as server,
        Service(toml(server.url, 2), {"service": SHORT}) as service,
        load(service, tmp_path) as report,
    ):
        wait_for("the store to be used", lambda: keys(server) > 100)
        server.pause()
        try:
            assert all(get(service, f"/during/{number}").status_code == 200 for number in range(50))
        finally:
            server.resume()
        nobody_noticed(report())


@pytest.mark.needs("redis", "wrk")
def test_a_server_that_hangs_all_the_time(tmp_path: Path) -> None:
    with Redis() as server, Service(toml(server.url, 2), {"service": SHORT}) as service:
        wait_for("the store to be used", lambda: get(service, "/before").status_code == 200 and keys(server) > 0)
        server.pause()
        try:
            with load(service, tmp_path) as report:
                result = report()
        finally:
            server.resume()
        print(f"p50 {result.p50 * 1000:.1f} ms, p99 {result.p99 * 1000:.1f} ms while the store hangs")
        nobody_noticed(result)


@pytest.mark.needs("redis", "wrk")
def test_a_master_of_a_cluster_that_is_killed(tmp_path: Path) -> None:
    with RedisCluster() as cluster:
        url = "redis-cluster://" + ",".join(f"{HOST}:{node.port}" for node in cluster.nodes)
        with Service(toml(url, 2), {"service": SHORT}) as service, load(service, tmp_path) as report:
            victim = cluster.owner("x")
            wait_for("the store to be used", lambda: keys(victim) > 30)
            victim.kill()
            nobody_noticed(report())
            assert all(get(service, f"/after/{number}").status_code == 200 for number in range(50))
