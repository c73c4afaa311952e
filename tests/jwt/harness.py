"""A service that issues tokens, and a client that stores them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
from starlette.applications import Starlette
from starlette.authentication import requires
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import TOKENS
from scalekit.errors import Unavailable
from scalekit.testing import ReceivedResponse, running
from scalekit.testing import request as send_request

SECRET = "a secret for tests that is long enough"


async def login(incoming: Request) -> Response:
    params = await incoming.json()
    issued = await TOKENS(incoming).issue(params["subject"], params.get("claims"), params.get("scopes", ()), incoming)
    body = {"token": issued.access, "refresh_token": issued.refresh, "expires_in": issued.expires_in}
    return JSONResponse(body, headers=issued.headers)


async def whoami(incoming: Request) -> Response:
    name = incoming.user.identity if incoming.user.is_authenticated else None
    return JSONResponse({"user": name, "scopes": list(incoming.auth.scopes)})


@requires("admin")
async def admin(request: Request) -> Response:
    return JSONResponse({})


async def revoke(incoming: Request) -> Response:
    params = await incoming.json()
    if "subject" in params:
        await TOKENS(incoming).revoke_all(params["subject"])
    else:
        await TOKENS(incoming).revoke(params["jti"], params.get("issuer", ""))
    return JSONResponse({})


app = Starlette(
    routes=[
        Route("/login", login, methods=["POST"]),
        Route("/revoke", revoke, methods=["POST"]),
        Route("/api/user", whoami, methods=["GET", "POST"]),
        Route("/open", whoami),
        Route("/admin", admin),
    ]
)


@dataclass
class JwtClient:
    """A client that sends its latest tokens."""

    app: Any
    state: dict[str, Any]
    token: str = ""
    refresh_token: str = ""
    cookie: str = ""
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, target: str, method: str = "GET", body: Any = None, **headers: str) -> ReceivedResponse:
        fields = {**({"cookie": self.cookie} if self.cookie else {}), **headers}
        content = orjson.dumps(body) if body is not None else b""
        return await send_request(self.app, target, method=method, headers=fields, body=content, state=self.state)

    async def login(self, subject: str, **more: Any) -> ReceivedResponse:
        response = await self.send("/login", "POST", {"subject": subject, **more})
        self.store_tokens(response)
        return response

    async def api(self, target: str = "/api/user", method: str = "GET", **headers: str) -> ReceivedResponse:
        return await self.send(target, method, **{"authorization": f"Bearer {self.token}", **headers})

    async def refresh(self, token: str | None = None) -> ReceivedResponse:
        return await self.send("/auth/refresh", "POST", {"refresh_token": token or self.refresh_token})

    async def logout(self) -> ReceivedResponse:
        return await self.send("/auth/logout", "POST", {"refresh_token": self.refresh_token})

    def store_tokens(self, response: ReceivedResponse) -> None:
        body = orjson.loads(response.body)
        self.token, self.refresh_token = body["token"], body["refresh_token"]
        cookie = response.header("set-cookie")
        if cookie:
            self.cookie = cookie.partition(";")[0]

    def new_client(self) -> JwtClient:
        """Return a second client of the same service, without tokens."""
        return JwtClient(self.app, self.state)


@asynccontextmanager
async def service(
    table: Mapping[str, Any] | None = None,
    plugins: Mapping[str, Any] | None = None,
    application: Any = app,
    **server: Any,
) -> AsyncGenerator[JwtClient, None]:
    others = dict(plugins or {})
    own = {"protected_paths": ["/api/**"], **others.pop("jwt", {}), **(table or {})}
    if not {"keys", "key_file"} & own.keys():
        own.setdefault("secret", SECRET)
    host = create_app({"plugins": {"jwt": own, **others}, "server": server}, app=application)
    async with running(host) as state:
        yield JwtClient(host, state)


async def health(client: JwtClient) -> str:
    """Return the failure of the plugin's health check, empty when it passes."""
    try:
        await client.app.monitor.results["jwt"].check.probe()
    except Unavailable as error:
        return error.reason
    return ""


def write_key(path: Path, content: bytes) -> str:
    """Write a key with mode 0600 and return its path."""
    path.write_bytes(content)
    path.chmod(0o600)
    return str(path)


async def published_keys(client: JwtClient) -> list[dict[str, str]]:
    """Return the public keys in the JWK set of the service."""
    keys: list[dict[str, str]] = orjson.loads((await client.send("/.well-known/jwks.json")).body)["keys"]
    return keys
