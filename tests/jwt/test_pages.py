"""The page of tokens, with every session store."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest

from tests.jwt.harness import JwtClient, service
from tests.jwt.issuer_server import IssuerServer

pytestmark = pytest.mark.anyio

HOSTILE = "<script>alert(1)</script>"


@asynccontextmanager
async def console(
    table: Mapping[str, Any] | None = None, plugins: Mapping[str, Any] | None = None
) -> AsyncGenerator[JwtClient, None]:
    async with service(table, {**(plugins or {}), "console": {}}, operator_networks=["127.0.0.1"]) as client:
        yield client


async def blocks(client: JwtClient, **query: str) -> list[dict[str, Any]]:
    response = await client.send(f"/-/tokens.json?{urlencode(query)}")
    assert response.status == 200
    found: list[dict[str, Any]] = orjson.loads(response.body)["blocks"]
    return found


async def rows(client: JwtClient, title: str, **query: str) -> list[list[Any]]:
    (table,) = [block for block in await blocks(client, **query) if block.get("title", "").startswith(title)]
    found: list[list[Any]] = table["rows"]
    return found


async def act(client: JwtClient, action: str, **values: str) -> dict[str, Any]:
    response = await client.send(f"/-/tokens/{action}", "POST", values, **{"content-type": "application/json"})
    (result,) = orjson.loads(response.body)["results"]
    return dict(result)


async def refused(client: JwtClient) -> None:
    """Wait until the poller has seen the revocation."""
    async with asyncio.timeout(30):
        while (await client.api()).status != 401:
            await asyncio.sleep(0.02)


async def test_sessions_of_a_user_are_shown_and_ended(plugins: Mapping[str, Any]) -> None:
    async with console(plugins=plugins) as client:
        started = time.time()
        devices = [client.new_client() for _ in range(3)]
        for device in devices:
            await device.login("ada")
        bob = client.new_client()
        await bob.login(HOSTILE)
        devices[0].store_tokens(await devices[0].refresh())
        sessions = await rows(client, "Sessions", subject="ada")
        assert len(sessions) == 3
        assert all(started - 1 <= row[1] <= time.time() for row in sessions)
        assert sorted(row[2] is not None for row in sessions) == [False, False, True]
        (refreshed,) = [row for row in sessions if row[2] is not None]
        done = await act(client, "end", session=refreshed[0])
        assert not done["failed"]
        await refused(devices[0])
        assert (await devices[0].refresh()).status == 401
        assert (await devices[1].api()).status == 200
        assert len(await rows(client, "Sessions", subject="ada")) == 2
        assert not (await act(client, "end-all", subject="ada"))["failed"]
        await refused(devices[1])
        assert await rows(client, "Sessions", subject="ada") == []
        assert len(await rows(client, "Sessions", subject=HOSTILE)) == 1
        assert (await bob.api()).status == 200


async def test_no_token_and_no_key_is_shown(plugins: Mapping[str, Any], tmp_path: Path) -> None:
    async with console({"key_file": str(tmp_path / "keys.json")}, plugins) as client:
        device = client.new_client()
        await device.login(HOSTILE)
        (key,) = orjson.loads((tmp_path / "keys.json").read_bytes())["keys"]
        ((kid, algorithm, use, age, until_time),) = await rows(client, "Keys of this service")
        assert (kid, algorithm, use, until_time) == (key["kid"], "HS256", "signs, verifies", None)
        assert age is not None
        for target in ("/-/tokens", "/-/tokens.json"):
            page = await client.send(f"{target}?{urlencode({'subject': HOSTILE})}", accept="text/html")
            assert page.status == 200
            for secret in (key["k"], device.token, device.refresh_token, HOSTILE):
                if target == "/-/tokens" or secret != HOSTILE:
                    assert secret.encode() not in page.body


async def test_tokens_are_counted_by_outcome() -> None:
    async with console({"rotation_grace": "0s"}) as client:
        await client.login("ada")
        used = client.refresh_token
        await client.api()
        await client.api()
        await client.api(authorization="Bearer wrong")
        client.store_tokens(await client.refresh())
        await client.refresh(used)
        counts = {(kind, outcome): count for kind, outcome, count in await rows(client, "Counts")}
        assert counts["sessions", "started"] == 1
        assert counts["verified", "cached"] == counts["verified", "verified"] == 1
        assert counts["refused", "malformed"] == 1
        assert counts["refreshes", "rotated"] == counts["refreshes", "reused"] == 1


async def test_keys_of_trusted_issuers_are_shown_with_their_fetch() -> None:
    issuer = IssuerServer()
    with issuer.serving():
        async with console(issuer.table()) as client:
            ((worker, name, kids, fetched, following, error),) = await rows(client, "Keys of trusted issuers")
            assert (worker, name, kids, error) == ("1", issuer.url, issuer.forge.key.kid, "")
            assert following == fetched + 300
        issuer.status = 500
        async with console(issuer.table()) as client:
            ((_, _, kids, fetched, _, error),) = await rows(client, "Keys of trusted issuers")
            assert (kids, fetched) == ("", None)
            assert error.startswith(f"JWKS of {issuer.url} cannot be fetched")


async def test_mistakes_are_explained(plugins: Mapping[str, Any]) -> None:
    async with console(plugins=plugins) as client:
        notices = [each["text"] for each in await blocks(client, subject="ada", issuer="other") if "tone" in each]
        assert notices == ["Sessions of users of other are stored there."]
        assert await rows(client, "Sessions", subject="a\0b") == []
        for action, field in (("end", "session"), ("end-all", "subject")):
            done = await act(client, action, **{field: "a\0b"})
            assert done["failed"]
            assert "null character" in done["message"]
