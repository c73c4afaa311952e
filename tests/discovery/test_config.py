from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError, create_app
from scalekit.server_info import ServerInfo
from scalekit.testing.conformance import bare_application
from scalekit_discovery.consul.registration import registration
from tests.discovery.harness import config

HERE = ServerInfo("127.0.0.1", 8123, "/health/ready")


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"source": "zookeeper"}, "'static', 'consul' or 'dns'"),
        ({"services": {"a b": ["http://x:1"]}}, "services"),
        ({"services": {"a": ["x:1"]}}, "write http://127.0.0.1:8001, got 'x:1'"),
        ({"services": {"a": ["http://x:1/path"]}}, "put the path into the call"),
        ({"services": {"a": ["http://user:hidden@x:1"]}}, "send credentials in a header"),
        ({"services": {"a": ["http://x:99999"]}}, "write a port of 1 to 65535"),
        ({"service": "shop"}, "service is registered in Consul only"),
        ({"source": "dns"}, "needs a domain"),
        ({"source": "consul", "deregister_after": "30s"}, "write 1m or more"),
        ({"source": "consul", "key_file": "key.pem"}, "name that in cert_file"),
        ({"source": "consul", "ca_file": "missing.pem"}, "ca_file: there is no file missing.pem; put it there"),
        ({"source": "consul", "ca_file": __file__}, "are for TLS; write an https:// address, or omit them"),
        ({"source": "consul", "check_interval": "1s"}, "check_timeout 2s is longer than check_interval"),
        ({"source": "dns", "domain": "a", "nameserver": "10.0.0.1"}, "expected host:port"),
        ({"retry_budget": 2}, "retry_budget"),
    ],
)
def test_a_mistake_is_told_with_its_remedy_and_without_secrets(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_app({"plugins": {"discovery": table}}, app=bare_application)
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)


def test_what_consul_is_told_of_an_http_check() -> None:
    told = registration(config(source="consul", service="shop", deregister_after="5m"), HERE, ("shop.example",))
    assert told.definition["Check"] == {
        "HTTP": "http://127.0.0.1:8123/health/ready",
        "Method": "GET",
        "Header": {"Host": ["shop.example"]},
        "Interval": "10s",
        "Timeout": "2s",
        "Status": "passing",
        "DeregisterCriticalServiceAfter": "300s",
    }
    assert told.id == "shop-127.0.0.1-8123"


def test_what_is_given_is_told_and_the_rest_is_found() -> None:
    table = {"source": "consul", "service": "shop", "address": "shop-1.example", "port": 80, "id": "one"}
    told = registration(config(**table, check="ttl", namespace="eu"), HERE, ())
    assert (told.id, told.definition["Address"], told.definition["Port"]) == ("one", "shop-1.example", 80)
    assert told.definition["Namespace"] == "eu"
    assert told.definition["Check"]["TTL"] == "10s"
    assert told.probe == "http://127.0.0.1:8123/health/ready"
    anywhere = registration(config(source="consul", service="shop"), ServerInfo("0.0.0.0", 8123, "/health/ready"), ())
    assert anywhere.definition["Address"] == "127.0.0.1", "the address from which Consul is reached"
    apart = ServerInfo("10.0.0.1", 80, "/health/ready", management=("10.0.0.1", 9100))
    assert registration(config(source="consul", service="shop"), apart, ("a.example",)).definition["Check"]["HTTP"] == (
        "http://10.0.0.1:9100/health/ready"
    )
