"""A DPoP client whose proofs come from another library."""

from __future__ import annotations

import time
from collections.abc import Mapping
from hashlib import sha256
from itertools import count
from typing import Any

import orjson
from joserfc import jws
from joserfc.jwk import ECKey, Key

from scalekit.testing import ReceivedResponse
from tests.jwt.forged_tokens import encoded
from tests.jwt.harness import JwtClient

PROOF_NUMBERS = count()
ALGORITHMS = ["ES256", "EdDSA", "ES384", "RS256", "HS256"]


class DpopProver:
    """Makes DPoP proofs with a key; every member can be replaced, None removes it."""

    def __init__(self, key: Key | None = None, algorithm: str = "ES256") -> None:
        self.key = key or ECKey.generate_key("P-256")
        self.algorithm = algorithm

    @property
    def thumbprint(self) -> str:
        return self.key.thumbprint()

    def proof(
        self, method: str, url: str, token: str = "", header: Mapping[str, Any] | None = None, **claims: Any
    ) -> str:
        protected = {"typ": "dpop+jwt", "alg": self.algorithm, "jwk": self.key.as_dict(private=False), **(header or {})}
        payload: dict[str, Any] = {
            "jti": f"proof {next(PROOF_NUMBERS)}",
            "htm": method,
            "htu": url,
            "iat": int(time.time()),
        }
        if token:
            payload["ath"] = encoded(sha256(token.encode()).digest())
        registry = jws.JWSRegistry(algorithms=ALGORITHMS, strict_check_header=False)
        content = orjson.dumps(_without_none(payload | claims))
        return jws.serialize_compact(_without_none(protected), content, self.key, registry=registry)


def _without_none(members: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in members.items() if value is not None}


class DpopClient:
    """A client of a service whose tokens are bound to its key."""

    def __init__(self, client: JwtClient, prover: DpopProver | None = None) -> None:
        self.client = client
        self.prover = prover or DpopProver()

    def url(self, path: str) -> str:
        return f"http://localhost{path}"

    async def login(self, subject: str, **more: Any) -> ReceivedResponse:
        response = await self.client.send(
            "/login", "POST", {"subject": subject, **more}, dpop=self.prover.proof("POST", self.url("/login"))
        )
        if response.status == 200:
            self.client.store_tokens(response)
        return response

    async def api(self, target: str = "/api/user", method: str = "GET", **headers: str) -> ReceivedResponse:
        token = self.client.token
        proof = self.prover.proof(method, self.url(target.partition("?")[0]), token)
        return await self.client.send(target, method, **{"authorization": f"DPoP {token}", "dpop": proof, **headers})

    async def refresh(self, path: str = "/auth/refresh", **headers: str) -> ReceivedResponse:
        fields = {"dpop": self.prover.proof("POST", self.url(path)), **headers}
        return await self.client.send(path, "POST", {"refresh_token": self.client.refresh_token}, **fields)
