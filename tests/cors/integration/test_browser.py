"""A page on another origin, in Chromium, uses the service: login, protected read, 401, 429, refresh."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Generator
from contextlib import contextmanager
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.processes import HOST, Box
from tests.service import Service
from tests.tools import chromium_path

APPLICATION = """\
from scalekit.contracts import TOKENS
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route


async def login(request):
    tokens = await TOKENS(request).issue("ada", request=request)
    return JSONResponse({"token": tokens.access, "refresh_token": tokens.refresh}, headers=tokens.headers)


async def me(request):
    return JSONResponse({"name": request.user.identity})


app = Starlette(routes=[Route("/login", login, methods=["POST"]), Route("/api/me", me)])


async def fail(scope, receive, send):
    if scope["path"] == "/fault":
        raise RuntimeError("a fault")
    await inner(scope, receive, send)


inner, app = app, fail
"""
SETTINGS = """\
[plugins.cors]
origins = ["{origin}"]
credentials = true

[plugins.jwt]
secret = "{secret}"
session_store = "memory"
protected_paths = ["/api/**"]
fingerprint = true

[plugins.ratelimit]
policies = [{{ name = "limited", path = "/limited", limit = "1/h" }}]
"""
PAGE = """\
<!doctype html>
<script>
const service = "%s", found = {};
async function call(name, path, options = {}) {
  try {
    const response = await fetch(service + path, { credentials: "include", ...options });
    const type = response.headers.get("content-type") || "";
    const body = type.includes("json") ? await response.json() : await response.text();
    found[name] = { status: response.status, retry: response.headers.get("retry-after"), body };
  } catch (error) {
    found[name] = { status: 0, error: String(error) };
  }
  return found[name];
}
async function run() {
  const json = { "content-type": "application/json" };
  const pair = (await call("login", "/login", { method: "POST", headers: json, body: "{}" })).body;
  await call("read", "/api/me", { headers: { authorization: "Bearer " + pair.token } });
  await call("refused", "/api/me");
  await call("limited", "/limited");
  await call("limited", "/limited");
  await call("missing", "/missing");
  await call("fault", "/fault");
  const body = JSON.stringify({ refresh_token: pair.refresh_token });
  await call("refresh", "/auth/refresh", { method: "POST", headers: json, body });
  document.body.textContent = JSON.stringify(found);
}
addEventListener("load", run);
</script>
<body></body>
"""
OPTIONS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--virtual-time-budget=30000",
)


@contextmanager
def site() -> Generator[ThreadingHTTPServer, None, None]:
    """Serve ``server.page`` on an origin of its own."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = getattr(self.server, "page", "").encode()
            self.send_response(200)
            self.send_header("content-type", "text/html")
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *arguments: object) -> None:
            """Log nothing."""

    with ThreadingHTTPServer((HOST, 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()


def results_of_page(url: str) -> dict[str, Any]:
    """Return what the page at *url* found, in a browser that has nothing stored."""
    with Box("chromium") as box:
        profile = box.directory / "profile"
        dom = box.run(chromium_path(), *OPTIONS, f"--user-data-dir={profile}", "--dump-dom", url, limit=120).stdout
    (text,) = re.findall(r"<body>(.*)\s*</body>", dom, re.DOTALL)
    found: dict[str, Any] = json.loads(unescape(text))
    return found


@pytest.mark.needs("chromium")
def test_a_page_of_another_origin_reads_everything_it_may() -> None:
    with site() as server:
        origin = f"http://{HOST}:{server.server_port}"
        toml = SETTINGS.format(origin=origin, secret="s" * 32)
        with Service(toml, {"service": APPLICATION}) as service:
            server.page = PAGE % service.url  # type: ignore[attr-defined] # read by the handler
            found = results_of_page(origin)
    assert {name: each["status"] for name, each in found.items()} == {
        "login": 200,
        "read": 200,
        "refused": 401,
        "limited": 429,
        "missing": 404,
        "fault": 500,
        "refresh": 200,
    }
    assert found["read"]["body"] == {"name": "ada"}
    assert int(found["limited"]["retry"]) > 3000
    assert found["refresh"]["body"]["token"] != found["login"]["body"]["token"]


@pytest.mark.needs("chromium")
def test_a_page_of_an_origin_that_is_not_allowed_reads_nothing() -> None:
    with site() as server:
        toml = SETTINGS.format(origin="https://shop.example", secret="s" * 32)
        with Service(toml, {"service": APPLICATION}) as service:
            server.page = PAGE % service.url  # type: ignore[attr-defined] # read by the handler
            page = PAGE.replace(".body;", ".body || {};")
            server.page = page % service.url  # type: ignore[attr-defined] # read by the handler
            found = results_of_page(f"http://{HOST}:{server.server_port}")
    assert {each["status"] for each in found.values()} == {0}
