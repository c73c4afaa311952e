"""DPoP proofs are verified only for clients within their rate limit."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from scalekit_jwt.keys.key_set import SigningKey
from tests.jwt.dpop_client import DpopClient
from tests.jwt.harness import service
from tests.servers import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as redis:
        yield redis


async def test_a_client_over_the_limit_gets_429_before_its_proof_is_verified(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    verified: list[bytes] = []
    real = SigningKey.verify

    def counted(key: SigningKey, signed: bytes, signature: bytes) -> bool:
        verified.append(signed)
        return real(key, signed, signature)

    monkeypatch.setattr(SigningKey, "verify", counted)
    limits = [{"name": "all", "limit": "3/1d", "path": "/api/*"}]
    plugins = {
        "ratelimit": {"url": server.url, "policies": limits, "store_timeout": "10s"},
        "cache": {"url": server.url, "policies": [{"path": "/open", "ttl": "1h"}], "store_timeout": "10s"},
    }
    async with service({"sender_constraint": "dpop"}, plugins) as client:
        holder = DpopClient(client)
        await holder.login("ada")
        assert (await holder.api()).status == 200
        del verified[:]
        used = holder.prover.proof("GET", holder.url("/api/user"), client.token)
        statuses = [(await holder.api(dpop=used)).status for _ in range(4)]
        assert statuses == [200, 401, 429, 429]
        assert len(verified) == 2, "the token is cached, and two proofs were verified"
