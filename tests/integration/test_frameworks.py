"""Responses of frameworks are the same, byte for byte, with and without ScaleKit."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pytest
from starlette.testclient import TestClient

from scalekit import create_app
from tests.integration.applications import bare_asgi as bare_asgi
from tests.integration.applications import on_django, on_fastapi, on_litestar, on_starlette

APPLICATIONS: dict[str, Callable[[], Any]] = {
    "starlette": on_starlette.make,
    "starlette in debug mode": lambda: on_starlette.make(debug=True),
    "fastapi": on_fastapi.make,
    "litestar": on_litestar.make,
    "django": on_django.make,
    "nothing": lambda: bare_asgi.app,
}
WITHOUT_LIFESPAN = ("django", "nothing")
REQUESTS: list[tuple[str, str, dict[str, Any]]] = [
    ("GET", "/", {}),
    ("GET", "/?a=1&a=2&b=%20", {}),
    ("HEAD", "/", {}),
    ("OPTIONS", "/", {}),
    ("GET", "/inner/5", {}),
    ("GET", "/inner/x", {}),
    ("GET", "/inner/5/", {}),
    ("GET", "/nowhere", {}),
    ("GET", "/nowhere%2Fat%20all", {}),
    ("DELETE", "/", {}),
    ("POST", "/items", {"json": {"name": "a", "price": 1.5}}),
    ("POST", "/items", {"json": {"price": 1.5}}),
    ("POST", "/items", {"content": b"{"}),
    ("POST", "/body", {"content": b"x" * 100_000}),
    ("GET", "/body", {}),
    ("GET", "/fail", {}),
    ("GET", "/fail", {"headers": {"accept": "text/html"}}),
    ("GET", "/refuse", {}),
    ("GET", "/", {"headers": {"x-forwarded-for": "1.2.3.4", "x-forwarded-proto": "https", "host": "a.example:81"}}),
    ("GET", "/docs", {}),
    ("GET", "/openapi.json", {}),
]


def responses(app: Any, root_path: str, lifespan: bool) -> list[tuple[int, list[tuple[str, str]], bytes]]:
    found = []
    client = TestClient(app, raise_server_exceptions=False, follow_redirects=False, root_path=root_path)
    with client if lifespan else nullcontext():
        for method, path, more in REQUESTS:
            response = client.request(method, path, **more)
            found.append(
                (response.status_code, _stable(response.headers.multi_items()), _stable_body(response.content))
            )
    return found


def _stable(headers: list[tuple[str, str]]) -> list[tuple[str, str]]:
    return [(name, value) for name, value in headers if name != "content-length"]


def _stable_body(body: bytes) -> bytes:
    """Remove memory addresses and stack frames from debug pages."""
    if b"Traceback" not in body:
        return body
    return body[-200:] if body.startswith(b"Traceback") else body[:2000].split(b"frame-title")[0]


@pytest.mark.parametrize("root_path", ["", "/shop"])
@pytest.mark.parametrize("name", APPLICATIONS)
def test_every_response_is_the_same_as_without_scalekit(name: str, root_path: str) -> None:
    bare = responses(APPLICATIONS[name](), root_path, lifespan=name not in WITHOUT_LIFESPAN)
    host = create_app({"plugins": {"visits": {"header": "x-visits"}}}, app=APPLICATIONS[name]())
    hosted = responses(host, root_path, lifespan=True)
    for request, before, after in zip(REQUESTS, bare, hosted, strict=True):
        status, headers, body = after
        headers = [(key, value) for key, value in headers if key != "x-visits"]
        if name == "nothing" and request[1] == "/fail":
            assert status == 500  # the host responds to requests without a response
        else:
            assert (status, headers, body) == before, request


def test_a_key_is_a_dependency_of_fastapi_for_requests_and_websockets() -> None:
    with TestClient(create_app({"plugins": {"visits": {}}}, app=on_fastapi.make())) as client:
        assert client.get("/visits").json() == [1, 2]
        with client.websocket_connect("/visits") as socket:
            assert socket.receive_json() == 1


@pytest.mark.parametrize("name", ["starlette", "fastapi"])
def test_a_test_client_still_sees_the_exceptions_of_the_application(name: str) -> None:
    with TestClient(create_app({}, app=APPLICATIONS[name]())) as client, pytest.raises(ValueError, match="it broke"):
        client.get("/fail")
