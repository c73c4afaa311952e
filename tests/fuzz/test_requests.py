"""Requests through the host with its plugins: no input causes a 500 or an exception."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Generator
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import unquote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route, WebSocketRoute
from starlette.types import Message, Scope
from starlette.websockets import WebSocket, WebSocketDisconnect

from scalekit import create_app
from scalekit.contracts import TOKENS
from scalekit.testing import ReceivedResponse, running
from tests.fuzz.test_cache_fields import directives, lists, numbers, ranges, tags
from tests.fuzz.test_credentials import CONSISTENCY, nested, tokens
from tests.fuzz.test_credentials import encoded as encoded_part
from tests.fuzz.test_dates import dates
from tests.fuzz.test_host_fields import entries, states, traceparents
from tests.fuzz.words import fuzzed, values

Result = TypeVar("Result")
Headers = list[tuple[bytes, bytes]]
SECRET = "a secret for tests that is long enough"


async def page(request: Request) -> Response:
    """Send a response that a shared cache may store."""
    headers = {"cache-control": "public, max-age=60, stale-while-revalidate=5", "etag": '"a"', "vary": "accept"}
    headers["last-modified"] = "Sat, 01 Jan 2022 00:00:00 GMT"
    return PlainTextResponse(request.scope["path"].encode("utf-8", "replace"), headers=headers)


async def change(request: Request) -> Response:
    """Respond with an invalidation of the URLs that the client names."""
    where = request.headers.get("x-where", "/").encode("latin-1")
    response = PlainTextResponse("changed", 201)
    response.raw_headers.append((b"location", where))
    return response


async def token(request: Request) -> Response:
    """Log in."""
    issued = await TOKENS(request).issue("ada", scopes=["read"])
    return PlainTextResponse(f"{issued.access} {issued.refresh}", headers=issued.headers)


async def echo(socket: WebSocket) -> None:
    """Accept and close the websocket."""
    await socket.accept()
    with suppress(WebSocketDisconnect):
        await socket.receive_text()


def tables(folder: Path) -> dict[str, Any]:
    return {
        "server": {
            "trusted_proxies": ["127.0.0.1"],
            "operator_networks": ["127.0.0.1"],
            "allowed_hosts": ["shop.example", "localhost"],
        },
        "plugins": {
            "cache": {
                "policies": [{"path": "/pages/**", "ttl": "1m", "vary_by": "identity", "query_params": ["a", "tag[]"]}]
            },
            "jwt": {"secret": SECRET, "protected_paths": ["/api/**"], "insecure_cookie": True},
            "metrics": {},
            "pool": {"url": "sqlite:///:memory:"},
            "queue": {"url": f"sqlite:///{folder}/queue.db"},
            "ratelimit": {
                "default": "1000000/1m",
                "policies": [
                    {"name": "api", "path": "/api/**", "limit": "1000000/1m", "key": ["subject", "header:x-key"]}
                ],
            },
            "replica": {},
        },
    }


class Service:
    """The host with its plugins, started, and a loop that runs while a request is served."""

    def __init__(self, folder: Path) -> None:
        routes = [
            Route("/token", token),
            Route("/change", change, methods=["POST"]),
            Route("/{path:path}", page),
            WebSocketRoute("/{path:path}", echo),
        ]
        self.host = create_app(tables(folder), app=Starlette(routes=routes))
        self.state: dict[str, Any] = {}
        self.loop = asyncio.new_event_loop()
        self._ends = asyncio.Event()

    def run(self, work: Coroutine[Any, Any, Result]) -> Result:
        return self.loop.run_until_complete(work)

    async def live(self, started: Callable[[None], None]) -> None:
        async with running(self.host) as state:
            self.state = state
            started(None)
            await self._ends.wait()

    async def start(self) -> None:
        started = asyncio.get_running_loop().create_future()
        self.life = asyncio.create_task(self.live(started.set_result))
        await asyncio.wait([self.life, started], return_when=asyncio.FIRST_COMPLETED)
        if self.life.done():
            self.life.result()

    async def stop(self) -> None:
        self._ends.set()
        await self.life

    async def ask(self, scope: Scope, messages: list[Message]) -> ReceivedResponse:
        response = ReceivedResponse()

        async def send(message: Message) -> None:
            if message["type"] in ("http.response.start", "websocket.http.response.start"):
                response.status = message["status"]
                response.headers = list(message.get("headers", ()))
            elif message["type"] == "http.response.body":
                response.body += message.get("body", b"")
            elif message["type"] == "websocket.accept":
                response.status = 101
            elif message["type"] == "websocket.close":
                response.status = response.status or 403

        async def receive() -> Message:
            return messages.pop(0) if messages else {"type": scope["type"] + ".disconnect", "code": 1000}

        await asyncio.create_task(self.host(scope, receive, send))
        return response

    def scope(self, kind: str, method: str, target: tuple[bytes, bytes], headers: Headers) -> Scope:
        path, query = target
        scope = {
            "type": kind,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "scheme": "http" if kind == "http" else "ws",
            "path": unquote(path.decode("latin-1")),
            "raw_path": path,
            "query_string": query,
            "root_path": "",
            "headers": headers,
            "client": ("127.0.0.1", 50000),
            "server": ("localhost", 80),
            "state": dict(self.state),
        }
        return {**scope, "method": method} if kind == "http" else {**scope, "subprotocols": []}


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Generator[Service, None, None]:
    found = Service(tmp_path_factory.mktemp("service"))
    found.run(found.start())
    yield found
    found.run(found.stop())
    found.loop.close()


authorizations = st.one_of(
    values("Bearer ", "DPoP ", "Basic ", " ", ".", CONSISTENCY),
    st.tuples(st.sampled_from([b"Bearer ", b"DPoP ", b""]), tokens).map(b"".join),
)
FIELDS = {
    "accept": lists,
    "accept-encoding": lists,
    "authorization": authorizations,
    "cache-control": directives,
    "content-length": numbers,
    "cookie": values("Fgp=", "__Host-Fgp=", "scalekit-consistency=", CONSISTENCY, ";", " ", "=", "a"),
    "dpop": tokens,
    "forwarded": entries,
    "host": values("shop.example", ":80", "localhost", "[::1]", "@", "/", "\xe9"),
    "if-match": tags,
    "if-modified-since": dates,
    "if-none-match": tags,
    "if-range": tags | dates,
    "if-unmodified-since": dates,
    "origin": entries,
    "pragma": directives,
    "range": ranges,
    "scalekit-consistency": values(CONSISTENCY, CONSISTENCY[:-1], "=", "A"),
    "sec-websocket-protocol": values("bearer", "dpop", ", ", "a"),
    "traceparent": traceparents,
    "tracestate": states,
    "transfer-encoding": values("chunked", "gzip", ", "),
    "upgrade": values("websocket", "h2c"),
    "x-forwarded-for": entries,
    "x-forwarded-host": entries,
    "x-forwarded-proto": entries,
    "x-key": entries,
    "x-request-id": entries,
    "x-request-timeout-ms": numbers.filter(lambda value: not value.isdigit() or len(value) > 4),
    "x-where": values("/", "//", "http://", "shop.example", "[", "]", "?", "#", "%", "..", "\xe9", ":"),
}
one_field = st.sampled_from(sorted(FIELDS)).flatmap(lambda name: st.tuples(st.just(name.encode()), FIELDS[name]))
named: st.SearchStrategy[Headers] = st.just([(b"host", b"shop.example")]) | st.just([])
headers = st.tuples(named, st.lists(one_field, max_size=5)).map(lambda parts: [*parts[0], *parts[1]])
PATHS = (b"/pages/a", b"/api/a", b"/a", b"/change", b"/auth/refresh", b"/auth/logout", b"/metrics", b"/-/memory")

pieces = values("/", "%", "%2F", "%00", "%ff", "%61", "..", "//", ";", "a").map(lambda value: value.replace(b"?", b""))
paths = st.sampled_from(PATHS) | pieces.map(lambda value: b"/" + value)
queries = values("a=", "&", "=", "%", "%61", "tag[]=", "%5B", ";", "+", "1")
targets = st.tuples(paths, queries | st.just(b""))
methods = st.sampled_from(["GET", "GET", "HEAD", "POST", "OPTIONS", "DELETE", "PATCH", "BREW"])
bodies = values("{", "}", '"refresh_token"', ":", '"', "refresh_token=", "&", "%", "\\ud800", "[" * 2000) | st.binary()
HOST = (b"host", b"localhost")
DEEP = b".".join([encoded_part(b'{"alg":"HS256"}'), encoded_part(nested(300)), encoded_part(b"x")])


@given(methods, targets, headers, bodies)
@example("GET", (b"/api/a", b""), [HOST, (b"authorization", b"Bearer " + DEEP)], b"")
@example("GET", (b"/pages/a", b""), [HOST, (b"if-modified-since", b"Sat, 01 Jan 0000 00:00:00 GMT")], b"")
@fuzzed
def test_no_request_is_a_failure(
    service: Service, method: str, target: tuple[bytes, bytes], headers: Headers, body: bytes
) -> None:
    scope = service.scope("http", method, target, headers)
    messages: list[Message] = [{"type": "http.request", "body": body, "more_body": False}]
    response = service.run(service.ask(scope, messages))
    assert 200 <= response.status < 600
    assert response.status != 500, response.body


@given(targets, headers, st.lists(st.sampled_from(["bearer", "dpop", "chat"]) | st.text(st.characters(), max_size=5)))
@example((b"/api/a", b""), [HOST], ["bearer", "\ud800"])
@fuzzed
def test_no_websocket_is_a_failure(
    service: Service, target: tuple[bytes, bytes], headers: Headers, protocols: list[str]
) -> None:
    scope = {**service.scope("websocket", "", target, headers), "subprotocols": protocols}
    response = service.run(service.ask(scope, [{"type": "websocket.connect"}]))
    assert response.status in range(101, 500)


def test_a_request_with_a_good_token_gets_through(service: Service) -> None:
    """A valid login passes: the rejections above have other causes."""
    scope = service.scope("http", "GET", (b"/token", b""), [HOST])
    response = service.run(service.ask(scope, [{"type": "http.request"}]))
    access = response.body.split()[0]
    cookie = str(response.header("set-cookie")).partition(";")[0].encode()
    fields = [HOST, (b"authorization", b"Bearer " + access), (b"cookie", cookie)]
    scope = service.scope("http", "GET", (b"/api/a", b""), fields)
    assert service.run(service.ask(scope, [{"type": "http.request"}])).status == 200
