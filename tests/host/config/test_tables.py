from __future__ import annotations

from typing import Any

import pytest
from pydantic import ValidationError

from scalekit import ConfigError, create_app
from scalekit.config.tables import App, Server
from scalekit.testing.conformance import bare_application


def refusal(table: str, key: str, value: Any) -> str:
    with pytest.raises(ConfigError) as caught:
        create_app({table: {key: value}}, app=bare_application)
    (problem,) = caught.value.problems
    assert problem.key.startswith(f"{table}.{key}")
    return problem.message


@pytest.mark.parametrize(
    ("table", "key"),
    [
        ("server", "header_timeout"),
        ("server", "body_timeout"),
        ("server", "write_timeout"),
        ("server", "keep_alive_timeout"),
        ("server", "start_timeout"),
        ("health", "check_interval"),
    ],
)
def test_timeouts_must_be_greater_than_zero(table: str, key: str) -> None:
    assert refusal(table, key, "0ms") == "must be greater than zero, got '0s'"


def test_max_header_must_be_greater_than_zero() -> None:
    assert refusal("server", "max_header", 0) == "must be greater than zero, got '0B'"


@pytest.mark.parametrize("path", ["shop", "shop/", "/shop/", "/", "//", "/a//b", "/shöp", "/a b", "/a?b"])
def test_an_invalid_root_path_is_rejected(path: str) -> None:
    assert refusal("server", "root_path", path).startswith("expected an ASCII path without a trailing slash")


@pytest.mark.parametrize("path", ["", "/shop", "/shop/v1.2", "/~shop/a%20b"])
def test_a_valid_root_path_is_accepted(path: str) -> None:
    assert create_app({"server": {"root_path": path}}, app=bare_application).settings.server.root_path == path


@pytest.mark.parametrize("name", ["", "a\0b", "é" * 100, "a..é"])
@pytest.mark.parametrize("key", ["host", "allowed_hosts"])
def test_an_invalid_host_name_is_rejected(key: str, name: str) -> None:
    assert refusal("server", key, name if key == "host" else [name])


@pytest.mark.parametrize("address", ["127.0.0.1", "::", "localhost", "bücher.example"])
def test_an_address_to_listen_on_is_accepted(address: str) -> None:
    assert create_app({"server": {"host": address}}, app=bare_application).settings.server.host == address


@pytest.mark.parametrize("address", ["9100", "h:", ":9100", "h:65536", "h:x", "h:²", "h:0", "a\0b:9100"])
def test_the_management_address_must_have_a_host_and_a_port(address: str) -> None:
    assert refusal("server", "management_address", address)


def test_the_management_address_must_have_another_port() -> None:
    with pytest.raises(
        ConfigError, match="management_address has the port of the public address, 8132; choose another"
    ):
        create_app({"server": {"port": 8132, "management_address": "127.0.0.2:8132"}}, app=bare_application)


@pytest.mark.parametrize(
    "target", ["./shop:app", "shop/app:app", ".shop:app", "shop.app", "shop:", "a b:c", "shop:app()"]
)
def test_an_invalid_target_is_rejected_before_it_is_imported(target: str) -> None:
    with pytest.raises(ValidationError, match=r"expected module\.path:name, such as shop\.app:app"):
        App(target=target)


@pytest.mark.parametrize("host", ["http://127.0.0.1", "127.0.0.1/24", "local host", ""])
def test_an_address_to_listen_on_must_not_be_a_url(host: str) -> None:
    with pytest.raises(ValidationError, match=r"expected a host name or address, such as 127\.0\.0\.1, got "):
        Server(host=host)
