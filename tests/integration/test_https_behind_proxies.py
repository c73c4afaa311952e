"""HTTPS and HTTP/2 from clients to nginx, Caddy and HAProxy."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest
from websockets.sync.client import connect

from scalekit.deploy.reverse_proxy import CertificateFiles
from tests.certificates import Authority
from tests.integration.test_behind_proxies import SOURCE
from tests.processes import HOST
from tests.proxies import FRONTS, Proxy
from tests.service import Service

pytestmark = pytest.mark.needs("nginx", "caddy", "haproxy")

SERVER = 'max_body = "32KiB"\ntrusted_proxies = ["127.0.0.1"]\n'


@pytest.fixture(scope="module")
def service() -> Iterator[Service]:
    with Service(f"[server]\n{SERVER}", {"service": SOURCE}) as service:
        yield service


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("certificates"))


@pytest.fixture(scope="module", params=sorted(FRONTS))
def front(request: pytest.FixtureRequest, service: Service, authority: Authority) -> Iterator[Proxy]:
    files = authority.issue(request.param)
    Path(f"{files.certificate}.key").symlink_to(files.key)  # where HAProxy looks for it
    tls = CertificateFiles(str(files.certificate), str(files.key))
    with FRONTS[request.param](service.port, server=SERVER, tls=tls) as front:
        yield front


@pytest.fixture
def client(front: Proxy, authority: Authority) -> Iterator[httpx2.Client]:
    context = ssl.create_default_context(cafile=str(authority.file))
    transport = httpx2.HTTPTransport(verify=context, http2=True, local_address="127.0.0.2")
    with httpx2.Client(transport=transport, base_url=front.url, timeout=60) as client:
        yield client


def test_a_client_of_http_2_is_named_to_the_service(client: httpx2.Client) -> None:
    response = client.get("/request", headers={"Host": "shop.example"})
    received = response.json()
    assert response.http_version == "HTTP/2"
    assert (received["client"], received["scheme"], received["host"]) == ("127.0.0.2", "https", "shop.example")


def test_uploads_over_http_2_pass_up_to_the_limit(client: httpx2.Client) -> None:
    # The body fits into the window of HTTP/2, or else this client would wait for more of it and not read the response.
    limit = 32 << 10
    assert client.put("/size", content=b"x" * limit).json()["length"] == limit
    assert client.put("/size", content=b"x" * (limit + 1)).status_code == 413
    assert client.put("/size", content=iter([b"x" * (limit // 2)] * 3)).status_code == 413
    assert client.get("/count").status_code == 200


def test_streams_over_http_2_arrive_at_once(client: httpx2.Client) -> None:
    with client.stream("GET", "/events") as response:
        lines = response.iter_lines()
        assert next(lines) == "data: first"
        client.get("/release")
        assert "data: second" in list(lines)


def test_the_pages_of_operators_are_out_of_reach_over_http_2(client: httpx2.Client) -> None:
    assert {path: client.get(path).status_code for path in ("/-/", "/%2d/config", "//-/config")} == {
        "/-/": 404,
        "/%2d/config": 404,
        "//-/config": 404,
    }


def test_secure_websockets_pass(front: Proxy, authority: Authority) -> None:
    context = ssl.create_default_context(cafile=str(authority.file))
    with connect(f"wss://{HOST}:{front.port}/echo", proxy=None, ssl=context) as websocket:
        websocket.send("there")
        assert websocket.recv(timeout=60) == "ereht"
