"""The definition of a service for Consul's agent API."""

from __future__ import annotations

import pytest

from scalekit import StartError
from scalekit.server_info import ServerInfo
from scalekit_discovery.consul.registration import build_registration
from tests.discovery.harness import config

HERE = ServerInfo("127.0.0.1", 8123, "/health/ready")


def test_the_registration_has_an_http_check() -> None:
    registration = build_registration(
        config(source="consul", service="shop", deregister_after="5m"), HERE, ("shop.example",)
    )
    assert registration.definition["Check"] == {
        "HTTP": "http://127.0.0.1:8123/health/ready",
        "Method": "GET",
        "Header": {"Host": ["shop.example"]},
        "Interval": "10s",
        "Timeout": "2s",
        "Status": "passing",
        "DeregisterCriticalServiceAfter": "300s",
    }
    assert registration.id == "shop-127.0.0.1-8123"


def test_configured_attributes_are_registered_and_the_others_computed() -> None:
    table = {"source": "consul", "service": "shop", "address": "shop-1.example", "port": 80, "id": "one"}
    registration = build_registration(config(**table, check_type="ttl", namespace="eu"), HERE, ())
    assert (registration.id, registration.definition["Address"], registration.definition["Port"]) == (
        "one",
        "shop-1.example",
        80,
    )
    assert registration.definition["Namespace"] == "eu"
    assert registration.definition["Check"]["TTL"] == "10s"
    assert registration.readiness_url == "http://127.0.0.1:8123/health/ready"
    wildcard = build_registration(
        config(source="consul", service="shop"), ServerInfo("0.0.0.0", 8123, "/health/ready"), ()
    )
    assert wildcard.definition["Address"] == "127.0.0.1", "the address from which Consul is reached"
    apart = ServerInfo("10.0.0.1", 80, "/health/ready", management=("10.0.0.1", 9100))
    assert build_registration(config(source="consul", service="shop"), apart, ("a.example",)).definition["Check"][
        "HTTP"
    ] == ("http://10.0.0.1:9100/health/ready")


@pytest.mark.parametrize(("wildcard", "consul"), [("0.0.0.0", "127.0.0.2"), ("::", "[::1]")])
def test_the_check_of_a_management_address_on_all_interfaces_names_one_that_consul_reaches(
    wildcard: str, consul: str
) -> None:
    apart = ServerInfo(wildcard, 80, "/health/ready", management=(wildcard, 9100))
    registration = build_registration(
        config(source="consul", service="shop", consul=f"http://{consul}:8500", address="203.0.113.7"), apart, ()
    )
    assert registration.definition["Check"]["HTTP"] in (
        "http://127.0.0.1:9100/health/ready",
        "http://127.0.0.2:9100/health/ready",
        "http://[::1]:9100/health/ready",
    )
    assert registration.definition["Address"] == "203.0.113.7"


def test_with_tls_callers_and_the_check_use_https_and_the_management_address_stays_plain() -> None:
    secure = ServerInfo("10.0.0.1", 8443, "/health/ready", tls=True)
    registration = build_registration(config(source="consul", service="shop"), secure, ())
    assert registration.readiness_url == "https://10.0.0.1:8443/health/ready"
    assert registration.definition["Check"]["HTTP"] == registration.readiness_url
    assert registration.definition["Check"]["TLSSkipVerify"]
    assert registration.definition["Meta"] == {"scheme": "https"}
    apart = ServerInfo("10.0.0.1", 8443, "/health/ready", management=("10.0.0.1", 9100), tls=True)
    check = build_registration(config(source="consul", service="shop"), apart, ()).definition["Check"]
    assert check["HTTP"] == "http://10.0.0.1:9100/health/ready"
    assert "TLSSkipVerify" not in check


def test_a_unix_socket_needs_addresses_that_consul_and_callers_can_reach() -> None:
    public = {"source": "consul", "service": "shop", "address": "10.0.0.1", "port": 80}
    apart = ServerInfo("unix:/run/app.sock", 0, "/health/ready", management=("10.0.0.1", 9100))
    assert (
        build_registration(config(**public), apart, ()).definition["Check"]["HTTP"].startswith("http://10.0.0.1:9100/")
    )
    for table, server in (
        (public, ServerInfo("unix:/run/app.sock", 0, "/health/ready")),
        ({"source": "consul", "service": "shop"}, apart),
        (public, ServerInfo("10.0.0.1", 80, "/health/ready", management=("unix:@management", 0))),
    ):
        with pytest.raises(StartError, match="cannot reach the Unix socket unix:"):
            build_registration(config(**table), server, ())
