"""Keys and RequireToken as FastAPI dependencies: no threads, challenges and OpenAPI."""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import threading
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import Annotated, Any

import anyio.to_thread
import orjson
import pytest
from fastapi import Depends, FastAPI, Request, Security, WebSocket
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import JSONResponse

from scalekit import Key, create_app
from scalekit.context import RequestKey
from scalekit.contracts import DATABASE
from scalekit.testing import request, running
from scalekit_jwt import RequireToken
from scalekit_jwt.user import TokenUser
from tests.jwt.harness import login, service
from tests.test_layout import PLUGINS

pytestmark = pytest.mark.anyio


def keys() -> dict[str, Key[Any]]:
    """Return all keys of the host and the plugins."""
    found: dict[int, tuple[str, Key[Any]]] = {}
    for root in ("scalekit", *(folder.name for folder in PLUGINS)):
        package = importlib.import_module(root)
        for module in pkgutil.walk_packages(package.__path__, f"{root}."):
            if not module.name.endswith(("__main__", ".asgi", ".worker")):
                for name, value in vars(importlib.import_module(module.name)).items():
                    if isinstance(value, Key):
                        found.setdefault(id(value), (f"{module.name}.{name}", value))
    return dict(found.values())


class RecordingKey(Key[int]):
    """A key that records the thread in which it is resolved."""

    async def _resolve(self, fastapi_connection: HTTPConnection) -> int:
        threads.append(threading.get_ident())
        return await super()._resolve(fastapi_connection)


threads: list[int] = []
RECORDING = RecordingKey("recording")


@asynccontextmanager
async def blocked_threads() -> AsyncGenerator[None]:
    """Block all threads of the pool inside the context."""
    limiter = anyio.to_thread.current_default_thread_limiter()
    before, limiter.total_tokens = limiter.total_tokens, 2
    free = threading.Event()
    waiting = [asyncio.create_task(anyio.to_thread.run_sync(free.wait)) for _ in range(2)]
    try:
        while limiter.borrowed_tokens < 2:
            await asyncio.sleep(0)
        yield
    finally:
        free.set()
        await asyncio.gather(*waiting)
        limiter.total_tokens = before


def returned(value: object, connection: HTTPConnection) -> object:
    return value


async def test_every_key_is_resolved_while_all_threads_are_busy() -> None:
    app = FastAPI()
    all_keys = keys()
    assert any(key is DATABASE for key in all_keys.values())

    def offer(number: int, key: Key[Any]) -> None:
        dependency = Depends(key)

        async def found(value: Any = dependency) -> bool:
            return bool(value is values[number])

        app.get(f"/{number}")(found)

    values = [object() for _ in all_keys]
    for number, key in enumerate(all_keys.values()):
        offer(number, key)
    host = create_app({"plugins": {}}, app=app)
    async with running(host) as state:
        for value, key in zip(values, all_keys.values(), strict=True):
            host.context.withdraw(key)
            if isinstance(key, RequestKey):
                source: Key[Any] = key.source
                host.context.provide(source, partial(returned, value))
            else:
                host.context.provide(key, value)
        async with blocked_threads(), asyncio.timeout(60):
            for number, name in enumerate(all_keys):
                assert (await request(host, f"/{number}", state=state)).body == b"true", name


async def test_a_key_is_resolved_in_the_thread_of_the_event_loop_and_without_fastapi() -> None:
    app = FastAPI()

    @app.get("/")
    async def both(incoming: Request, value: Annotated[int, Depends(RECORDING)]) -> list[int]:
        return [value, RECORDING(incoming), RECORDING(request=incoming)]

    host = create_app({"plugins": {}}, app=app)
    async with running(host) as state:
        host.context.provide(RECORDING, 7)
        assert orjson.loads((await request(host, "/", state=state)).body) == [7, 7, 7]
    assert threads == [threading.get_ident()]
    with pytest.raises(TypeError, match=r"is called with a request or websocket, such as KEY\(request\)"):
        RECORDING()  # type: ignore[call-overload]


tokens = FastAPI()
tokens.add_route("/login", login, methods=["POST"])
inner = FastAPI()


@tokens.get("/any")
async def authenticated(user: Annotated[TokenUser, Depends(RequireToken())]) -> str:
    return user.identity


@tokens.get("/scoped")
@inner.get("/scoped")
async def scoped(user: Annotated[TokenUser, Depends(RequireToken("write", "read"))]) -> str:
    return user.identity


@tokens.get("/security")
async def secured(user: Annotated[TokenUser, Security(RequireToken("read"), scopes=["write"])]) -> str:
    return user.identity


@tokens.websocket("/socket")
async def socket(socket: WebSocket, user: Annotated[TokenUser, Depends(RequireToken("read"))]) -> None:
    await socket.accept()
    await socket.send_text(user.identity)
    await socket.close()


tokens.mount("/inner", inner)
CASES: list[tuple[str, Mapping[str, Any] | None, int, list[str]]] = [
    ("/any", None, 401, ['Bearer realm="api"']),
    ("/any", {"scopes": []}, 200, []),
    ("/scoped", None, 401, ['Bearer realm="api"']),
    ("/scoped", {"scopes": ["read"]}, 403, ['error="insufficient_scope"', 'scope="read write"']),
    ("/scoped", {"scopes": ["read", "write"]}, 200, []),
    ("/inner/scoped", {"scopes": ["read"]}, 403, ['error="insufficient_scope"', 'scope="read write"']),
    ("/security", {"scopes": ["read"]}, 403, ['error="insufficient_scope"', 'scope="read write"']),
    ("/security", {"scopes": ["write"]}, 403, ['error="insufficient_scope"', 'scope="read write"']),
    ("/security", {"scopes": ["read", "write"]}, 200, []),
]


@pytest.mark.parametrize(("path", "claims", "status", "challenge"), CASES)
async def test_a_required_token_responds_as_in_rfc_6750(
    path: str, claims: Mapping[str, Any] | None, status: int, challenge: list[str]
) -> None:
    async with service(application=tokens) as client:
        if claims is not None:
            await client.login("ada", **claims)
        async with blocked_threads(), asyncio.timeout(60):
            response = await (client.send(path) if claims is None else client.api(path))
    assert response.status == status
    if status != 200:
        challenges = str(response.header("www-authenticate"))
        assert all(each in challenges for each in challenge)
        assert ("error=" in challenges) == (claims is not None)
        assert response.header("content-type") == "application/problem+json"
        assert orjson.loads(response.body)["status"] == status


@pytest.mark.parametrize(
    ("headers", "status", "error"),
    [
        ({"authorization": "Bearer x"}, 401, 'error="invalid_token"'),
        ({"authorization": "Bearer {token}x"}, 401, 'error="invalid_token"'),
        ({"authorization": "Bearer {token}", "cookie": ""}, 401, "missing or wrong"),
        ({"authorization": "Basic x"}, 401, 'realm="api"'),
    ],
)
async def test_an_invalid_token_gets_the_reason(headers: dict[str, str], status: int, error: str) -> None:
    async with service(application=tokens) as client:
        await client.login("ada")
        sent_headers = {name: value.format(token=client.token) for name, value in headers.items()}
        response = await client.send("/any", **sent_headers)
    assert response.status == status
    assert error in str(response.header("www-authenticate"))
    assert response.header("content-type") == "application/problem+json"
    assert client.token not in response.body.decode()


async def test_an_application_may_handle_http_exceptions_itself() -> None:
    application = FastAPI()

    @application.exception_handler(HTTPException)
    async def handle_http_exception(request: Request, error: HTTPException) -> JSONResponse:
        return JSONResponse({"custom": error.detail}, error.status_code, dict(error.headers or {}))

    @application.get("/any")
    async def authenticated(user: Annotated[TokenUser, Depends(RequireToken())]) -> None: ...

    async with service(application=application) as client:
        response = await client.send("/any")
    assert (response.status, response.header("www-authenticate")) == (401, 'Bearer realm="api"')
    assert orjson.loads(response.body) == {"custom": "missing bearer token"}


def test_openapi_lists_the_scheme_and_the_scopes() -> None:
    document = tokens.openapi()
    assert document["components"]["securitySchemes"] == {
        "bearerAuth": {"type": "http", "scheme": "bearer", "bearerFormat": "JWT"}
    }
    security = {path: document["paths"][path]["get"]["security"] for path in ("/any", "/scoped", "/security")}
    assert security["/any"] == [{"bearerAuth": []}]
    assert security["/scoped"] == [{"bearerAuth": ["read", "write"]}]
    assert sorted(security["/security"][0]["bearerAuth"]) == ["read", "write"]
    assert all("parameters" not in each["get"] for each in document["paths"].values() if "get" in each)


async def test_a_websocket_without_its_token_is_rejected_before_it_opens() -> None:
    async with service(application=tokens) as client:
        sent: list[Any] = []
        scope: dict[str, Any] = {
            "type": "websocket", "path": "/socket", "raw_path": b"/socket", "query_string": b"", "root_path": "",
            "scheme": "ws", "headers": [(b"host", b"x")], "subprotocols": [], "state": client.state,
            "extensions": {"websocket.http.response": {}}, "client": ("127.0.0.1", 1), "server": ("x", 80),
        }  # fmt: skip

        async def receive() -> dict[str, Any]:
            return {"type": "websocket.connect"}

        async def send(message: Any) -> None:
            sent.append(message)

        offered: list[dict[str, Any]] = [{"websocket.http.response": {}}, {}]
        for extensions in offered:
            await client.app({**scope, "extensions": extensions}, receive, send)
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start", "websocket.http.response.body", "websocket.close",
    ]  # fmt: skip
    assert sent[0]["status"] == 401
    assert (b"content-type", b"application/problem+json") in sent[0]["headers"]
    assert sent[2]["code"] == 1008
