"""nginx in front of a service on a Unix socket, with the configuration that `scalekit nginx config` writes."""

from __future__ import annotations

import json

import pytest

from tests.nginx.nginx_proxy import NginxProxy
from tests.tls_service import TlsService
from tests.unix_service import UnixService

pytestmark = pytest.mark.needs("nginx")

DESCRIBE = """\
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def describe(request):
    return JSONResponse([request.client.host if request.client else None, request.url.scheme])


app = Starlette(routes=[Route("/", describe)])
"""


def test_requests_reach_the_socket_and_the_client_address_is_the_one_that_nginx_reports() -> None:
    trusted = 'trusted_proxies = ["unix"]\ndrain_delay = "0s"'
    with UnixService(trusted, {"service": DESCRIBE}) as service:
        host = f'host = "unix:{service.path}"\n'
        with NginxProxy({"server": host + trusted}) as front:
            assert f'server "unix:{service.path}" max_fails=1' in front.configuration()
            for _ in range(3):
                assert json.loads(front.get("/")) == ["127.0.0.1", "http"]


def test_a_service_with_tls_is_reached_by_https() -> None:
    with TlsService('trusted_proxies = ["127.0.0.1"]\ndrain_delay = "0s"', sources={"service": DESCRIBE}) as service:
        server = f'port = {service.port}\ntrusted_proxies = ["127.0.0.1"]\n[server.tls]\n{service.files.toml}'
        with NginxProxy({"server": server}) as front:
            assert "proxy_pass https://application;" in front.configuration()
            assert json.loads(front.get("/")) == ["127.0.0.1", "http"], "the scheme that the client uses"
