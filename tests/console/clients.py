"""A browser without scripts, for the pages of an application with the console."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlencode

import orjson

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from scalekit.testing.conformance import bare_application
from scalekit_console.access import CSRF_COOKIE

TOKEN = "t0ken-of-operators-0123456789"
Headers = Mapping[str, str | None]
"""Headers by name; None removes a header that a browser sends."""

NONE: Headers = {}


class Browser:
    """Keeps cookies, and sends what browsers send."""

    def __init__(self, app: Host, state: dict[str, Any]) -> None:
        self.app = app
        self.cookies: dict[str, str] = {}
        self._state = state

    async def get(
        self, target: str, headers: Headers = NONE, client: tuple[str, int] = ("127.0.0.1", 50000)
    ) -> ReceivedResponse:
        return await self._send("GET", target, {"accept": "text/html", **headers}, client=client)

    async def submit(self, target: str, headers: Headers = NONE, **fields: str) -> ReceivedResponse:
        """Send a form with the token of the page that was shown last."""
        sent = {
            "accept": "text/html",
            "content-type": "application/x-www-form-urlencoded",
            "origin": "http://localhost",
            "sec-fetch-site": "same-origin",
            **headers,
        }
        body = urlencode({"csrf_token": self.cookies.get(CSRF_COOKIE, ""), **fields}).encode()
        return await self._send("POST", target, sent, body)

    async def post_json(self, target: str, content: object, headers: Headers = NONE) -> ReceivedResponse:
        return await self._send("POST", target, {"content-type": "application/json", **headers}, orjson.dumps(content))

    async def _send(
        self,
        method: str,
        target: str,
        headers: Headers,
        body: bytes = b"",
        client: tuple[str, int] = ("127.0.0.1", 50000),
    ) -> ReceivedResponse:
        cookie = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = {name: value for name, value in {"cookie": cookie, **headers}.items() if value}
        response = await request(
            self.app, target, method=method, headers=sent, body=body, state=self._state, client=client
        )
        for name, value in response.headers:
            if name == b"set-cookie":
                self.cookies |= {key: morsel.value for key, morsel in SimpleCookie(value.decode()).items()}
        return response


@asynccontextmanager
async def console_app(
    plugins: Mapping[str, Mapping[str, Any]], console: Mapping[str, Any] = {}, **server: Any
) -> AsyncGenerator[Browser, None]:
    """Run an application with the console and *plugins*; operators are in 127.0.0.1 unless *server* names others."""
    tables = {"console": dict(console), **plugins}
    app = create_app(
        {"plugins": tables, "server": {"operator_networks": ["127.0.0.1"], **server}}, app=bare_application
    )
    async with running(app) as state:
        yield Browser(app, state)
