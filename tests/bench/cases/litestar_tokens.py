"""Litestar with its own JWTAuth."""

from typing import Any

from litestar import Litestar
from litestar.connection import ASGIConnection
from litestar.security.jwt import JWTAuth, Token
from litestar_bare import BODY, PATH, data

__all__ = ["BODY", "PATH"]

SECRET = "a secret for measuring that is long enough"


async def user_of(token: Token, connection: ASGIConnection[Any, Any, Any, Any]) -> str:
    return token.sub


AUTH = JWTAuth[str](
    retrieve_user_handler=user_of, token_secret=SECRET, accepted_audiences=["scalekit"], accepted_issuers=["scalekit"]
)
TOKEN = AUTH.create_token("ada", token_audience="scalekit", token_issuer="scalekit")
HEADERS = [(b"authorization", f"Bearer {TOKEN}".encode())]


def make() -> Litestar:
    return Litestar([data], on_app_init=[AUTH.on_app_init])


app = make()
