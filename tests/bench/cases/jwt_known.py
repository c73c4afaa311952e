"""Starlette with a token that is cached, and the cookie that it is bound to."""

import time
from typing import Any

from scalekit import create_app
from scalekit.host import Host
from scalekit_jwt.fingerprint import fingerprint_digest
from scalekit_jwt.jws import encode_jws
from scalekit_jwt.keys.key_set import keys_from_secret
from tests.bench.cases import starlette_bare

PATH = starlette_bare.PATH
BODY = starlette_bare.BODY
SECRET = "a secret for measuring that is long enough"
VALUE = "x" * 43
NOW = int(time.time())
CLAIMS = {"iss": "scalekit", "sub": "ada", "aud": "scalekit", "iat": NOW, "exp": NOW + 86400, "scope": "read write"}
TOKEN = encode_jws(
    keys_from_secret(SECRET).current.keys[0], "at+jwt", {**CLAIMS, "fgp": fingerprint_digest(VALUE.encode())}
)
HEADERS = [(b"authorization", f"Bearer {TOKEN}".encode()), (b"cookie", f"__Host-Fgp={VALUE}".encode())]
TABLES: dict[str, Any] = {"plugins": {"jwt": {"secret": SECRET, "protected_paths": ["/api/**"]}}}


def make() -> Host:
    return create_app(TABLES, app=starlette_bare.make())


app = make()
