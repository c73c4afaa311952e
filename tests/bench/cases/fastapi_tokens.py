"""FastAPI with PyJWT in a dependency, as its documentation shows."""

import time
from typing import Annotated, Any

import jwt
from fastapi import Depends, FastAPI, HTTPException
from fastapi.security import HTTPAuthorizationCredentials, HTTPBearer
from fastapi_bare import BODY, PATH, PAYLOAD

__all__ = ["BODY", "PATH"]

SECRET = "a secret for measuring that is long enough"
NOW = int(time.time())
CLAIMS = {"iss": "scalekit", "sub": "ada", "aud": "scalekit", "iat": NOW, "exp": NOW + 86400, "scope": "read write"}
HEADERS = [(b"authorization", f"Bearer {jwt.encode(CLAIMS, SECRET, 'HS256')}".encode())]
bearer = HTTPBearer()


async def subject(shown: Annotated[HTTPAuthorizationCredentials, Depends(bearer)]) -> str:
    try:
        claims = jwt.decode(
            shown.credentials, SECRET, algorithms=["HS256"], audience="scalekit", issuer="scalekit", leeway=30
        )
    except jwt.InvalidTokenError:
        raise HTTPException(401, "not valid") from None
    return str(claims["sub"])


def make() -> FastAPI:
    app = FastAPI()

    @app.get(PATH)
    async def data(user: Annotated[str, Depends(subject)]) -> dict[str, Any]:
        return PAYLOAD

    return app


app = make()
