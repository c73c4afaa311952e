from __future__ import annotations

from typing import Any

import pytest

from scalekit import ConfigError, create_app
from scalekit.testing.conformance import bare_application


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"source": "zookeeper"}, "'static', 'consul', 'dns' or 'kubernetes'"),
        ({"services": {"a b": ["http://x:1"]}}, "services"),
        ({"services": {"a": ["x:1"]}}, "write http://127.0.0.1:8001, got 'x:1'"),
        ({"services": {"a": ["http://x:1/path"]}}, "put the path into the call"),
        ({"services": {"a": ["http://user:hidden@x:1"]}}, "send them in a header"),
        ({"services": {"a": ["http://x:99999"]}}, "write a port of 1 to 65535"),
        ({"service": "shop"}, "service is registered in Consul only"),
        ({"source": "dns"}, "needs a domain"),
        ({"source": "consul", "deregister_after": "30s"}, "write 1m or more"),
        ({"source": "consul", "tls": {"key_file": "key.pem"}}, "key_file needs cert_file"),
        ({"source": "consul", "tls": {"ca_file": "missing.pem"}}, "ca_file: no such file: missing.pem"),
        ({"source": "consul", "tls": {"ca_file": __file__}}, "tls requires a https:// URL"),
        ({"source": "consul", "check_interval": "1s"}, "check_timeout 2s is longer than check_interval"),
        ({"source": "dns", "domain": "a", "nameserver": "10.0.0.1"}, "expected host:port"),
        ({"source": "kubernetes", "kubernetes": "http://10.0.0.1:6443"}, "would send tokens and instances unencrypted"),
        ({"source": "kubernetes", "service": "shop"}, "service is registered in Consul only"),
        ({"source": "kubernetes", "watch_timeout": "2h"}, "watch_timeout"),
        ({"retry_budget": 2}, "retry_budget"),
    ],
)
def test_an_invalid_table_is_rejected_with_the_remedy_and_without_secrets(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        create_app({"plugins": {"discovery": table}}, app=bare_application)
    assert message in str(caught.value)
    assert "hidden" not in str(caught.value)
