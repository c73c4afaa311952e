"""Tokens of trusted issuers, whose JWK sets are fetched over HTTP."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from typing import Any

import orjson
import pytest

from scalekit import ConfigError
from scalekit.telemetry import Telemetry
from scalekit_jwt.keys.jwks_refresh import RemoteJwks, parse_jwks
from scalekit_jwt.metrics import JwtMetrics
from scalekit_jwt.plugin import COMPONENTS
from tests.jwt.dpop_client import DpopClient
from tests.jwt.forged_tokens import TokenForge
from tests.jwt.harness import JwtClient, health, service
from tests.jwt.issuer_server import IssuerServer

pytestmark = pytest.mark.anyio


@pytest.fixture
def issuer() -> Iterator[IssuerServer]:
    with IssuerServer().serving() as issuer:
        yield issuer


async def status_of(client: JwtClient, token: str) -> int:
    client.token = token
    return (await client.api()).status


@pytest.mark.parametrize("by", ["discovery", "jwks"])
async def test_tokens_of_a_trusted_issuer_need_no_cookie(issuer: IssuerServer, by: str) -> None:
    jwks = {"jwks_url": f"{issuer.url}/keys"} if by == "jwks" else {}
    async with service(issuer.table(**jwks)) as client:
        client.token = issuer.forge.with_claims(scope="read")
        assert orjson.loads((await client.api()).body) == {"user": "ada", "scopes": ["read"]}
        for typ in (None, "JWT", "application/at+jwt"):
            assert await status_of(client, issuer.forge.with_header(typ=typ)) == 200
        assert await status_of(client, issuer.forge.with_header(typ="logout+jwt")) == 401
        assert await status_of(client, issuer.forge.with_claims(aud="another")) == 401
        assert await status_of(client, issuer.forge.with_claims(iss="scalekit")) == 401, (
            "its key verifies its own tokens only"
        )
        assert await status_of(client, TokenForge("RS256", issuer.url, "shop").token()) == 401


async def test_a_bound_token_of_a_trusted_issuer_needs_a_proof(issuer: IssuerServer) -> None:
    async with service(issuer.table()) as client:
        holder = DpopClient(client)
        token = issuer.forge.with_claims(cnf={"jkt": holder.prover.thumbprint})
        assert await status_of(client, token) == 401
        assert str((await client.api()).header("www-authenticate")).startswith("DPoP")
        assert (await holder.api()).status == 200
        assert (await DpopClient(client).api()).status == 401, "another key"
        confirmations: list[Any] = ["key", {"jkt": 1}, {"jkt": ""}, {"x5t#S256": "bound"}, {"jwk": {}}, {"kid": "1"}]
        for confirmation in confirmations:
            client.token = issuer.forge.with_claims(cnf=confirmation)
            assert (await client.api()).status == (await holder.api()).status == 401


async def test_scopes_are_separated_by_spaces_only(issuer: IssuerServer) -> None:
    async with service(issuer.table()) as client:
        client.token = issuer.forge.with_claims(scope=" read  a\u00a0b c\td\u2003e ")
        assert orjson.loads((await client.api()).body)["scopes"] == ["read", "a\u00a0b", "c\td\u2003e"]


async def test_an_unknown_key_is_fetched_once_and_no_request_is_refused(issuer: IssuerServer) -> None:
    async with service(issuer.table(jwks_url=f"{issuer.url}/keys", jwks_min_interval="10ms")) as client:
        assert await status_of(client, issuer.forge.token()) == 200
        new = TokenForge("RS256", issuer.url, "shop")
        issuer.publish(issuer.forge, new)
        (keys,) = client.app.context.get(COMPONENTS).jwks
        while keys._within_min_interval:
            await asyncio.sleep(0.01)
        before = len(issuer.requested_paths)
        others = [client.new_client() for _ in range(50)]
        assert await asyncio.gather(*(status_of(each, new.token()) for each in others)) == [200] * 50
        assert len(issuer.requested_paths) == before + 1


async def test_random_kids_cause_no_fetches_within_the_min_interval(issuer: IssuerServer) -> None:
    async with service(
        issuer.table(jwks_url=f"{issuer.url}/keys", jwks_min_interval="1h", jwks_refresh_interval="2h")
    ) as client:
        for number in range(200):
            assert await status_of(client, issuer.forge.with_header(kid=f"{number}")) == 401
        assert len(issuer.requested_paths) == 1
        assert await status_of(client, issuer.forge.token()) == 200


async def test_the_last_keys_stay_in_use_while_the_issuer_is_unavailable(issuer: IssuerServer) -> None:
    table = issuer.table(jwks_url=f"{issuer.url}/keys", jwks_min_interval="10ms", jwks_refresh_interval="10ms")
    async with service(table) as client:
        assert await status_of(client, issuer.forge.token()) == 200
        for document, status in ((b"{", 200), (b"[]", 200), (b"x" * 2_000_000, 200), ({"keys": []}, 200), (b"", 500)):
            issuer.documents["/keys"], issuer.status = document, status
            before = len(issuer.requested_paths)
            while len(issuer.requested_paths) < before + 3:
                await asyncio.sleep(0.01)
            assert await status_of(client, issuer.forge.with_claims(jti=str(time.time()))) == 200
            assert f"JWKS of {issuer.url} cannot be fetched" in await health(client)


async def test_a_withdrawn_key_is_refused_after_the_next_fetch(issuer: IssuerServer) -> None:
    table = issuer.table(jwks_url=f"{issuer.url}/keys", jwks_min_interval="10ms", jwks_refresh_interval="10ms")
    async with service(table) as client:
        token = issuer.forge.token()
        assert await status_of(client, token) == 200
        issuer.publish(TokenForge("RS256", issuer.url, "shop"))
        while await status_of(client, token) == 200:
            await asyncio.sleep(0.01)


async def test_the_service_starts_without_the_issuer_and_accepts_its_tokens_later(issuer: IssuerServer) -> None:
    issuer.status = 503
    async with service(issuer.table(jwks_min_interval="10ms")) as client:
        assert await status_of(client, issuer.forge.token()) == 401
        issuer.status = 200
        while await status_of(client, issuer.forge.token()) == 401:
            await asyncio.sleep(0.01)


async def test_metadata_of_another_issuer_is_refused(issuer: IssuerServer) -> None:
    issuer.documents["/.well-known/openid-configuration"]["issuer"] = "https://evil.example"
    async with service(issuer.table()) as client:
        assert await status_of(client, issuer.forge.token()) == 401
    assert "/keys" not in issuer.requested_paths


async def test_a_token_of_a_trusted_issuer_is_revoked_by_issuer_and_jti(issuer: IssuerServer) -> None:
    async with service(issuer.table()) as client:
        client.token = issuer.forge.with_claims(jti="7")
        assert (await client.api()).status == 200
        await client.send("/revoke", "POST", {"jti": "7"})
        assert (await client.api()).status == 200, "without issuer the jti is one of this service"
        await client.send("/revoke", "POST", {"jti": "7", "issuer": issuer.url})
        while (await client.api()).status == 200:
            await asyncio.sleep(0.01)


def test_unsuitable_keys_are_ignored() -> None:
    suitable, short = TokenForge("RS256").key.public(), TokenForge("HS256").member
    document = {
        "keys": [
            {**suitable, "use": "enc", "kid": "a"},
            short,
            1,
            {},
            {"kty": "RSA"},
            TokenForge("ES256").key.public(),
            suitable,
        ]
    }
    keys, rejected = parse_jwks(document, ["RS256"])
    assert [key.kid for key in keys.keys] == [suitable["kid"]]
    assert [each.partition(":")[0] for each in rejected] == ["keys[4]"]
    with pytest.raises(ValueError, match="no key"):
        parse_jwks({"keys": [short]}, ["RS256"])
    with pytest.raises(ValueError, match="different keys have the kid"):
        parse_jwks({"keys": [suitable, {**TokenForge("RS256").key.public(), "kid": suitable["kid"]}]}, ["RS256"])


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"jwks_url": "http://keys.example/"}, "https"),
        ({"issuer": "http://127.0.0.1.example"}, "https"),
        ({"algorithms": ["RS256", "ES256"]}, "one type of key"),
        ({"algorithms": ["HS256"]}, "algorithms"),
        ({"jwks_min_interval": "1h"}, "longer than jwks_refresh_interval"),
        ({"issuer": "scalekit", "jwks_url": "https://keys.example/"}, "same name"),
    ],
)
async def test_an_insecure_issuer_is_refused(changes: dict[str, Any], message: str) -> None:
    table = {"issuer": "https://login.example", "audience": "shop", **changes}
    with pytest.raises(ConfigError, match=message):
        async with service({"issuers": [table]}):
            pass


async def test_waiting_for_a_key_times_out(monkeypatch: pytest.MonkeyPatch) -> None:
    async def never() -> dict[str, Any]:
        await asyncio.Event().wait()
        return {}

    monkeypatch.setattr("scalekit_jwt.keys.jwks_refresh.KEY_WAIT_TIMEOUT", 0.01)
    keys = RemoteJwks(
        "https://login.example", ["RS256"], never, JwtMetrics(Telemetry(100)), refresh_interval=3600, min_interval=0.0
    )
    running = asyncio.create_task(keys.run(lambda: None))
    await asyncio.sleep(0)
    assert await keys.wait_for_keys() is False
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
