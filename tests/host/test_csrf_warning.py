from __future__ import annotations

from typing import Any

import pytest
from fastapi import FastAPI
from litestar import Litestar
from litestar.config.csrf import CSRFConfig
from litestar.middleware.session.server_side import ServerSideSessionConfig
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.types import ASGIApp, Receive, Scope, Send

from scalekit import create_app
from scalekit.csrf_warning import csrf_warnings

JWT = {"secret": 32 * "s"}
SESSION = "pages of other sites can send requests in the session of a user of the application (CSRF); to reject such"
LOGIN = "logins that pages of other sites send replace the cookie of plugins.jwt.fingerprint (CSRF); to reject such"
REMEDY = " requests, set csrf_protection = true in [plugins.headers]"


class Wrapping:
    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.app(scope, receive, send)


class SessionMiddleware(Wrapping):
    """Starlette's needs a package that is not installed; it is found by its name."""


class CSRFMiddleware(Wrapping):
    """As of starlette-csrf."""


SESSIONS = Middleware(SessionMiddleware)
CSRF = Middleware(CSRFMiddleware)
LITESTAR = ServerSideSessionConfig().middleware


def warnings(app: ASGIApp, **plugins: Any) -> list[str]:
    host = create_app({"plugins": plugins}, app=app)
    return csrf_warnings(host.context, host.target)


@pytest.mark.parametrize(
    ("app", "warned"),
    [
        (Starlette(), False),
        (Starlette(middleware=[SESSIONS]), True),
        (Starlette(middleware=[CSRF, SESSIONS]), False),
        (FastAPI(middleware=[SESSIONS]), True),
        (Wrapping(Starlette(middleware=[SESSIONS])), True),
        (SessionMiddleware(Starlette()), True),
        (Litestar([], middleware=[LITESTAR], logging_config=None), True),
        (Litestar([], middleware=[LITESTAR], csrf_config=CSRFConfig("s"), logging_config=None), False),
        (Litestar([], logging_config=None), False),
    ],
)
def test_sessions_of_the_application_without_protection_are_warned_about(app: Any, warned: bool) -> None:
    assert warnings(app) == ([SESSION + REMEDY] if warned else [])
    assert warnings(app, headers={}) == ([SESSION + REMEDY] if warned else [])
    assert warnings(app, headers={"csrf_protection": True}) == []


@pytest.mark.parametrize(
    ("jwt", "plugins", "warned"),
    [
        (JWT, {}, True),
        (JWT, {"headers": {}}, True),
        (JWT, {"headers": {"csrf_protection": False}}, True),
        (JWT, {"headers": {"csrf_protection": True}}, False),
        (JWT, {"headers": {"csrf_protection": True, "enabled": False}}, True),
        ({**JWT, "fingerprint": False}, {}, False),
        ({**JWT, "sender_constraint": "dpop"}, {}, False),
    ],
)
def test_the_cookie_of_tokens_without_protection_is_warned_about(
    jwt: dict[str, Any], plugins: dict[str, Any], warned: bool
) -> None:
    assert warnings(Starlette(), jwt=jwt, **plugins) == ([LOGIN + REMEDY] if warned else [])


def test_an_application_around_itself_ends() -> None:
    around = Wrapping(Starlette())
    around.app = around
    assert warnings(around) == []
