"""Log in: verify a password and issue tokens."""

from __future__ import annotations

from urllib.parse import parse_qsl

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from sample_app.validation import NO_NUL, parse_body, validation_problem
from scalekit.contracts import DATABASE, LIMITS, TOKENS
from scalekit.http.problem import ProblemResponse
from scalekit_jwt.password_hash import verify_password

PASSWORD = "SELECT password FROM logins WHERE username = :username"


class Login(BaseModel):
    """The request body of a login."""

    model_config = ConfigDict(extra="forbid")

    username: str = Field(min_length=1, max_length=200, pattern=NO_NUL)
    password: str = Field(min_length=1, max_length=1000)


LOGIN = TypeAdapter(Login)


async def login(request: Request) -> Response:
    """Return tokens for a valid user name and password, in JSON or a form; 401 does not tell which one is wrong."""
    body = await _parse_login(request)
    if isinstance(body, ProblemResponse):
        return body
    limits = LIMITS(request)
    await limits.hit("login-name", body.username)  # limits attempts from different client addresses too
    password = await DATABASE(request).fetch_val(PASSWORD, {"username": body.username})
    if not await verify_password(body.password, password, cache_ttl="60s"):
        return ProblemResponse(401, "wrong user name or password", headers={"www-authenticate": "Bearer"})
    await limits.reset("login-name", body.username)
    tokens = await TOKENS(request).issue(body.username, request=request)
    content = {"token": tokens.access, "refresh_token": tokens.refresh, "expires_in": tokens.expires_in}
    return JSONResponse(content, headers=tokens.headers)


async def _parse_login(request: Request) -> Login | ProblemResponse:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "application/x-www-form-urlencoded":
        return await parse_body(request, LOGIN, "a username and a password")
    try:
        return LOGIN.validate_python(dict(parse_qsl((await request.body()).decode(), max_num_fields=16)))
    except ValidationError as error:
        return validation_problem(error, "a username and a password")
    except ValueError:
        return ProblemResponse(422, "the body is not a form")
