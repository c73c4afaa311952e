"""Deployments and crashes behind nginx, configured by `scalekit nginx config`, under load from wrk and k6."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.host.runner.server.test_protocol import connections
from tests.integration.test_drain_under_load import failures, wait_for_load
from tests.nginx.nginx_proxy import NginxProxy, upstreams
from tests.processes import HOST, wait_for
from tests.servers import Consul
from tests.service import Service
from tests.tools import k6_load, wrk_load

pytestmark = [pytest.mark.needs("nginx", "wrk")]
ROLLING = Path(__file__).with_name("rolling.js")
DRAIN = 'drain_delay = "1s"'
TOML = f"[server]\n{DRAIN}\n"


def restart(service: Service) -> None:
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert service.log().rstrip().endswith("stopped; all requests completed")
    service.start()
    wait_for("nginx to come back to it", lambda: connections(service.port) > 2)


@pytest.mark.needs("k6")
def test_both_instances_restart_and_neither_a_get_nor_a_post_fails() -> None:
    with (
        Service(TOML) as first,
        Service(TOML) as second,
        NginxProxy({"server": DRAIN, "plugins.nginx": upstreams(first.port, second.port)}) as front,
        wrk_load(front.url, connections=32) as finish_reading,
        k6_load(ROLLING, BASE_URL=front.url) as finish_both,
    ):
        for service in (first, second):
            wait_for_load(front)
            restart(service)
        read, written = finish_reading(), finish_both()
    assert written.passed, written.report
    assert written.metrics["http_reqs"]["count"] > 100
    assert read.requests > 1000
    assert failures(read) == {}


def test_an_instance_that_is_killed_fails_no_get() -> None:
    with (
        Service(TOML) as staying,
        Service(TOML) as killed,
        NginxProxy({"server": DRAIN, "plugins.nginx": upstreams(staying.port, killed.port)}) as front,
        wrk_load(front.url, connections=32) as finish,
    ):
        wait_for_load(front)
        killed.kill()
        result = finish()
    assert result.requests > 1000
    assert failures(result) == {}


@pytest.fixture(scope="module")
def consul() -> Iterator[Consul]:
    with Consul() as consul:
        yield consul


def found_in(consul: Consul, name: str) -> str:
    where = f'source = "consul"\nconsul = "{consul.url}"\nservice = "{name}"\ncache_dir = ""\n'
    return f'{where}check_interval = "2s"\n'


@pytest.mark.needs("consul", "k6")
def test_instances_registered_in_consul_restart_and_no_request_fails(consul: Consul) -> None:
    table = found_in(consul, "restarting")
    with (
        Service(f"{TOML}\n[plugins.discovery]\n{table}") as first,
        Service(f"{TOML}\n[plugins.discovery]\n{table}") as second,
        NginxProxy({"server": DRAIN, "plugins.discovery": table}, watch=True) as front,
    ):
        wait_for("both", lambda: all(server(each) in front.configuration() for each in (first, second)))
        with k6_load(ROLLING, BASE_URL=front.url) as finish:
            wait_for("load on both", lambda: min(connections(each.port) for each in (first, second)) > 0)
            for each in (first, second):
                restart(each)
            result = finish()
        assert result.passed, result.report


@pytest.mark.needs("consul")
def test_nginx_follows_added_and_removed_instances(consul: Consul) -> None:
    table = found_in(consul, "changing")
    toml = f"{TOML}\n[plugins.discovery]\n{table}"
    with (
        Service(toml) as first,
        NginxProxy({"plugins.nginx": 'debounce = "1s"', "plugins.discovery": table}, watch=True) as front,
    ):
        wait_for("the first", lambda: server(first) in front.configuration())
        with Service(toml) as second:
            wait_for("the second", lambda: server(second) in front.configuration())
            wait_for("a request to it", lambda: bool(front.get("/x")) and connections(second.port) > 0)
            second.signal(signal.SIGTERM)
            wait_for("it to be taken out", lambda: server(second) not in front.configuration())
            assert second.wait() == 0
        assert server(first) in front.configuration()


def server(service: Service) -> str:
    return f"server {HOST}:{service.port} "
