"""Host names, a prefix of all paths and the header of RFC 7239 through nginx, Caddy and HAProxy."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.integration.test_behind_proxies import CLIENT, LAST, exchange, send, statuses
from tests.processes import HOST
from tests.proxies import FRONTS, NginxFront, Proxy
from tests.service import Service

pytestmark = pytest.mark.needs("nginx", "caddy", "haproxy")

SERVER = 'root_path = "/shop/v1"\nforwarded_headers = "forwarded"\ntrusted_proxies = ["127.0.0.1"]\n'
SOURCE = """\
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def describe(request):
    url = request.url
    forwarded = [value for name, value in request.headers.items() if "forwarded" in name]
    return JSONResponse(
        {"client": request.client.host, "scheme": url.scheme, "forwarded": forwarded, "query": url.query,
         "raw_path": request.scope["raw_path"].decode()}
    )


app = Starlette(routes=[Route("/{path:path}", describe)])
"""


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(f"[server]\n{SERVER}", {"service": SOURCE}) as service:
        yield service


@pytest.fixture(scope="module", params=sorted(FRONTS))
def front(request: pytest.FixtureRequest, service: Service) -> Iterator[Proxy]:
    front = FRONTS[request.param](service.port, server=SERVER)
    front.server_names = ("shop.example", "*.shop.example")
    with front:
        yield front


@pytest.mark.parametrize("path", ["/shop/v1/a", "/shop/v1/a%2Fb%20c", "/shop/v1/"])
def test_the_prefix_is_removed_and_the_path_stays_as_written(front: Proxy, path: str) -> None:
    response, content = send(front, "GET", f"{path}?b=%2F", b"", Host="shop.example")
    assert response.status == 200
    received = json.loads(content)
    assert (received["raw_path"], received["query"]) == (path, "b=%2F")


@pytest.mark.parametrize(
    "path", ["/", "/shop", "/shop/v10/a", "/shop/v1/-/", "/shop/v1/%2d/config", "/-/", "/shop/v1//-/"]
)
def test_other_paths_and_those_of_operators_are_not_served(front: Proxy, path: str) -> None:
    assert send(front, "GET", path, b"", Host="shop.example")[0].status == 404


def test_the_client_is_in_the_header_forwarded_alone(front: Proxy) -> None:
    headers = {"Host": "a.shop.example", "Forwarded": "for=9.9.9.9", "X_Forwarded_For": "9.9.9.9"}
    received = json.loads(send(front, "GET", "/shop/v1/a", b"", **headers)[1])
    assert (received["client"], received["scheme"]) == (CLIENT, "http")
    assert [each for each in received["forwarded"] if each] == [f"for={CLIENT};proto=http"]
    behind = json.loads(send(front, "GET", "/shop/v1/a", b"", HOST, **headers)[1])
    assert behind["client"] == "9.9.9.9"


@pytest.mark.parametrize("host", ["evil.example", "shop.example.evil", "xshop.example"])
def test_other_hosts_are_refused_except_by_nginx(front: Proxy, host: str) -> None:
    status = send(front, "GET", "/shop/v1/a", b"", Host=host)[0].status
    assert status == (200 if isinstance(front, NginxFront) else 421)


def test_a_request_without_the_prefix_leaves_the_connection_in_order(front: Proxy) -> None:
    head = b"POST /other HTTP/1.1\r\nHost: shop.example\r\nContent-Length: 3\r\n\r\nabc"
    served = LAST.replace(b"/request", b"/shop/v1/a").replace(b"Host: a", b"Host: shop.example")
    assert statuses(exchange(front, head, served)) in ([404, 200], [404])
