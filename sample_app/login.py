"""Logging in."""

from __future__ import annotations

from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.validation import NO_NUL, explained, read
from scalekit.contracts import DATABASE, LIMITS, TOKENS
from scalekit.http.problem import ProblemResponse
from scalekit_jwt.password_hash import verify_password

PASSWORD = "SELECT password FROM logins WHERE username = :username"


class Login(BaseModel):
    """What a client sends to log in."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    password: str = Field(min_length=1, max_length=1000)


LOGIN = TypeAdapter(Login)


async def login(request: Request) -> Response:
    """Answer with tokens for who knows the password, in JSON or a form; nobody learns which of the two was wrong."""
    asked = await _read(request)
    if isinstance(asked, ProblemResponse):
        return asked
    limits = LIMITS(request)
    await limits.hit("login-name", asked.username)  # from whichever addresses somebody guesses
    password = await DATABASE(request).fetch_val(PASSWORD, {"username": asked.username})
    if not await verify_password(asked.password, password, cache_ttl="60s"):
        return ProblemResponse(401, "no such user with this password", headers={"www-authenticate": "Bearer"})
    await limits.reset("login-name", asked.username)
    tokens = await TOKENS(request).issue(asked.username, request=request)
    body = {"token": tokens.access, "refresh_token": tokens.refresh, "expires_in": tokens.expires_in}
    return JSONResponse(body, headers=tokens.headers)


async def _read(request: Request) -> Login | ProblemResponse:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "application/x-www-form-urlencoded":
        return await read(request, LOGIN, "a username and a password")
    try:
        return LOGIN.validate_python(dict(parse_qsl((await request.body()).decode(), max_num_fields=16)))
    except ValidationError as error:
        return explained(error, "a username and a password")
    except ValueError:
        return ProblemResponse(422, "the body is not a form")
