"""Requests of operators explained by a real server: by address, with all layers, and with failures."""

from __future__ import annotations

from collections.abc import Generator
from http.client import HTTPConnection, HTTPResponse

import pytest

from tests.processes import HOST, wait_for
from tests.service import Service

APPLICATION = """
import asyncio
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.responses import PlainTextResponse, StreamingResponse
from starlette.routing import Route

DONE = asyncio.Event()

async def item(request):
    return PlainTextResponse("item" * 1000, headers={"cache-control": "max-age=60", "etag": '"1"'})

async def fault(request):
    raise ValueError("wrong: password=s3cr3t")

async def large(request):
    async def chunks():
        for _ in range(300):
            yield b"x" * 1_000_000
    return StreamingResponse(chunks())

async def background(request):
    return PlainTextResponse("", background=BackgroundTask(DONE.wait))

async def done(request):
    DONE.set()
    return PlainTextResponse("")

routes = [Route(f"/{each.__name__}", each) for each in (item, fault, large, background, done)]
app = Starlette(routes=routes)
"""
TOML = """
[server]
drain_delay = "0s"
operator_networks = ["127.0.0.0/8"]
[plugins.cache]
[plugins.compression]
[plugins.cors]
[[plugins.cors.policies]]
path = "/**"
origins = ["https://example.com"]
[plugins.metrics]
[plugins.tracing]
endpoint = "http://127.0.0.1:1"
explain = true
"""


@pytest.fixture(scope="module")
def service() -> Generator[Service, None, None]:
    with Service(TOML, {"service": APPLICATION}) as running:
        yield running


def ask(service: Service, path: str, method: str = "GET", **headers: str) -> tuple[HTTPResponse, str]:
    connection = HTTPConnection(HOST, service.port, timeout=60)
    connection.request(method, path, headers={name.replace("_", "-"): value for name, value in headers.items()})
    response = connection.getresponse()
    body = response.read().decode()
    connection.close()
    return response, body


def explained(service: Service, path: str, method: str = "GET", **headers: str) -> str:
    response, body = ask(service, path, method, scalekit_explain="1", **headers)
    assert response.status == 200
    assert response.headers["cache-control"] == "no-store"
    assert response.headers["content-type"] == "text/plain; charset=utf-8"
    assert response.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in response.headers
    return body


def test_the_spans_are_neither_stored_nor_read_by_others(service: Service) -> None:
    assert "scalekit; fwd=uri-miss; fwd-status=200; stored" in explained(service, "/item")
    for _ in range(2):
        response, body = ask(service, "/item")
        assert (response.headers["cache-status"].split(";")[1].strip(), body) == ("hit", "item" * 1000)
        assert "scalekit; hit" in explained(service, "/item")


def test_conditional_and_compressed_responses(service: Service) -> None:
    explained(service, "/item")
    assert "http.response.status_code=304 " in explained(service, "/item", if_none_match='"1"')
    text = explained(service, "/item", accept_encoding="gzip", origin="https://example.com")
    assert "http.response.status_code=200 " in text


def test_head_has_no_body(service: Service) -> None:
    response, body = ask(service, "/item", "HEAD", scalekit_explain="1")
    assert (response.status, body, response.headers["cache-control"]) == (200, "", "no-store")
    assert int(response.headers["content-length"]) > 0


def test_a_failure_is_explained_and_logged_as_usual(service: Service) -> None:
    text = explained(service, "/fault")
    assert "failed: ValueError" in text
    assert "* exception exception.message=wrong: password=***" in text
    wait_for("the traceback", lambda: "ValueError: wrong" in service.log())


def test_a_large_response_is_counted(service: Service) -> None:
    assert "http.response.body.size=300000000\n" in explained(service, "/large")


def test_background_tasks_do_not_delay_the_explanation(service: Service) -> None:
    assert "http.response.status_code=200 " in explained(service, "/background")
    ask(service, "/done")


def test_a_client_of_a_proxy_is_no_operator(service: Service) -> None:
    _, body = ask(service, "/item", scalekit_explain="1", x_forwarded_for="127.0.0.1")
    assert body == "item" * 1000
