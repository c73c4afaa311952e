"""Verification of a token that is not cached, compared with joserfc."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

from joserfc import jwt
from joserfc.jwk import JWKRegistry
from joserfc.jwk import KeySet as JoserfcKeys

from scalekit.telemetry import Telemetry
from scalekit_jwt.authenticator import Authenticator
from scalekit_jwt.dpop import ProofVerifier
from scalekit_jwt.jws import encode_jws
from scalekit_jwt.keys.key_file import generate_key
from scalekit_jwt.keys.key_set import KeySet, SigningKey, StaticKeys
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.revocations import Revocations
from scalekit_jwt.session_store.memory import MemorySessionStore
from scalekit_jwt.token_verifier import TokenVerifier
from tests.bench.operations import Case, Operation, compare
from tests.bench.row import Row

ALGORITHMS = ("HS256", "RS256", "ES256")
AT_MOST = 1.3
TOKENS = 64
"""More tokens than the cache holds, so that every verification is a cache miss."""


def _tokens(member: Mapping[str, Any], algorithm: str) -> list[bytes]:
    now = int(time.time())
    key = SigningKey.load(member, algorithm)
    claims = {"iss": "scalekit", "sub": "ada", "aud": "scalekit", "iat": now, "exp": now + 86400, "scope": "read write"}
    return [encode_jws(key, "at+jwt", {**claims, "jti": f"token {number}"}).encode() for number in range(TOKENS)]


def _ours(algorithm: str) -> Callable[[str], Any]:
    @asynccontextmanager
    async def opened(_: str) -> AsyncGenerator[Operation, None]:
        member = generate_key(algorithm)
        tokens = _tokens(member, algorithm)
        keys = StaticKeys(KeySet([SigningKey.load(member, algorithm)]))
        issuer = TokenVerifier("scalekit", "scalekit", frozenset({"at+jwt"}), keys, 30.0, time.time)
        metrics = JwtMetrics(Telemetry(100))
        proofs = ProofVerifier(MemorySessionStore(), 30.0, time.time)
        revoked = Revocations("scalekit")
        revoked.add([])
        authenticator = Authenticator(
            issuer,
            {},
            fingerprint=None,
            revocations=revoked,
            cache_size=1,
            metrics=metrics,
            clock=time.time,
            proofs=proofs,
        )

        async def verify(number: int) -> None:
            authenticator.verify(b"Bearer " + tokens[number % TOKENS], b"")

        yield verify

    return opened


def _joserfc(algorithm: str) -> Callable[[str], Any]:
    @asynccontextmanager
    async def opened(_: str) -> AsyncGenerator[Operation, None]:
        member = generate_key(algorithm)
        tokens = _tokens(member, algorithm)
        keys = JoserfcKeys([JWKRegistry.import_key(dict(member))])

        async def verify(number: int) -> None:
            jwt.decode(tokens[number % TOKENS], keys, algorithms=[algorithm])

        yield verify

    return opened


CASES = {
    name: case
    for each in ALGORITHMS
    for name, case in {
        f"joserfc {each}": Case(f"joserfc, decode {each}", "none", _joserfc(each), at_once=1),
        f"ours {each}": Case(
            f"ScaleKit, first sight of {each}, all checks", "none", _ours(each), f"joserfc {each}", AT_MOST, at_once=1
        ),
    }.items()
}


def measure(rounds: int) -> list[Row]:
    """Return the rows."""
    return compare(__name__, "jwt", CASES, {"none": ""}, rounds)
