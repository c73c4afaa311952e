"""Tokens, proofs and cookies: any bytes are accepted or rejected, and raise no other error."""

from __future__ import annotations

import time
from base64 import urlsafe_b64encode
from contextlib import suppress
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st
from starlette.types import Scope

from scalekit import Exchange, Filter
from scalekit.telemetry import NullTelemetry
from scalekit.testing.conformance import bare_application
from scalekit_jwt.credentials import (
    AUTHORIZATION,
    COOKIE,
    move_subprotocol_token,
    normalize_authorization,
    read_credentials,
    read_proof,
)
from scalekit_jwt.dpop import ExpectedRequest, PresentedProof, normalize_htu, verify_proof
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.fingerprint import FingerprintCookie, decode_digest
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.keys.key_set import KeySet, StaticKeys
from scalekit_jwt.token_verifier import TokenVerifier
from scalekit_replica.filters import consistency_of
from scalekit_replica.metrics import RoutingMetrics
from scalekit_replica.token_codec import TokenCodec, TokenContents
from scalekit_replica.token_issuer import TokenIssuer
from tests.fuzz.words import fuzzed, texts, values
from tests.host.asgi import behind
from tests.jwt.dpop_client import DpopProver
from tests.jwt.forged_tokens import TokenForge

FORGE = TokenForge()
VERIFIER = TokenVerifier(
    "scalekit", "scalekit", frozenset({"at+jwt"}), StaticKeys(KeySet([FORGE.key])), 30.0, time.time
)
URL = "http://localhost/api"
CODEC = TokenCodec("a secret that all instances have")
TOKENS = TokenIssuer(CODEC, None, 2.0, 60.0, RoutingMetrics(NullTelemetry()))  # type: ignore[arg-type]  # reading uses no database
PROVER = DpopProver()
TOKEN = FORGE.token()
CONSISTENCY = CODEC.encode(TokenContents(7, 0.0, 2**31))
CLAIMS = ("iss", "sub", "aud", "exp", "nbf", "iat", "jti", "scope", "scp", "cnf", "fgp", "sid", "ver", "htm", "htu")


def encoded(text: bytes) -> bytes:
    return urlsafe_b64encode(text).rstrip(b"=")


def nested(depth: int) -> bytes:
    return b'{"a":' + b"[" * depth + b"]" * depth + b"}"


plain = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | texts(*CLAIMS, "ada")
anything = st.recursive(
    plain, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3)
)
objects = st.dictionaries(st.sampled_from(CLAIMS) | st.text(max_size=4), anything, max_size=5)
json = st.one_of(
    objects.map(orjson.dumps),
    st.integers(0, 1500).map(nested),
    values("{", "}", "[", "]", '"', ":", ",", "alg", "ES256", "none", "kid", "null", "1e999", "\\ud800", "NaN"),
    st.sampled_from([b'{"a":' + b"9" * 5000 + b"}", b'{"a":1,"a":2}']),
)


def signed_proof(claims: dict[str, Any]) -> bytes:
    """Return a proof with *claims*, signed by the key in its header."""
    return PROVER.proof("GET", URL, "", None, **claims).encode()


class Credentials(Filter):
    """Reads the headers with credentials."""

    request_headers = (AUTHORIZATION, COOKIE)


def exchange_of(scope: Scope) -> Exchange:
    """Return the exchange of a request whose credentials are read."""
    return behind(bare_application, Credentials()).exchange(scope, None, None)  # type: ignore[arg-type]


tokens = st.one_of(
    st.lists(json.map(encoded), min_size=2, max_size=4).map(b".".join),
    values(TOKEN, *TOKEN.split("."), ".", "=", "-", "_", "+", "/"),
)
proofs = st.one_of(tokens, objects.map(signed_proof))


@given(tokens)
@example(b".".join([encoded(b'{"alg":"ES256"}'), encoded(nested(300)), encoded(b"signature")]))
@example(b".".join([encoded(nested(300)), encoded(b"{}"), encoded(b"signature")]))
@fuzzed
def test_any_token_is_verified_or_raises_invalid_token(token: bytes) -> None:
    with suppress(InvalidToken):
        VERIFIER.verify(parse_jws(token))


@given(objects, objects)
@fuzzed
def test_a_signed_token_with_any_claims_is_verified_or_raises_invalid_token(
    header: dict[str, Any], claims: dict[str, Any]
) -> None:
    token = FORGE.token({**FORGE.header, **header}, {**FORGE.claims, **claims})
    with suppress(InvalidToken):
        assert VERIFIER.verify(parse_jws(token.encode())).subject


@given(tokens | proofs)
@example(b".".join([encoded(nested(300)), encoded(b"{}"), encoded(b"signature")]))
@fuzzed
def test_any_proof_is_verified_or_raises_invalid_token(proof: bytes) -> None:
    with suppress(InvalidToken):
        verify_proof(PresentedProof(proof, ExpectedRequest("GET", URL)), b"", "", now=time.time(), leeway=30.0)


KEY = {"kty": "EC", "crv": "P-256", "x": "", "y": ""}


@given(st.dictionaries(st.sampled_from(["kty", "crv", "x", "y", "d", "alg"]), anything | texts("P-256", "EC", "OKP")))
@fuzzed
def test_a_proof_with_any_key_raises_only_invalid_token(members: dict[str, Any]) -> None:
    for algorithm in ("ES256", "EdDSA"):
        header = {"typ": "dpop+jwt", "alg": algorithm, "jwk": {**KEY, **members}}
        proof = b".".join([encoded(orjson.dumps(header)), encoded(b"{}"), encoded(b"signature")])
        with suppress(InvalidToken):
            verify_proof(PresentedProof(proof, ExpectedRequest("GET", URL)), b"", "", now=time.time(), leeway=30.0)


@given(texts("http", "https", "ws", ":", "/", "//", "@", "[", "]", "..", ".", "%2e", "%", "?", "#", "host", "\ud800"))
@fuzzed
def test_normalization_of_any_url_is_idempotent_or_refused(address: str) -> None:
    with suppress(ValueError):
        assert normalize_htu(normalize_htu(address)) == normalize_htu(address)


fields = st.lists(
    st.tuples(
        st.sampled_from([b"authorization", b"cookie", b"dpop", b"host", b"scalekit-consistency"]),
        tokens | values("Bearer ", "DPoP ", "bearer", " ", TOKEN, "; ", "__Host-Fgp=", "=", CONSISTENCY),
    ),
    max_size=4,
)


@given(fields, st.sampled_from([b"/", b"", b"/\xff", b"//[", b"/%"]))
@fuzzed
def test_any_headers_raise_only_invalid_token(headers: list[tuple[bytes, bytes]], path: bytes) -> None:
    scope = {"type": "http", "headers": headers, "scheme": "http", "method": "GET", "raw_path": path}
    exchange = exchange_of({**scope, "path": path.decode("latin-1")})
    with suppress(InvalidToken):
        normalize_authorization(read_credentials(exchange)[0])
    read_proof(exchange.scope)
    consistency_of(headers, TOKENS)


@given(st.lists(st.sampled_from(["bearer", "dpop", TOKEN, "chat", ""]) | st.text(st.characters(), max_size=5)))
@example(["bearer", "\ud800"])
@example(["dpop", "\u20ac", "\ud800"])
@example(["bearer", TOKEN, "\u20ac"])
@fuzzed
def test_any_subprotocols_leave_valid_headers(offered: list[str]) -> None:
    exchange = exchange_of({"type": "websocket", "path": "/", "subprotocols": offered, "headers": []})
    subprotocol = move_subprotocol_token(exchange)
    for name, value in exchange.scope["headers"]:
        assert isinstance(name, bytes)
        assert isinstance(value, bytes)
    assert bool(subprotocol) == (AUTHORIZATION in exchange.headers)


@given(values("__Host-Fgp", "__Secure-Fgp", "=", ";", " ", "a"), st.text(st.characters()))
@fuzzed
def test_any_cookie_and_digest_are_compared_without_an_error(cookies: bytes, text: str) -> None:
    for secure in (False, True):
        assert isinstance(FingerprintCookie(secure, 60.0).find_match(cookies, decode_digest(text)), bytes)
    assert isinstance(decode_digest(text), bytes)


@given(st.text(st.characters()) | texts(CONSISTENCY, CONSISTENCY[:-1], "=", "A", "_", "-"))
@fuzzed
def test_only_the_signed_consistency_token_is_read(token: str) -> None:
    assert (CODEC.decode(token) is not None) == (token == CONSISTENCY)
