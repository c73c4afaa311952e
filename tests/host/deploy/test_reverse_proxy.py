"""Addresses and times that proxies derive from the file."""

from __future__ import annotations

import pytest

from scalekit import Server
from scalekit.deploy.reverse_proxy import (
    ReverseProxy,
    check_address,
    check_file,
    check_server_name,
    duration,
    idle_time,
    own_instance,
    proxied_instance,
)


def proxy(server: Server) -> ReverseProxy:
    return ReverseProxy("shop", server, (own_instance(server),), "/health")


@pytest.mark.parametrize(
    ("host", "address"),
    [("0.0.0.0", "127.0.0.1:8000"), ("::", "[::1]:8000"), ("10.0.0.5", "10.0.0.5:8000"), ("unix:@a", "unix:@a")],
)
def test_a_wildcard_address_is_reached_on_the_loopback_address(host: str, address: str) -> None:
    assert own_instance(Server(host=host)).address == address


@pytest.mark.parametrize(
    ("management", "instance", "health"),
    [
        (None, "10.0.0.5:80", "10.0.0.5:80"),
        ("0.0.0.0:9100", "10.0.0.5:80", "10.0.0.5:9100"),
        ("[::]:9100", "[fd00::5]:80", "[fd00::5]:9100"),
        ("127.0.0.1:9100", "127.0.0.1:80", "127.0.0.1:9100"),
        ("127.0.0.1:9100", "10.0.0.5:80", ""),
        ("[::1]:9100", "10.0.0.5:80", ""),
        ("unix:/run/management.sock", "127.0.0.1:80", ""),
    ],
)
def test_health_is_checked_where_its_pages_are_within_reach(management: str | None, instance: str, health: str) -> None:
    assert proxied_instance(Server(management_address=management), instance).health_address == health


@pytest.mark.parametrize(
    ("drain_delay", "interval"), [("5s", 1.0), ("1s", 0.2), ("100ms", 0.1), ("1m", 2.0), ("0s", 1.0)]
)
def test_two_failed_checks_fit_into_the_drain_delay(drain_delay: str, interval: float) -> None:
    assert proxy(Server(drain_delay=drain_delay)).check_interval == interval  # type: ignore[arg-type] # parsed


@pytest.mark.parametrize(
    ("server", "seconds"),
    [
        ({}, 2.5),
        ({"drain_delay": "0s"}, 60.0),
        ({"drain_delay": "10m", "keep_alive_timeout": "20s"}, 15.0),
        ({"drain_delay": "10ms", "keep_alive_timeout": "1s"}, 0.1),
    ],
)
def test_the_proxy_closes_idle_connections_first(server: dict[str, str], seconds: float) -> None:
    assert idle_time(Server(**server)) == seconds  # type: ignore[arg-type] # parsed


@pytest.mark.parametrize(
    ("seconds", "text"), [(0, "1ms"), (0.25, "250ms"), (1, "1s"), (2.5, "2500ms"), (1e12, "2147483647ms")]
)
def test_durations_are_within_the_range_of_all_proxies(seconds: float, text: str) -> None:
    assert duration(seconds) == text


@pytest.mark.parametrize("text", ["a", "a:0", ":80", "a b:80", "a;b:80", "{x}:80", "a:99999", "a\n:80", "http://a:80"])
def test_a_wrong_address_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="expected host:port"):
        check_address(text)


@pytest.mark.parametrize("name", ["", "a b", "a;", "*", "a.*", "{a}", "a\n", "-a"])
def test_a_wrong_name_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="expected a host name"):
        check_server_name(name)


@pytest.mark.parametrize("path", ["", "a b", "a;b", "a{b}", 'a"b', "a#b", "a\nb", "a%b"])
def test_a_path_that_needs_quotes_is_refused(path: str) -> None:
    with pytest.raises(ValueError, match="expected a path"):
        check_file(path)
