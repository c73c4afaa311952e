"""A deployment under load: instances restart one by one without failed requests."""

from __future__ import annotations

import signal

import pytest

from tests.host.runner.server.test_protocol import connections
from tests.processes import wait_for
from tests.servers import HAProxy, Nginx
from tests.service import Service
from tests.tools import WrkResult, wrk_load

TOML = '[server]\ndrain_delay = "1s"\n'


def failures(result: WrkResult) -> dict[str, int]:
    counted = {
        "not 2xx or 3xx": result.not_2xx_or_3xx,
        "connect": result.connect_errors,
        "read": result.read_errors,
        "write": result.write_errors,
        "timeout": result.timeouts,
    }
    return {name: count for name, count in counted.items() if count}


def served(nginx: Nginx) -> int:
    return (nginx.box.directory / "access.log").stat().st_size


def wait_for_load(nginx: Nginx) -> None:
    before = served(nginx)
    wait_for("load", lambda: served(nginx) > before + 200_000)


def restart(service: Service) -> None:
    service.signal(signal.SIGTERM)
    assert service.wait() == 0
    assert service.log().rstrip().endswith("stopped; all requests completed")
    service.start()
    wait_for("nginx to come back to it", lambda: connections(service.port) > 5)


@pytest.mark.needs("haproxy", "wrk")
def test_no_request_fails_behind_a_tcp_balancer_without_retries() -> None:
    with (
        Service(TOML) as staying,
        Service(TOML) as leaving,
        HAProxy(staying.port, leaving.port) as balancer,
        wrk_load(balancer.url) as finish,
    ):
        wait_for("load on both", lambda: min(map(connections, (staying.port, leaving.port))) > 20)
        leaving.signal(signal.SIGTERM)
        assert leaving.wait() == 0
        assert leaving.log().rstrip().endswith("stopped; all requests completed")
        result = finish()
    assert result.requests > 1000
    assert failures(result) == {}


@pytest.mark.needs("nginx", "wrk")
def test_two_instances_restart_one_after_the_other_and_no_request_fails() -> None:
    with (
        Service(TOML) as first,
        Service(TOML) as second,
        Nginx(first.port, second.port) as nginx,
        wrk_load(nginx.url) as finish,
    ):
        for service in (first, second):
            wait_for_load(nginx)
            restart(service)
        result = finish()
    assert result.requests > 1000
    assert failures(result) == {}
