"""Rate limits, authentication and the cache lookup share a round trip to Redis."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from typing import Any

import pytest
from starlette.types import Receive, Scope, Send

from scalekit import create_app
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from scalekit_jwt.keys.key_set import SigningKey
from scalekit_redis.protocol import RedisProtocol
from tests.jwt.forged_tokens import TokenForge
from tests.servers import Redis

pytestmark = [pytest.mark.anyio, pytest.mark.needs("redis")]
PATH = "/api/x"


@pytest.fixture(scope="module")
def server() -> Iterator[Redis]:
    with Redis() as running_server:
        yield running_server


class RedisWrites(list[int]):
    """The number of commands in each write to Redis; pipelined commands count one by one."""

    def __init__(self) -> None:
        super().__init__()
        self.protocols: set[RedisProtocol] = set()

    async def reset(self) -> None:
        """Reset after all replies have arrived."""
        while any(protocol.waiting or protocol._unwritten for protocol in self.protocols):
            await asyncio.sleep(0.001)
        self.clear()


@pytest.fixture
def writes(monkeypatch: pytest.MonkeyPatch) -> RedisWrites:
    seen = RedisWrites()
    flush = RedisProtocol._flush

    def counting(self: RedisProtocol) -> None:
        seen.protocols.add(self)
        seen.append(sum(len(entry.commands) for entry in self._unwritten))
        flush(self)

    monkeypatch.setattr(RedisProtocol, "_flush", counting)
    return seen


async def application(scope: Scope, receive: Receive, send: Send) -> None:
    if scope["type"] == "http":
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"for all users"})


def stack(server: Redis, forge: TokenForge, limit: str = "100/1d") -> Host:
    """Return a service with limits by address and by subject, tokens and a cache, all on *server*."""
    policies = [{"name": "all", "limit": limit}, {"name": "users", "limit": "50/1d", "key": "subject"}]
    policies_of_cache = [{"path": "/api/**", "ttl": "1h", "vary_by": "identity"}, {"path": "/open", "ttl": "1h"}]
    plugins: dict[str, Any] = {
        "jwt": {"secret": forge.member["k"], "protected_paths": ["/api/**"], "fingerprint": False},
        "ratelimit": {"url": server.url, "policies": policies, "store_timeout": "10s"},
        "cache": {"url": server.url, "policies": policies_of_cache, "store_timeout": "10s"},
    }
    return create_app({"plugins": plugins}, app=application)


def token_forge() -> TokenForge:
    forge = TokenForge("HS256")
    forge.member = {"k": "a secret for tests that is long enough"}
    forge.key = SigningKey.load(forge.member["k"].encode(), "HS256", "secret")
    forge.header["kid"] = "secret"
    return forge


async def get(app: Host, state: dict[str, Any], token: str, path: str = PATH) -> ReceivedResponse:
    headers: Mapping[str, str] = {"authorization": f"Bearer {token}"} if token else {}
    return await request(app, path, headers=headers, state=state)


async def test_limits_by_address_and_user_and_the_cache_lookup_share_one_write(
    server: Redis, writes: RedisWrites
) -> None:
    server.cli("FLUSHALL")
    forge = token_forge()
    token = forge.token()
    first, second = stack(server, forge), stack(server, forge)
    async with running(first) as one, running(second) as two:
        assert (await get(first, one, token)).status == 200
        assert (await get(first, one, "", "/open")).status == 200
        assert (await get(second, two, token, "/api/y")).status == 200  # so that the token is cached
        await writes.reset()
        hit = await get(second, two, token)  # a hit in the shared store only
        assert (hit.status, hit.body) == (200, b"for all users")
        assert "hit" in str(hit.header("cache-status"))
        assert writes == [3, 1], "the second write looks up the variant of the user"
        assert [name for name, _ in hit.headers].count(b"ratelimit-policy") == 2
        await writes.reset()
        hit = await get(second, two, "", "/open")
        assert "hit" in str(hit.header("cache-status"))
        assert writes == [len([name for name, _ in hit.headers if name == b"ratelimit-policy"]) + 1]


@pytest.mark.parametrize("kind", ["none", "another key", "expired"])
async def test_requests_without_a_valid_token_count_towards_the_limit(server: Redis, kind: str) -> None:
    server.cli("FLUSHALL")
    forge = token_forge()
    token = {"none": "", "another key": TokenForge("HS256").token(), "expired": forge.with_claims(exp=1)}[kind]
    app = stack(server, forge, "3/1d")
    async with running(app) as state:
        refused = [(await get(app, state, token)).status for _ in range(5)]
        assert refused == [401, 401, 401, 429, 429]
        assert (await get(app, state, forge.token())).status == 429, "same client address"


async def test_no_signature_is_verified_for_a_client_over_the_limit(
    server: Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.cli("FLUSHALL")
    forge = token_forge()
    verified: list[bytes] = []
    real = SigningKey.verify

    def counted(key: SigningKey, signed: bytes, signature: bytes) -> bool:
        verified.append(signed)
        return real(key, signed, signature)

    monkeypatch.setattr(SigningKey, "verify", counted)
    app = stack(server, forge, "2/1d")
    async with running(app) as state:
        statuses = [(await get(app, state, forge.with_claims(jti=str(number)))).status for number in range(5)]
    assert statuses == [200, 200, 429, 429, 429]
    assert len(verified) == 2
