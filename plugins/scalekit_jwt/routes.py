"""``POST /auth/refresh``, ``POST /auth/logout`` and ``/.well-known/jwks.json``."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scalekit_jwt.challenges import SCHEME, unauthorized
from scalekit_jwt.credentials import cookies_in, shown
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.keys import KEY_TYPES
from scalekit_jwt.token_service import TokenService
from scalekit_jwt.token_verifier import KeySource

MAX_BODY_BYTES = 16384


def routes(tokens: Callable[[], TokenService], keys: Callable[[], KeySource]) -> list[Route]:
    """Return the routes over *tokens* and *keys*, which are there once everything has started."""

    async def refresh(request: Request) -> Response:
        own = tokens()
        try:
            token = await _refresh_token(request)
            issued = await own.refresh(token, cookies_in(request.scope), shown(request.scope))
        except InvalidToken as refused:
            return _refusal(request, refused.reason)
        body = {"token": issued.access, "refresh_token": issued.refresh, "expires_in": issued.expires_in}
        return JSONResponse({**body, "token_type": issued.token_type}, headers=issued.headers)

    async def logout(request: Request) -> Response:
        own = tokens()
        try:
            token = await _refresh_token(request)
            await own.logout(token, cookies_in(request.scope), shown(request.scope))
        except InvalidToken as refused:
            return _refusal(request, refused.reason)
        headers = {"cache-control": "no-store"}
        if own.fingerprint:
            headers["set-cookie"] = own.fingerprint.expired()
        return Response(status_code=204, headers=headers)

    async def jwks(request: Request) -> Response:
        public = [key.public() for key in keys().current.keys if KEY_TYPES[key.algorithm] != "oct"]
        return JSONResponse({"keys": public}, headers={"cache-control": "public, max-age=300"})

    return [
        Route("/auth/refresh", refresh, methods=["POST"]),
        Route("/auth/logout", logout, methods=["POST"]),
        Route("/.well-known/jwks.json", jwks, methods=["GET"]),
    ]


def _refusal(request: Request, reason: str) -> Response:
    """Return an answer of this request's own, which whoever stands further out may change."""
    known = unauthorized(SCHEME(request), reason)
    return Response(known.body, known.status_code, dict(known.headers))


async def _refresh_token(request: Request) -> bytes:
    """Return the refresh token in the body, JSON or a form; raises InvalidToken when there is none."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise InvalidToken("too_long")
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    value = _form(bytes(body)) if kind == "application/x-www-form-urlencoded" else _json(bytes(body))
    if not isinstance(value, str) or not value.isascii():
        raise InvalidToken("malformed")
    return value.encode()


def _json(body: bytes) -> object:
    try:
        members = orjson.loads(body)
    except ValueError:
        return None
    return members.get("refresh_token") if isinstance(members, dict) else None


def _form(body: bytes) -> object:
    try:
        values = [value for name, value in parse_qsl(body.decode(), max_num_fields=16) if name == "refresh_token"]
    except ValueError:
        return None
    return values[0] if len(values) == 1 else None
