"""Four workers under load: restarts of one or all of them do not affect clients."""

from __future__ import annotations

import os
import signal

import pytest

from tests.host.runner.server.test_protocol import connections
from tests.integration.test_drain_under_load import failures
from tests.processes import family, wait_for
from tests.servers import HAProxy
from tests.tools import wrk_load
from tests.workers import sockets_of, stop, supervised, wait_for_new_workers, workers_of

pytestmark = pytest.mark.needs("wrk")


def test_only_the_open_requests_of_a_killed_worker_fail() -> None:
    with supervised(4) as service, wrk_load(f"{service.url}/") as finish:
        wait_for("load", lambda: connections(service.port) >= 64)
        killed = max(workers_of(service), key=sockets_of)
        open_connections = sockets_of(killed)
        os.kill(killed, signal.SIGKILL)
        wait_for("a replacement", lambda: len(workers_of(service)) == 4)
        result = finish()
    failed = failures(result)
    assert result.requests > 1000
    assert failed.keys() <= {"read", "write"}
    assert sum(failed.values()) <= open_connections


def test_every_worker_is_replaced_and_no_request_fails() -> None:
    with supervised(4) as service, wrk_load(f"{service.url}/") as finish:
        wait_for("load", lambda: connections(service.port) >= 64)
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 4)
        result = finish()
    assert result.requests > 1000
    assert failures(result) == {}


@pytest.mark.needs("haproxy")
def test_an_instance_restarts_behind_a_second_one_and_no_request_fails() -> None:
    with (
        supervised(2) as staying,
        supervised(4, 'graceful_timeout = "20s"') as leaving,
        HAProxy(staying.port, leaving.port) as balancer,
        wrk_load(balancer.url) as finish,
    ):
        wait_for("load on both", lambda: min(map(connections, (staying.port, leaving.port))) > 20)
        assert len(workers_of(leaving)) == 4
        assert stop(leaving) == 0
        result = finish()
    assert leaving.pid not in family(leaving.pid)[1:]
    assert result.requests > 1000
    assert failures(result) == {}
