from __future__ import annotations

import pytest

from scalekit import Server, StartError
from scalekit_nginx.config import NginxConfig
from scalekit_nginx.upstreams import static_addresses


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("0.0.0.0", "127.0.0.1:8123"),
        ("::", "[::1]:8123"),
        ("10.0.0.5", "10.0.0.5:8123"),
        ("fd00::17", "[fd00::17]:8123"),
        ("unix:/run/app.sock", "unix:/run/app.sock"),
    ],
)
def test_without_upstreams_the_address_of_the_server_is_the_upstream(host: str, address: str) -> None:
    assert static_addresses(Server(host=host, port=8123), NginxConfig()) == [address]


def test_an_abstract_socket_is_an_error_since_nginx_does_not_support_it() -> None:
    with pytest.raises(StartError, match="nginx does not support abstract sockets"):
        static_addresses(Server(host="unix:@app"), NginxConfig())


def test_upstreams_replace_the_address_of_the_server() -> None:
    assert static_addresses(Server(), NginxConfig(upstreams=("10.0.0.5:80", "10.0.0.6:80"))) == [
        "10.0.0.5:80",
        "10.0.0.6:80",
    ]
