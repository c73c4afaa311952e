"""The routes ``POST /auth/refresh``, ``POST /auth/logout`` and ``GET /.well-known/jwks.json``."""

from __future__ import annotations

from collections.abc import Callable
from urllib.parse import parse_qsl

import orjson
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from scalekit_jwt.challenges import CHALLENGE, unauthorized
from scalekit_jwt.credentials import join_cookies, read_proof
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.keys.key_set import KEY_TYPES, KeySource
from scalekit_jwt.refresh_tokens import RefreshTokens

MAX_BODY_BYTES = 16384


def routes(refresh_tokens: Callable[[], RefreshTokens], keys: Callable[[], KeySource]) -> list[Route]:
    """Return the routes; *refresh_tokens* and *keys* are called per request, when the plugin has started."""

    async def refresh(request: Request) -> Response:
        try:
            token = await _refresh_token(request)
            pair = await refresh_tokens().refresh(token, join_cookies(request.scope), read_proof(request.scope))
        except InvalidToken as invalid:
            return _unauthorized(request, invalid.reason)
        body = {"token": pair.access, "refresh_token": pair.refresh, "expires_in": pair.expires_in}
        return JSONResponse({**body, "token_type": pair.token_type}, headers=pair.headers)

    async def logout(request: Request) -> Response:
        service = refresh_tokens()
        try:
            token = await _refresh_token(request)
            await service.logout(token, join_cookies(request.scope), read_proof(request.scope))
        except InvalidToken as invalid:
            return _unauthorized(request, invalid.reason)
        headers = {"cache-control": "no-store"}
        if service.fingerprint:
            headers["set-cookie"] = service.fingerprint.delete_cookie()
        return Response(status_code=204, headers=headers)

    async def jwks(request: Request) -> Response:
        public = [key.public() for key in keys().current.keys if KEY_TYPES[key.algorithm] != "oct"]
        return JSONResponse({"keys": public}, headers={"cache-control": "public, max-age=300"})

    return [
        Route("/auth/refresh", refresh, methods=["POST"]),
        Route("/auth/logout", logout, methods=["POST"]),
        Route("/.well-known/jwks.json", jwks, methods=["GET"]),
    ]


def _unauthorized(request: Request, reason: str) -> Response:
    """Return a copy of the cached 401, because outer filters may change the response."""
    cached = unauthorized(CHALLENGE(request), reason)
    return Response(cached.body, cached.status_code, dict(cached.headers))


async def _refresh_token(request: Request) -> bytes:
    """Return the refresh token in a JSON or form body; raises InvalidToken without one."""
    body = bytearray()
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_BODY_BYTES:
            raise InvalidToken("too_long")
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    value = _from_form(bytes(body)) if media_type == "application/x-www-form-urlencoded" else _from_json(bytes(body))
    if not isinstance(value, str) or not value.isascii():
        raise InvalidToken("malformed")
    return value.encode()


def _from_json(body: bytes) -> object:
    try:
        members = orjson.loads(body)
    except ValueError:
        return None
    return members.get("refresh_token") if isinstance(members, dict) else None


def _from_form(body: bytes) -> object:
    try:
        values = [value for name, value in parse_qsl(body.decode(), max_num_fields=16) if name == "refresh_token"]
    except ValueError:
        return None
    return values[0] if len(values) == 1 else None
