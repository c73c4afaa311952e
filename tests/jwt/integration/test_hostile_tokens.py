"""Hostile tokens with one flaw each, signed with the valid key where possible, are all refused."""

from __future__ import annotations

import asyncio
import hmac
import json
import os
import time
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import ECKey

from scalekit.testing import request
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.jws import parse_jws
from scalekit_jwt.keys.key_file import generate_key
from scalekit_jwt.keys.key_set import KeySet, StaticKeys
from scalekit_jwt.token_verifier import TokenVerifier
from tests.jwt.forged_tokens import TokenForge, encoded
from tests.jwt.harness import service

FORGE = TokenForge()
NOW = int(time.time())
"""When the tokens are created. Future times are a day ahead, because the tests may run much later."""

KIDS: list[Any] = ["../../dev/null", "/dev/null", "' OR 1=1 --", "\x00", "", "é" * 10, 0, None, [], {}, True]
MOMENTS: list[Any] = [1e308, -1, -1e10, "1", str(NOW + 86400), True, [], {}, 10**30, 253402300800]
SUBJECTS: list[Any] = [None, "", 1, [], {}, "ada\x00", True]
SCOPES: list[Any] = [1, {}, [1], True]


def unsigned_token(alg: object, signature: str = "") -> str:
    return f"{encoded({**FORGE.header, 'alg': alg})}.{encoded(FORGE.claims)}.{signature}"


def hmac_token(secret: bytes, **header: object) -> str:
    signed = f"{encoded({**FORGE.header, 'alg': 'HS256', **header})}.{encoded(FORGE.claims)}"
    return f"{signed}.{encoded(hmac.digest(secret, signed.encode(), sha256))}"


def noncanonical_token(part: int) -> str:
    """Return a token with unused bits set in a last base64url character: a non-canonical encoding."""
    alphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    claims = FORGE.claims
    while True:
        parts = FORGE.token(claims=claims).split(".")
        if len(parts[part]) % 4:
            parts[part] = parts[part][:-1] + alphabet[alphabet.index(parts[part][-1]) ^ 1]
            return ".".join(parts)
        claims = {**claims, "pad": claims.get("pad", "") + "x"}


def hostile_tokens() -> Iterator[tuple[str, str]]:
    valid = FORGE.token()
    head, body, signature = valid.split(".")
    public_key = ECKey.import_key(FORGE.key.public()).public_key
    pem = public_key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    attacker = TokenForge()
    jwk = attacker.key.public()

    for alg in ("none", "None", "NONE", "nOnE", "none ", "", None, 0, [], ["none"], {"alg": "none"}, True):
        yield f"alg {alg!r}", unsigned_token(alg)
        yield f"alg {alg!r} with a signature", unsigned_token(alg, signature)
    yield "no alg", FORGE.with_header(alg=None)
    yield "no signature", f"{head}.{body}."
    for alg in ("HS256", "HS384", "RS256", "ES384", "ES512", "EdDSA", "es256", "ES256K", "A128KW", "dir"):
        yield f"alg {alg}", FORGE.with_header(alg=alg)
    yield "the public key as a secret, as PEM", hmac_token(pem)
    yield (
        "the public key as a secret, as DER",
        hmac_token(public_key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)),
    )
    yield "the public key as a secret, as JWK", hmac_token(json.dumps(FORGE.key.public()).encode())
    yield "an empty secret", hmac_token(b"")
    yield "psychic: r = s = 0", f"{head}.{body}.{encoded(bytes(64))}"
    order = 0xFFFFFFFF00000000FFFFFFFFFFFFFFFFBCE6FAADA7179E84F3B9CAC2FC632551
    yield "psychic: r = s = n", f"{head}.{body}.{encoded(order.to_bytes(32, 'big') * 2)}"
    yield "a signature of DER", f"{head}.{body}.{encoded(bytes.fromhex('3006020101020101'))}"
    yield "a long signature", f"{head}.{body}.{signature}AAAA"
    yield "half a signature", f"{head}.{body}.{signature[:43]}"
    yield "the signature of another token", f"{head}.{body}.{attacker.token().rpartition('.')[2]}"
    yield "an embedded key", attacker.token(header={**FORGE.header, "jwk": jwk})
    yield "an embedded key and its kid", attacker.with_header(jwk=jwk)
    for name in ("jku", "x5u"):
        yield name, attacker.token(header={**FORGE.header, name: "http://127.0.0.1:1/keys"})
    yield "x5c", attacker.token(header={**FORGE.header, "x5c": ["MIIB"]})
    for kid in KIDS:
        yield f"kid {kid!r}", FORGE.token(header={**FORGE.header, "kid": kid})
    for crit in (["exp"], ["b64"], [], None, "exp"):
        yield f"crit {crit!r}", FORGE.token(header={**FORGE.header, "crit": crit, "b64": False})
    for typ in (
        "refresh+jwt",
        "JWT",
        "jwt",
        "dpop+jwt",
        "logout+jwt",
        "",
        None,
        1,
        ["at+jwt"],
        "at+jwt\x00",
        "AT+JWT ;",
    ):
        yield f"typ {typ!r}", FORGE.token(header={**FORGE.header, "typ": typ})
    yield "no typ", FORGE.with_header(typ=None)

    yield "expired", FORGE.with_claims(exp=NOW - 31)
    for name in ("exp", "nbf", "iat"):
        for value in MOMENTS:
            yield f"{name} {value!r}", FORGE.with_claims(**{name: value})
        for text in ("NaN", "Infinity", "-Infinity", "1e999", "00"):
            members = json.dumps({**FORGE.claims, name: "HERE"}).replace('"HERE"', text)
            yield f"{name} {text}", FORGE.token(claims=members)
    yield "exp null", FORGE.token(claims={**FORGE.claims, "exp": None})
    yield "no exp", FORGE.with_claims(exp=None)
    yield "nbf to come", FORGE.with_claims(nbf=NOW + 86400)
    yield "iat to come", FORGE.with_claims(iat=NOW + 86400)
    for aud in (None, "", "scalekit2", "scaleki", "SCALEKIT", [], ["other"], ["scalekit", 1], {"scalekit": 1}, 1, True):
        yield f"aud {aud!r}", FORGE.with_claims(aud=aud)
    for iss in (None, "", "scalekit/", "SCALEKIT", "scalekit\x00", ["scalekit"], {"scalekit": 1}, 1, "\u017fcalekit"):
        yield f"iss {iss!r}", FORGE.with_claims(iss=iss)
    for sub in SUBJECTS:
        yield f"sub {sub!r}", FORGE.with_claims(sub=sub)
    for scope in SCOPES:
        yield f"scope {scope!r}", FORGE.with_claims(scope=scope)

    members = json.dumps(FORGE.claims)
    yield "a claim twice", FORGE.token(claims=members[:-1] + ', "sub": "root"}')
    yield "a claim twice, spelled otherwise", FORGE.token(claims=members[:-1] + ', "s\\u0075b": "root"}')
    compact = json.dumps(FORGE.claims, separators=(",", ":"))
    yield "a claim twice, compact", FORGE.token(claims=compact[:-1] + ',"sub":"root"}')
    # Numbers that serialize longer make up for the dropped duplicate.
    yield (
        "a claim twice, no longer than once",
        FORGE.token(claims=compact[:-1] + ',"sub":"ada","x":[1e2,1e2,1e2,1e2,1e2,1e2]}'),
    )
    yield "a claim twice, nested", FORGE.token(claims=compact[:-1] + ',"x":{"a":1,"a":2}}')
    yield "a header field twice", FORGE.token(header=json.dumps(FORGE.header)[:-1] + ', "alg": "ES256"}')
    for content in ("", "null", "[]", "1", '"x"', "{", "{}x", "\ufeff{}", "{'sub': 1}", "[" * 4000):
        yield f"claims {content[:9]!r}", FORGE.token(claims=content)
        yield f"header {content[:9]!r}", FORGE.token(header=content)
    yield "UTF-16", FORGE.token(claims=compact.encode("utf-16"))
    yield "broken UTF-8", FORGE.token(claims=compact.encode().replace(b"ada", b"\xff\xfe"))
    yield "a lone surrogate", FORGE.token(claims=compact.replace("ada", "\\ud800"))
    yield "a comment", FORGE.token(claims="/**/" + compact)
    yield "a trailing comma", FORGE.token(claims=compact[:-1] + ",}")

    for part in range(3):
        yield f"unused bits in part {part}", noncanonical_token(part)
    yield "padding", f"{head}=.{body}.{signature}"
    yield "more padding", f"{head}.{body}.{signature}=="
    yield (
        "plain base64",
        FORGE.token(claims={**FORGE.claims, "x": "???>>>~~~"}).replace("_", "/").replace("-", "+") + "+",
    )
    yield "a space inside", f"{head}. {body}.{signature}"
    yield "a line break", f"{head}.{body}\n.{signature}"
    yield "a NUL", f"{valid}\x00"
    yield "two parts", f"{head}.{body}"
    yield "four parts", f"{valid}.{signature}"
    yield "five parts", f"{head}..{body}.{signature}.{signature}"
    yield "dots", ".."
    yield "nothing between dots", f"{head}..{signature}"
    yield "one word", "token"
    yield "JSON serialisation", json.dumps({"protected": head, "payload": body, "signature": signature})
    yield "nested", f"{encoded({**FORGE.header, 'cty': 'JWT'})}.{encoded(valid)}.{signature}"
    yield "full-width letters", valid.replace("e", "\uff45".encode().decode("latin-1"), 1)
    yield "over 8 KB", FORGE.with_claims(x="x" * 8192)
    yield "a megabyte of header", FORGE.with_header(x="x" * 1_000_000)
    yield "two tokens", f"{valid}, {valid}"
    yield "the kid of another issuer", attacker.token()


CASES = list(hostile_tokens())


def test_there_are_many_hostile_tokens_and_all_differ() -> None:
    assert len({token for _, token in CASES}) >= 60
    assert len({name for name, _ in CASES}) == len(CASES)


@pytest.fixture(scope="module")
def key_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "keys.json"
    second = generate_key("ES256")
    with open(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600), "w") as file:
        json.dump({"keys": [FORGE.member, second]}, file)
    return path


@pytest.mark.anyio
async def test_every_hostile_token_gets_a_401(key_file: Path) -> None:
    table = {"key_file": str(key_file), "algorithm": "ES256", "fingerprint": False}
    async with service(table) as client:
        client.token = FORGE.token()
        assert (await client.api()).status == 200, "the token without a flaw is valid"
        client.token = FORGE.with_header(jku="http://127.0.0.1:1/", x5u="http://127.0.0.1:1/")
        assert (await client.api()).status == 200, "jku and x5u are ignored"
        accepted = []
        for name, token in CASES:
            response = await request(
                client.app,
                "/api/user",
                headers={"authorization": f"Bearer {token.encode('utf-8', 'surrogatepass').decode('latin-1')}"},
                state=client.state,
            )
            if response.status != 401 or b"ada" in response.body:
                accepted.append((name, response.status))
        assert accepted == []


@pytest.mark.anyio
async def test_no_response_and_no_log_line_contains_part_of_a_token(
    key_file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with service({"key_file": str(key_file), "algorithm": "ES256", "fingerprint": False}) as client:
        for _, token in CASES:
            if len(token) < 20 or not token.isascii():
                continue
            client.token = token
            response = await client.api()
            message = response.body + b"".join(name + value for name, value in response.headers)
            assert token[:20].encode() not in message
            assert token[:20] not in caplog.text


@given(st.binary(max_size=300) | st.text(max_size=100).map(lambda text: text.encode("utf-8", "surrogatepass")))
def test_any_token_is_parsed_or_raises_invalid_token(token: bytes) -> None:
    try:
        parse_jws(token)
    except InvalidToken:
        pass


PREFIXES = st.sampled_from(
    ["", "Bearer ", "bearer ", "BEARER\t", "Basic ", "Bearer  ", "Bearer", ", ", "Digest ", "DPoP ", "dpop\t"]
)
HEADERS = st.text(alphabet=st.characters(max_codepoint=255), max_size=200)
PIECES = st.lists(st.sampled_from([*FORGE.token().split("."), "", ".", "e30", "=", "\x00"]), max_size=5).map(".".join)


@given(PREFIXES, HEADERS | PIECES, HEADERS | st.just("__Host-Fgp=") | HEADERS.map("__Host-Fgp={}".format))
def test_any_header_and_cookie_gets_a_401(prefix: str, value: str, cookie: str) -> None:

    async def send_all() -> int:
        async with service() as client:
            for target in ("/api/user", "/auth/refresh", "/auth/logout", "/open"):
                method = "POST" if target.startswith("/auth") else "GET"
                headers = {"authorization": prefix + value, "cookie": cookie, "dpop": value}
                response = await request(
                    client.app,
                    target,
                    method=method,
                    headers=headers,
                    body=b'{"refresh_token": "a.b.c"}',
                    state=client.state,
                )
                assert response.status == (200 if target == "/open" else 401)
        return 0

    asyncio.run(send_all())


def test_a_verifier_refuses_tokens_of_another_issuer() -> None:
    keys = StaticKeys(KeySet([FORGE.key]))
    issuer = TokenVerifier("scalekit", "scalekit", frozenset({"at+jwt"}), keys, 30.0, time.time)
    assert issuer.verify(parse_jws(FORGE.token().encode())).subject == "ada"
    with pytest.raises(InvalidToken, match="issuer"):
        issuer.verify(parse_jws(FORGE.with_claims(iss="scalekit2").encode()))
