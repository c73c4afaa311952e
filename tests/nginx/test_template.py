from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from scalekit import ConfigError
from scalekit.settings import load
from scalekit_nginx.installer import NginxError, refuse_what_nginx_does, write, write_tested
from scalekit_nginx.template import configuration
from tests.command_line import scalekit
from tests.processes import Box
from tests.servers import find

pytestmark = pytest.mark.needs("nginx", "openssl")

durations = st.sampled_from(["1ms", "250ms", "1s", "90s", "7d", "3650d"])
sizes = st.one_of(st.integers(0, 2**45), st.sampled_from(["1KiB", "16MiB", "3GiB"]))
names = st.from_regex(r"\A(\*\.)?[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?(\.[a-z0-9]{1,60}){0,3}\Z")
paths = st.from_regex(r"\A/([A-Za-z0-9._~-]{1,12}/){1,3}\Z")
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
        "keep_alive": durations,
        "trusted_proxies": st.lists(networks, max_size=5),
        "forwarded": st.sampled_from(["auto", "x-forwarded", "forwarded"]),
    },
)
tables = st.fixed_dictionaries(
    {},
    optional={
        "listen": st.builds("127.0.0.1:{}".format, st.integers(20000, 65535)),
        "names": st.lists(names, max_size=4),
        "static": st.dictionaries(paths, folders, max_size=4),
        "workers": st.integers(1, 64),
        "connections": st.integers(16, 1000),
        "read_timeout": durations,
        "tries": st.integers(1, 100),
        "tries_time": durations,
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


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(server=servers, table=tables, instances=st.lists(addresses, min_size=1, max_size=9), tls=st.booleans())
def test_nginx_accepts_whatever_the_options_are(
    box: Box, server: dict[str, Any], table: dict[str, Any], instances: list[str], tls: bool
) -> None:
    folder = box.directory
    table["directory"] = str(folder)
    if tls:
        table |= {"certificate": str(folder / "cert.pem"), "key": str(folder / "key.pem")}
    loaded = load({"server": server, "nginx": table})
    loaded.refuse_mistakes()
    file = folder / "nginx.conf"
    write(configuration(loaded.server, loaded.nginx, instances), file)
    refuse_what_nginx_does(file, loaded.nginx)


@pytest.mark.parametrize(
    ("table", "message"),
    [
        ({"listen": "everywhere"}, "expected host:port"),
        ({"listen": "127.0.0.1:0"}, 'expected host:port, such as "0.0.0.0:80"'),
        ({"names": ["a; b"]}, "nginx.names"),
        ({"static": {"/static": "folder"}}, "nginx.static"),
        ({"static": {"/static/": 'a"; }'}}, "nginx.static"),
        ({"certificate": "cert.pem"}, "certificate and key belong together"),
        ({"user": "root; load_module x"}, "nginx.user"),
        ({"upstreams": ["127.0.0.1"]}, "expected host:port"),
    ],
)
def test_what_nginx_could_not_read_is_refused_with_its_remedy(table: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load({"nginx": table}).refuse_mistakes()
    assert message in str(caught.value)


def test_a_file_that_nginx_refuses_leaves_the_old_one_in_place(box: Box) -> None:
    table = load({"nginx": {"directory": str(box.directory)}}).nginx
    file = Path(box.directory / "kept.conf")
    file.write_text("events {}\n")
    with pytest.raises(NginxError, match="does not accept"):
        write_tested("nonsense", file, table)
    assert file.read_text() == "events {}\n"
    assert not list(box.directory.glob(".kept*"))


def test_the_limits_and_retries_are_those_of_the_file() -> None:
    loaded = load({"server": {"max_body": "3MiB", "max_header": "8KiB", "keep_alive": "20s"}, "nginx": {"tries": 2}})
    text = configuration(loaded.server, loaded.nginx, ["127.0.0.1:1", "127.0.0.1:2"])
    for line in (
        "least_conn;",
        "keepalive 32;",
        "keepalive_timeout 2500ms;",
        "client_max_body_size 3145728;",
        "large_client_header_buffers 4 8192;",
        "proxy_connect_timeout 2s;",
        "proxy_next_upstream error timeout http_502 http_503;",
        "proxy_next_upstream_tries 2;",
        "proxy_next_upstream_timeout 10000ms;",
        "proxy_http_version 1.1;",
    ):
        assert line in text
    directives = [line for line in text.splitlines() if not line.strip().startswith("#")]
    assert not any("non_idempotent" in line for line in directives)


def test_the_command_prints_its_own_address_where_nobody_knows_others(tmp_path: Path) -> None:
    file = tmp_path / "scalekit.toml"
    file.write_text('[server]\nhost = "0.0.0.0"\nport = 8123\n')
    done = scalekit("nginx", str(file), folder=tmp_path)
    assert "server 127.0.0.1:8123 max_fails" in done.stdout
