"""Files of reverse proxies for many tables and options."""

from __future__ import annotations

from typing import Any

import pytest

from scalekit.deploy import DeployKind, ServiceDescription

NO_OPTIONS: dict[str, Any] = {
    "instances": (),
    "listen": None,
    "server_names": (),
    "tls_cert": None,
    "tls_key": None,
    "operator_pages": False,
    "read_timeout": None,
}
REMOTE = ("10.0.0.5:8000", "[fd00::5]:8000", "localhost:8000")
MANAGED = 'management_address = "0.0.0.0:9100"\n'
TRUSTED = 'trusted_proxies = ["10.0.0.0/8", "::1", "unix"]\n'

SETUPS = [
    pytest.param("", {}, id="defaults"),
    pytest.param(TRUSTED, {"instances": REMOTE}, id="trusted proxies"),
    pytest.param(f'{TRUSTED}forwarded_headers = "forwarded"\n', {"operator_pages": True}, id="forwarded"),
    pytest.param('root_path = "/shop/a.b"\n', {"server_names": ("shop.example", "*.shop.example")}, id="root path"),
    pytest.param(MANAGED, {"instances": REMOTE[:2]}, id="management address"),
    pytest.param('management_address = "127.0.0.1:9100"\n', {"instances": REMOTE}, id="management out of reach"),
    pytest.param('host = "unix:/run/shop/app.sock"\n', {}, id="unix socket"),
    pytest.param("[plugins.metrics]\npath = '/a;b\"c\\d$e'\n", {}, id="path of metrics"),
    pytest.param(
        'max_body = 0\nmax_header = "1GiB"\nheader_timeout = "3650d"\ndrain_delay = "0s"\nkeep_alive_timeout = "1s"\n',
        {"listen": "[::]:8080"},
        id="extreme values",
    ),
]
"""Content of ``[server]``, and options."""


def generate(kind: DeployKind, service: ServiceDescription, **options: Any) -> str:
    """Return the text of the only file of *kind*."""
    (text,) = kind.generate(service, NO_OPTIONS | options).values()
    return text
