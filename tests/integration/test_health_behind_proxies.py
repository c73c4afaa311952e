"""nginx, Caddy and HAProxy reach instances on each kind of address, and the latter two see that one drains."""

from __future__ import annotations

import signal
from collections.abc import Callable
from http.client import HTTPConnection

import pytest

from tests.processes import HOST, free_ports, wait_for
from tests.proxies import FRONTS
from tests.service import Service
from tests.tls_service import TlsService

pytestmark = pytest.mark.needs("nginx", "caddy", "haproxy")

SERVER = 'drain_delay = "60s"\nallowed_hosts = ["shop.example"]\ntrusted_proxies = ["127.0.0.1"]\n'


class QuickService(Service):
    """A service whose health pages are at another address: it is ready when it listens."""

    def is_ready(self) -> bool:
        return " on http://" in self.log()


def public(_: int) -> tuple[Service, str]:
    return Service(f"[server]\n{SERVER}"), SERVER


def managed(port: int) -> tuple[Service, str]:
    server = f'{SERVER}management_address = "{HOST}:{port}"\n'
    return QuickService(f"[server]\n{server}"), server


def encrypted(_: int) -> tuple[Service, str]:
    return TlsService(SERVER), SERVER


@pytest.mark.parametrize("make", [public, managed, encrypted], ids=lambda make: make.__name__)
@pytest.mark.parametrize("kind", sorted(FRONTS))
def test_an_instance_that_drains_gets_no_more_requests(kind: str, make: Callable[[int], tuple[Service, str]]) -> None:
    instance, server = make(free_ports(1)[0])
    with instance as service:
        tls = f"[server.tls]\n{service.files.toml}" if isinstance(service, TlsService) else ""
        quick = server.replace("60s", "1s")  # the interval of the checks follows the delay
        with FRONTS[kind](service.port, server=quick + tls) as front:
            assert wait_for("a response", lambda: status(front.port) == 200)
            service.signal(signal.SIGTERM)
            if kind != "nginx":  # it checks no health pages; the instance serves until the delay ends
                wait_for("the end of requests", lambda: status(front.port) == 503)
            assert service.process.poll() is None


def status(port: int) -> int:
    connection = HTTPConnection(HOST, port, timeout=60)
    connection.request("GET", "/x", headers={"Host": "shop.example"})
    try:
        return connection.getresponse().status
    finally:
        connection.close()
