"""Starlette with a token that is cached and not bound to a cookie."""

from typing import Any

from scalekit import create_app
from scalekit.host import Host
from scalekit_jwt.jws import encode_jws
from scalekit_jwt.keys.key_set import keys_from_secret
from tests.bench.cases import jwt_known, starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
TOKEN = encode_jws(keys_from_secret(jwt_known.SECRET).current.keys[0], "at+jwt", jwt_known.CLAIMS)
HEADERS = [(b"authorization", f"Bearer {TOKEN}".encode())]
TABLES: dict[str, Any] = {
    "plugins": {"jwt": {"secret": jwt_known.SECRET, "protected_paths": ["/api/**"], "fingerprint": False}}
}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
