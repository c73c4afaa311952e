from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalekit import ConfigError
from scalekit.settings import load
from scalekit_nginx.config import NginxConfig
from scalekit_nginx.installer import verify, write
from scalekit_nginx.template import ConfigurationFile, render
from tests.processes import Box
from tests.servers import find

pytestmark = pytest.mark.needs("nginx", "openssl")

durations = st.sampled_from(["1ms", "250ms", "1s", "90s", "7d", "3650d"])
sizes = st.one_of(st.integers(0, 2**45), st.sampled_from(["1KiB", "16MiB", "3GiB"]))
names = st.from_regex(r"\A(\*\.)?[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,60}){0,3}\Z")
paths = st.one_of(st.just("/shop/"), st.from_regex(r"\A/(?!-/)([A-Za-z0-9._~-]{1,12}/){1,3}\Z"))
folders = st.from_regex(r"\A[A-Za-z0-9_./@+,=~ -]{1,30}\Z")
networks = st.sampled_from(["127.0.0.1", "10.0.0.0/8", "::1", "0.0.0.0/0", "::/0", "fd00::/8", "192.168.1.7"])
hosts = st.sampled_from(["127.0.0.1", "10.1.2.3", "[::1]", "[fd00::17]"])
addresses = st.builds("{}:{}".format, hosts, st.integers(1, 65535))
servers = st.fixed_dictionaries(
    {},
    optional={
        "max_body": sizes,
        "max_header": st.integers(1, 2**31),
        "header_timeout": durations,
        "body_timeout": durations,
        "write_timeout": durations,
        "keep_alive_timeout": durations,
        "trusted_proxies": st.lists(networks, max_size=5),
        "root_path": st.sampled_from(["", "/shop", "/a.b/c~d"]),
        "forwarded_headers": st.sampled_from(["auto", "x-forwarded", "forwarded"]),
    },
)
tables = st.fixed_dictionaries(
    {},
    optional={
        "listen": st.builds("127.0.0.1:{}".format, st.integers(20000, 65535)),
        "server_names": st.lists(names, max_size=4),
        "static": st.dictionaries(paths, folders, max_size=4),
        "worker_processes": st.integers(1, 64),
        "worker_connections": st.integers(16, 1000),
        "read_timeout": durations,
        "upstream_tries": st.integers(1, 100),
        "upstream_tries_timeout": durations,
        "operator_pages": st.booleans(),
        "user": st.just("www-data"),
    },
)


@pytest.fixture(scope="module")
def box() -> Iterator[Box]:
    with Box("nginx") as box:
        box.run(
            *(find("openssl"), "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=shop"),
            *("-keyout", "key.pem", "-out", "cert.pem"),
        )
        yield box


def rendered(server: dict[str, Any], table: dict[str, Any], instances: list[str]) -> tuple[str, NginxConfig]:
    """Return the configuration for these tables, and the parsed table."""
    loaded = load({"server": server, "plugins": {"nginx": table}})
    loaded.raise_problems()
    config = loaded.context().config(NginxConfig)
    return render(ConfigurationFile((), Path("/srv")), loaded.server, config, instances), config


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(server=servers, table=tables, instances=st.lists(addresses, min_size=1, max_size=9), tls=st.booleans())
def test_nginx_accepts_the_configuration_of_every_valid_table(
    box: Box, server: dict[str, Any], table: dict[str, Any], instances: list[str], tls: bool
) -> None:
    folder = box.directory
    table["directory"] = str(folder)
    if tls:
        table["tls"] = {"cert_file": str(folder / "cert.pem"), "key_file": str(folder / "key.pem")}
    text, config = rendered(server, table, instances)
    file = folder / "nginx.conf"
    write(text, file)
    verify(file, config)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"listen": "everywhere"}, "expected host:port"),
        ({"listen": "127.0.0.1:0"}, 'expected host:port, such as "0.0.0.0:80"'),
        ({"server_names": ["a; b"]}, "plugins.nginx.server_names"),
        ({"static": {"/static": "folder"}}, "plugins.nginx.static"),
        ({"static": {"/-/": "folder"}}, "plugins.nginx.static"),
        ({"static": {"/static/": 'a"; }'}}, "plugins.nginx.static"),
        ({"tls": {"cert_file": "cert.pem"}}, "plugins.nginx.tls.key_file"),
        ({"user": "root; load_module x"}, "plugins.nginx.user"),
        ({"upstreams": ["127.0.0.1"]}, "expected host:port"),
    ],
)
def test_values_that_nginx_would_reject_are_configuration_errors(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"plugins": {"nginx": table}}).raise_problems()
    assert message in str(caught.value)


def test_limits_and_retries_follow_the_file() -> None:
    server = {"max_body": "3MiB", "max_header": "8KiB", "keep_alive_timeout": "20s"}
    text, _ = rendered(server, {"upstream_tries": 2}, ["127.0.0.1:1", "127.0.0.1:2"])
    for line in (
        "least_conn;",
        "keepalive 32;",
        "keepalive_timeout 2500ms;",
        "client_max_body_size 3145728;",
        "large_client_header_buffers 4 8192;",
        "proxy_connect_timeout 2s;",
        "proxy_next_upstream error timeout;",
        "proxy_next_upstream_tries 2;",
        "proxy_next_upstream_timeout 10000ms;",
        "proxy_http_version 1.1;",
    ):
        assert line in text
    directives = [line for line in text.splitlines() if not line.strip().startswith("#")]
    assert not any("non_idempotent" in line for line in directives)
