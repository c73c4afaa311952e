"""Tokens bound to a key of the client with DPoP (RFC 9449)."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from joserfc.jwk import OKPKey

from scalekit.testing import request
from scalekit_jwt.dpop import ExpectedRequest, PresentedProof, digest, verify_proof
from scalekit_jwt.errors import InvalidToken
from scalekit_jwt.jws import parse_jws
from tests.jwt.dpop_client import DpopClient, DpopProver
from tests.jwt.forged_tokens import TokenForge
from tests.jwt.harness import service

pytestmark = pytest.mark.anyio
DPOP = {"sender_constraint": "dpop"}
CHALLENGE = 'DPoP realm="api", algs="ES256 EdDSA"'


async def test_a_bound_token_with_a_new_proof_is_accepted_with_every_store(
    plugins: Mapping[str, Any],
) -> None:
    async with service(DPOP, plugins) as client:
        holder = DpopClient(client)
        response = await holder.login("ada", scopes=["read"])
        assert response.status == 200
        assert response.header("set-cookie") is None, "the key replaces the cookie"
        for token in (client.token, client.refresh_token):
            assert parse_jws(token.encode()).claims["cnf"] == {"jkt": holder.prover.thumbprint}
        for _ in range(2):  # the second is a cache hit
            response = await holder.api()
            assert orjson.loads(response.body) == {"user": "ada", "scopes": ["read"]}
        proof = holder.prover.proof("GET", holder.url("/api/user"), client.token)
        at_once = await asyncio.gather(*(holder.api(dpop=proof) for _ in range(20)))
        assert sorted(response.status for response in at_once) == [200] + [401] * 19, "a proof is valid once"
        again = await holder.api(dpop=proof)
        assert again.status == 401
        assert again.header("www-authenticate") == (
            f'{CHALLENGE}, error="invalid_dpop_proof", error_description="the DPoP proof was already used"'
        )


async def test_a_refresh_needs_a_proof_of_the_same_key_and_returns_bound_tokens() -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        for other in (client, DpopClient(client, DpopProver())):
            response = await other.refresh()
            assert response.status == 401
            assert str(response.header("www-authenticate")).startswith(CHALLENGE)
        response = await holder.refresh()
        assert orjson.loads(response.body)["token_type"] == "DPoP"
        client.store_tokens(response)
        assert parse_jws(client.token.encode()).claims["cnf"] == {"jkt": holder.prover.thumbprint}
        assert (await holder.api()).status == 200
        assert (await holder.refresh()).status == 200, "the refused requests did not use the refresh token"


@pytest.mark.parametrize("kind", ["DPoP+JWT", "application/dpop+jwt", "Application/DPOP+jwt"])
async def test_the_type_of_a_proof_is_a_media_type(kind: str) -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        proof = holder.prover.proof("GET", holder.url("/api/user"), client.token, {"typ": kind})
        assert (await client.api(authorization=f"DPoP {client.token}", dpop=proof)).status == 200


async def test_a_logout_needs_a_proof_too() -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        assert (await client.logout()).status == 401
        assert (await holder.api()).status == 200
        assert (await holder.refresh("/auth/logout")).status == 204
        assert (await holder.refresh()).status == 401


async def test_a_login_without_a_proof_is_refused() -> None:
    async with service(DPOP) as client:
        response = await client.send("/login", "POST", {"subject": "ada"})
        assert response.status == 401
        assert 'error="invalid_dpop_proof"' in str(response.header("www-authenticate"))
        response = await client.send("/api/user")
        assert (response.status, response.header("www-authenticate")) == (401, CHALLENGE)


@pytest.mark.parametrize("scheme", ["Bearer", "bearer", "DPoP", "dpop"])
async def test_a_bound_token_needs_the_dpop_scheme_and_an_unbound_token_bearer(scheme: str) -> None:
    async with service(DPOP) as bound, service({"fingerprint": False}) as unbound:
        holder, other = DpopClient(bound), DpopClient(unbound)
        await holder.login("ada")
        await other.login("ada")
        is_dpop = scheme.lower() == "dpop"
        assert (await holder.api(authorization=f"{scheme} {bound.token}")).status == (200 if is_dpop else 401)
        assert (await other.api(authorization=f"{scheme} {unbound.token}")).status == (401 if is_dpop else 200)


async def test_unbound_tokens_are_refused_once_dpop_is_required() -> None:
    async with service({"fingerprint": False}) as before:
        await before.login("ada")
        async with service(DPOP) as after:
            after.token, after.refresh_token = before.token, before.refresh_token
            assert (await after.api()).status == 401
            holder = DpopClient(after)
            assert (await holder.api()).status == 401
            assert (await holder.refresh()).status == 401


async def test_bound_tokens_need_a_proof_even_when_dpop_is_no_longer_required() -> None:
    async with service(DPOP) as before:
        holder = DpopClient(before)
        await holder.login("ada")
        async with service({"fingerprint": False}) as after:
            after.token = before.token
            assert (await after.api()).status == 401
            holder.client = after
            assert (await holder.api()).status == 200


@pytest.mark.filterwarnings("ignore:EdDSA")
async def test_an_ed25519_key_is_accepted() -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client, DpopProver(OKPKey.generate_key("Ed25519"), "EdDSA"))
        await holder.login("ada")
        assert (await holder.api()).status == 200


PUBLIC = DpopProver()
HEADERS: dict[str, dict[str, Any]] = {
    "another type": {"typ": "jwt"},
    "a type with two prefixes": {"typ": "application/application/dpop+jwt"},
    "a type of another media type tree": {"typ": "text/dpop+jwt"},
    "no type": {"typ": None},
    "no key": {"jwk": None},
    "a private key": {"jwk": PUBLIC.key.as_dict(private=True)},
    "a secret": {"jwk": {"kty": "oct", "k": "c2VjcmV0"}},
    "an incomplete key": {"jwk": {"kty": "EC", "crv": "P-256", "x": PUBLIC.key.as_dict()["x"]}},
    "a key off the curve": {"jwk": {**PUBLIC.key.as_dict(private=False), "x": "AAAA"}},
    "another curve": {"jwk": {**PUBLIC.key.as_dict(private=False), "crv": "P-384"}},
    "an unknown curve": {"jwk": {**PUBLIC.key.as_dict(private=False), "crv": "P-1"}},
    "a number in the key": {"jwk": {**PUBLIC.key.as_dict(private=False), "x": 1}},
    "the key of another client": {"jwk": DpopProver().key.as_dict(private=False)},
}
CLAIMS: dict[str, dict[str, Any]] = {
    "another method": {"htm": "POST"},
    "no method": {"htm": None},
    "another host": {"htu": "http://localhost.example/api/user"},
    "another port": {"htu": "http://localhost:81/api/user"},
    "another scheme": {"htu": "https://localhost/api/user"},
    "another path": {"htu": "http://localhost/api/users"},
    "a path in upper case": {"htu": "http://localhost/API/user"},
    "no URL": {"htu": None},
    "a URL that is a number": {"htu": 1},
    "an invalid URL": {"htu": "http://[::1/api/user"},
    "a user in the URL": {"htu": "http://ada@localhost/api/user"},
    "no jti": {"jti": None},
    "a jti that is a number": {"jti": 1},
    "another token": {"ath": "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"},
    "no token": {"ath": None},
    "no iat": {"iat": None},
    "an iat that is a string": {"iat": "now"},
    "an expired proof": {"iat": int(time.time()) - 3600},
    "an iat in the future": {"iat": int(time.time()) + 3600},
}


@pytest.mark.parametrize("fault", [*HEADERS, *CLAIMS])
async def test_an_invalid_proof_is_refused(fault: str) -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client, PUBLIC)
        await holder.login("ada")
        address = holder.url("/api/user")
        valid = PUBLIC.proof("GET", address, client.token)
        assert (await holder.api(dpop=valid)).status == 200, "the proof without the fault is valid"
        invalid = PUBLIC.proof("GET", address, client.token, header=HEADERS.get(fault), **CLAIMS.get(fault, {}))
        response = await holder.api(dpop=invalid)
        assert response.status == 401
        assert str(response.header("www-authenticate")).startswith(CHALLENGE)
        assert invalid[-20:] not in str(response)


@pytest.mark.parametrize("proof", ["", "x", "x.y.z", "é", "{0}, {0}", "{0}.", "{0}=", "{1}"])
async def test_a_malformed_proof_is_refused(proof: str) -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        valid = holder.prover.proof("GET", holder.url("/api/user"), client.token)
        invalid = proof.format(valid, valid[:-4] + ("AAAA" if valid[-4:] != "AAAA" else "BBBB"))
        assert (await holder.api(dpop=invalid)).status == 401
        assert (await holder.api(dpop=valid)).status == 200, "the malformed proof did not use the valid one"


async def test_two_proofs_are_refused() -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        first, second = (holder.prover.proof("GET", holder.url("/api/user"), client.token) for _ in range(2))
        fields = {"authorization": f"DPoP {client.token}", "dpop": first, "DPoP": second}
        assert (await request(client.app, "/api/user", headers=fields, state=client.state)).status == 401


@pytest.mark.parametrize(
    "address",
    [
        "http://localhost/api/user",
        "HTTP://LOCALHOST:80/api/user?a=b#c",
        "http://localhost/api/%75ser",
        "http://localhost/x/../api/./user",
    ],
)
async def test_htu_is_compared_normalized(address: str) -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        proof = holder.prover.proof("GET", address, client.token)
        assert (await holder.api("/api/user?page=2", dpop=proof)).status == 200


async def test_an_invalid_proof_makes_the_user_anonymous_on_a_public_path() -> None:
    async with service(DPOP) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        assert orjson.loads((await holder.api("/open", dpop="x")).body)["user"] is None
        assert orjson.loads((await holder.api("/open")).body)["user"] == "ada"


# The proof of section 5 of RFC 9449, the thumbprint of its key in section 6.1, and the hash in section 7.1.
PROOF = (
    "eyJ0eXAiOiJkcG9wK2p3dCIsImFsZyI6IkVTMjU2IiwiandrIjp7Imt0eSI6IkVDIiwieCI6Imw4dEZyaHgtMzR0VjNoUklDUkRZOXpDa0RscEJo"
    "RjQyVVFVZldWQVdCRnMiLCJ5IjoiOVZFNGpmX09rX282NHpiVFRsY3VOSmFqSG10NnY5VERWclUwQ2R2R1JEQSIsImNydiI6IlAtMjU2In19.eyJq"
    "dGkiOiItQndDM0VTYzZhY2MybFRjIiwiaHRtIjoiUE9TVCIsImh0dSI6Imh0dHBzOi8vc2VydmVyLmV4YW1wbGUuY29tL3Rva2VuIiwiaWF0IjoxN"
    "TYyMjYyNjE2fQ.2-GxA6T8lP4vfrg8v-FdWP0A0zdrj8igiMLvqRMUvwnQg4PtFLbdLXiOSsX0x7NVY-FNyJK70nfbV37xRZT3Lg"
)
ISSUED_AT = 1562262616.0


async def test_the_proof_of_rfc_9449_is_valid_until_it_expires() -> None:
    presented = PresentedProof(PROOF.encode(), ExpectedRequest("POST", "https://server.example.com/token"))
    for now in (ISSUED_AT - 30, ISSUED_AT, ISSUED_AT + 59):
        assert (
            verify_proof(presented, b"", "", now=now, leeway=30.0).jkt == "0ZcOCORZNYy-DWpqq30jZyJGHTN0d2HglBV3uiguA4I"
        )
    for now in (ISSUED_AT - 31, ISSUED_AT + 60):
        with pytest.raises(InvalidToken):
            verify_proof(presented, b"", "", now=now, leeway=30.0)
    assert digest(b"Kz~8mXK1EalYznwH-LC-1fBAo.4Ljp~zsPE_NeO.gxU") == "fUHyO2r2Z3DZ53EsNrWBb0xWXoaNy59IiKCAqksmQEo"


@given(st.binary(max_size=200).map(lambda raw: raw.decode("latin-1")))
def test_any_proof_header_raises_only_invalid_token(proof: str) -> None:
    presented = PresentedProof(proof.encode("latin-1"), ExpectedRequest("GET", "http://localhost/"))
    with pytest.raises(InvalidToken):
        verify_proof(presented, b"", "", now=ISSUED_AT, leeway=30.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(st.sampled_from(["alg", "typ", "jwk", "kty", "crv", "x", "y", "htm", "htu", "iat", "jti", "ath", "crit"]), JSON)
def test_any_proof_member_raises_only_invalid_token(name: str, value: Any) -> None:
    forge = TokenForge()
    key = {**PUBLIC.key.as_dict(private=False), **({name: value} if name in ("kty", "crv", "x", "y") else {})}
    header = {"alg": "ES256", "typ": "dpop+jwt", "jwk": key}
    claims: dict[str, Any] = {"htm": "GET", "htu": "http://localhost/", "iat": ISSUED_AT, "jti": "one"}
    for part in (header, claims):
        if name in part:
            part[name] = value
    header |= {"crit": value} if name == "crit" else {}
    presented = PresentedProof(forge.token(header, claims).encode(), ExpectedRequest("GET", "http://localhost/"))
    with pytest.raises(InvalidToken):  # the signature is of another key too
        verify_proof(presented, b"token", "", now=ISSUED_AT, leeway=30.0)


async def test_fingerprint_and_dpop_exclude_each_other() -> None:
    with pytest.raises(Exception, match="replaces the cookie"):
        async with service({**DPOP, "fingerprint": True}):
            pass
