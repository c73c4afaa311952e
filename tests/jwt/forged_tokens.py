"""Tokens of attackers and of other issuers, in which every part can be replaced."""

from __future__ import annotations

import json
import time
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from functools import cache
from itertools import count
from typing import Any

from scalekit_jwt.keys.key_file import generate_key
from scalekit_jwt.keys.key_set import KEY_TYPES, SigningKey

RSA_KEYS = 4
"""RSA keys generated per process: one takes as long as five hundred of another type."""
_TURNS = count()


@cache
def member_of(algorithm: str, number: int) -> dict[str, Any]:
    """Return the key *number* for *algorithm*, with its private part, as a JWK."""
    if KEY_TYPES[algorithm] == "RSA" and algorithm != "RS256":  # the same key for another algorithm
        return {**member_of("RS256", number), "alg": algorithm, "kid": f"{algorithm}-{number}"}
    return generate_key(algorithm)


@cache
def key_of(algorithm: str, number: int) -> SigningKey:
    """Return the key *number* for *algorithm*."""
    if KEY_TYPES[algorithm] == "RSA" and algorithm != "RS256":
        kid = member_of(algorithm, number)["kid"]
        return key_of("RS256", number)._replace(algorithm=algorithm, kid=kid)
    return SigningKey.load(member_of(algorithm, number), algorithm)


def _another_key(algorithm: str) -> tuple[dict[str, Any], SigningKey]:
    """Return another key than the last few calls."""
    turn = next(_TURNS)
    number = turn % RSA_KEYS if KEY_TYPES[algorithm] == "RSA" else turn
    return member_of(algorithm, number), key_of(algorithm, number)


def encoded(data: bytes | str | Mapping[str, Any]) -> str:
    """Return *data* in base64url, a mapping as JSON."""
    if isinstance(data, Mapping):
        data = json.dumps(data)
    return urlsafe_b64encode(data.encode() if isinstance(data, str) else data).rstrip(b"=").decode()


class TokenForge:
    """Makes tokens with a key of its own; every part of a token can be replaced."""

    def __init__(self, algorithm: str = "ES256", issuer: str = "scalekit", audience: str = "scalekit") -> None:
        self.member, self.key = _another_key(algorithm)
        now = int(time.time())
        self.header: dict[str, Any] = {"alg": algorithm, "typ": "at+jwt", "kid": self.key.kid}
        self.claims: dict[str, Any] = {"iss": issuer, "sub": "ada", "aud": audience, "iat": now, "exp": now + 86400}

    def token(
        self,
        header: bytes | str | Mapping[str, Any] | None = None,
        claims: bytes | str | Mapping[str, Any] | None = None,
        key: SigningKey | None = None,
    ) -> str:
        """Return a token that is signed over exactly these parts."""
        signed = (
            f"{encoded(self.header if header is None else header)}.{encoded(self.claims if claims is None else claims)}"
        )
        return f"{signed}.{encoded((key or self.key).sign(signed.encode()))}"

    def with_header(self, **changes: Any) -> str:
        """Return a token whose header has *changes*, None leaves out."""
        return self.token(header=_changed(self.header, changes))

    def with_claims(self, **changes: Any) -> str:
        """Return a token whose claims have *changes*; None removes a member."""
        return self.token(claims=_changed(self.claims, changes))


def _changed(members: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in {**members, **changes}.items() if value is not None}
