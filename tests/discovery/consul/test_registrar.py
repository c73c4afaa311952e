"""Registration, maintenance mode and deregistration at a real Consul."""

from __future__ import annotations

import os
import signal
from functools import partial

import pytest

from tests.discovery.consul.api import checks, entries, outputs, passing, wait_until_registered
from tests.discovery.harness import StockService, registered_toml
from tests.processes import wait_for
from tests.servers import Consul, ask
from tests.workers import Supervised, wait_for_new_workers, workers_of

pytestmark = pytest.mark.needs("consul")


def test_a_service_is_registered_with_the_configured_attributes(shared: Consul) -> None:
    more = 'tags = ["eu", "blue"]\nmeta = {version = "1.4"}\nweight = 7'
    with StockService(registered_toml(shared, more=more, service="described")) as service:
        (identifier,) = wait_until_registered(shared, "described")
        assert identifier == f"described-127.0.0.1-{service.port}"
        (entry,) = entries(shared, "described")
        assert entry["Service"]["Tags"] == ["eu", "blue"]
        assert entry["Service"]["Meta"] == {"version": "1.4"}
        assert entry["Service"]["Weights"]["Passing"] == 7
        assert (entry["Service"]["Address"], entry["Service"]["Port"]) == ("127.0.0.1", service.port)
        wait_for("Consul's check", lambda: f"HTTP GET {service.url}/health/ready: 200" in outputs(shared, identifier))


def test_drain_enables_maintenance_mode_and_shutdown_deregisters(shared: Consul) -> None:
    with StockService(registered_toml(shared, server='graceful_timeout = "20s"', service="ending")) as service:
        (identifier,) = wait_until_registered(shared, "ending")
        service.signal(signal.SIGTERM)
        wait_for("maintenance", lambda: f"_service_maintenance:{identifier}" in checks(shared, "ending"))
        assert service.get("/count") == "0"  # it still serves clients that have not noticed
        assert service.wait() == 0
        assert entries(shared, "ending") == []


def test_an_instance_that_consul_lost_is_registered_again(shared: Consul) -> None:
    with StockService(registered_toml(shared, service="forgotten")):
        (identifier,) = wait_until_registered(shared, "forgotten")
        ask(shared.port, "PUT", f"/v1/agent/service/deregister/{identifier}")
        assert wait_until_registered(shared, "forgotten") == [identifier]


def test_a_ttl_check_passes_while_the_service_reports_and_fails_when_it_hangs(shared: Consul) -> None:
    with StockService(registered_toml(shared, more='check_type = "ttl"', service="ticking")) as service:
        wait_until_registered(shared, "ticking")
        service.pause()
        wait_for("the TTL to expire", lambda: passing(shared, "ticking") == [])
        service.resume()
        wait_until_registered(shared, "ticking")


def test_workers_are_one_instance_whose_registration_survives_crash_and_reload(shared: Consul) -> None:
    toml = registered_toml(shared, server="workers = 2", service="many")
    with Supervised(toml) as service:
        (identifier,) = wait_until_registered(shared, "many")
        index = index_of(shared, identifier)
        for pid in workers_of(service):
            os.kill(pid, signal.SIGKILL)
            wait_for("another worker", partial(replaced, service, pid))
        old = workers_of(service)
        service.signal(signal.SIGHUP)
        wait_for_new_workers(service, old, 2)
        wait_for("a worker to take over", lambda: service.log().count("registered as") >= 2)
        assert passing(shared, "many") == [identifier]
        assert index_of(shared, identifier) == index, "the registration was changed or made again"
        service.signal(signal.SIGTERM)
        wait_for("maintenance", lambda: f"_service_maintenance:{identifier}" in checks(shared, "many"))
        assert service.wait() == 0
        assert entries(shared, "many") == []


def replaced(service: Supervised, pid: int) -> bool:
    now = workers_of(service)
    return len(now) == 2 and pid not in now


def index_of(consul: Consul, identifier: str) -> int:
    """Return the CreateIndex of the instance, which a new registration changes."""
    (entry,) = entries(consul, "many")
    assert entry["Service"]["ID"] == identifier
    return int(entry["Service"]["CreateIndex"])
