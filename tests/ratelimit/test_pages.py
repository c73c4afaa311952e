"""The page of the limits, counted in memory and in Redis."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlencode

import orjson
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse
from starlette.routing import Route

from scalekit import create_app
from scalekit.contracts import LIMITS
from scalekit.testing import request, running
from scalekit_ratelimit import limited
from scalekit_ratelimit.keys import application_key, header_key_func
from scalekit_ratelimit.limit_statistics import STATISTICS
from tests.ratelimit.client import host, policy
from tests.servers import Redis as Server

pytestmark = pytest.mark.anyio

SECRET = "sk-live-0123456789abcdef"


@limited("1/15m", name="search")
async def search(request: Request) -> PlainTextResponse:
    return PlainTextResponse("found")


async def log_in(request: Request) -> PlainTextResponse:
    await LIMITS(request).hit("login-name", request.query_params["name"])
    return PlainTextResponse("in")


TABLE: dict[str, Any] = {
    "policies": [
        policy("address", "2/15m", path="/address"),
        policy("key", "1/15m", path="/key", key="header:X-API-Key"),
        policy("both", ["2/s", "3/15m"], path="/both"),
        policy("window", "2/15m", path="/window", algorithm="sliding-window"),
        policy("dry", "1/15m", path="/dry", dry_run=True),
        policy("partner", "1/15m", path="/partner", exempt=["10.0.0.0/8"]),
        policy("login-name", "1/15m", key="application"),
    ],
    "concurrency": {"initial_limit": 7},
}


@pytest.fixture(scope="module", name="server")
def a_server() -> Iterator[Server]:
    with Server() as server:
        yield server


@pytest.fixture(params=["memory:", pytest.param("redis", marks=pytest.mark.needs("redis"))])
def url(request: pytest.FixtureRequest) -> str:
    if request.param == "memory:":
        return "memory:"
    server: Server = request.getfixturevalue("server")
    server.cli("FLUSHALL")
    return server.url


class Operator:
    """Sends requests of clients, and reads the page."""

    def __init__(self, app: Any, state: Any) -> None:
        self.app = app
        self.state = state

    async def status(self, path: str, address: str = "203.0.113.7", headers: Mapping[str, str] = {}) -> int:
        response = await request(self.app, path, client=(address, 5), headers=dict(headers), state=self.state)
        return response.status

    async def page(self, **query: str) -> list[dict[str, Any]]:
        response = await request(self.app, f"/-/limits.json?{urlencode(query)}", state=self.state)
        assert response.status == 200
        blocks: list[dict[str, Any]] = orjson.loads(response.body)["blocks"]
        return blocks

    async def table(self, title: str, **query: str) -> list[list[Any]]:
        (table,) = [block for block in await self.page(**query) if block.get("title", "").startswith(title)]
        rows: list[list[Any]] = table["rows"]
        return rows

    async def reset(self, **values: str) -> dict[str, Any]:
        headers = {"content-type": "application/json"}
        body = orjson.dumps(values)
        done = await request(self.app, "/-/limits/reset", method="POST", headers=headers, body=body, state=self.state)
        (result,) = orjson.loads(done.body)["results"]
        return dict(result)


@asynccontextmanager
async def operator(url: str, table: Mapping[str, Any] = TABLE) -> AsyncGenerator[Operator, None]:
    plain = PlainTextResponse("plain")
    routes = [
        Route("/search", search),
        Route("/login", log_in),
        *(Route(f"/{name}", plain) for name in ("address", "key", "both", "window", "dry", "partner")),
    ]
    app = host(
        {**table, "url": url},
        Starlette(routes=routes),
        {"operator_networks": ["127.0.0.1"]},
        console={},
    )
    async with running(app) as state:
        yield Operator(app, state)


async def test_the_page_counts_decisions_by_limit(url: str) -> None:
    async with operator(url) as operated:
        for path in ("/address", "/both", "/window", "/dry", "/search", "/login?name=ada"):
            for _ in range(4):
                await operated.status(path)
        rows = {row[0]["text"]: row[1:] for row in await operated.table("Policies")}
        assert {name: row[3:5] for name, row in rows.items()} == {
            "address": [2, 2],
            "key": [0, 0],
            "both 2/1s": [2, 2],
            "both 3/15m": [4, 0],
            "window": [2, 2],
            "dry": [1, 3],
            "partner": [0, 0],
            "search": [1, 3],
            "login-name": [1, 3],
        }
        assert rows["dry"][2]["text"] == "dry run: allows all"
        assert rows["address"][2]["text"] == "enforced"
        assert rows["address"][5:] == [0.5, 2 / 60, 2 / 60]
        assert rows["both 2/1s"][:2] == [2, 1.0]


async def test_the_page_shows_who_is_refused_most(url: str) -> None:
    async with operator(url) as operated:
        for address, requests in (("203.0.113.7", 3), ("2001:db8::1", 5)):
            for _ in range(requests):
                await operated.status("/address", address)
        rows = await operated.table("Refused most by address")
        assert [(row[0], row[3], row[4], row[5]) for row in rows] == [
            ("2001:db8::/64", "2001:db8::1", 3, 3),
            ("203.0.113.7", "203.0.113.7", 1, 1),
        ]
        for row in rows:
            look_up = row[7]["query"]
            (state,) = await operated.table("Limits of", **look_up)
            assert state[1:4] == ["address", 2, 0]


async def test_header_values_are_not_shown(url: str) -> None:
    async with operator(url) as operated:
        for secret in (SECRET, "<script>alert(1)</script>"):
            for _ in range(2):
                await operated.status("/key", headers={"x-api-key": secret})
        scope = {"headers": [(b"x-api-key", SECRET.encode())]}
        rows = await operated.table("Refused most by key")
        assert header_key_func("X-API-Key")(scope) in [row[0] for row in rows]
        for target in ("/-/limits", "/-/limits.json"):
            page = await request(operated.app, target, headers={"accept": "text/html"}, state=operated.state)
            assert SECRET.encode() not in page.body
            assert b"<script>alert" not in page.body


async def test_a_look_up_does_not_count(url: str) -> None:
    async with operator(url) as operated:
        await operated.status("/both")
        await operated.status("/window")
        for _ in range(3):
            for name, quotas in (("both", [(2, 1), (3, 2)]), ("window", [(2, 1)])):
                rows = await operated.table("Limits of", policy=name, client="203.0.113.7")
                assert [(row[2], row[3]) for row in rows] == quotas
        assert [await operated.status("/window") for _ in range(2)] == [200, 429]


async def test_a_reset_gives_the_client_its_quota_again(url: str) -> None:
    async with operator(url) as operated:
        assert [await operated.status("/address") for _ in range(3)] == [200, 200, 429]
        done = await operated.reset(policy="address", client="203.0.113.7")
        assert done == {"worker": "1", "message": "reset address for 203.0.113.7", "failed": False}
        assert await operated.status("/address") == 200
        assert [await operated.status("/login?name=ada") for _ in range(2)] == [200, 429]
        done = await operated.reset(policy="login-name", client="ada")
        assert done["message"] == f"reset login-name for {application_key('ada')}"
        assert await operated.status("/login?name=ada") == 200
        await operated.status("/search")
        assert await operated.status("/search") == 429
        (key, *_), *_ = await operated.table("Refused most by search")
        await operated.reset(policy="search", client=key)
        assert await operated.status("/search") == 200


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"policy": "none", "client": "10.0.0.1"}, "unknown policy 'none'; policies: address, both"),
        ({"policy": "address"}, "no client; fill in"),
        ({"policy": "address", "client": "<b>"}, "expected the address of a client"),
        ({"policy": "address", "user": "ada"}, "expected the address of a client"),
        ({"policy": "key", "client": "a key"}, "policy 'key' counts by header:X-API-Key; fill in an address"),
    ],
)
async def test_mistakes_are_explained(values: dict[str, str], message: str) -> None:
    async with operator("memory:") as operated:
        notices = [block["text"] for block in await operated.page(**values) if "tone" in block]
        assert [text.startswith(message) for text in notices] == [True]
        done = await operated.reset(**values)
        assert done["failed"]
        assert done["message"].startswith(message)


async def test_an_exempt_client_has_no_counter() -> None:
    async with operator("memory:") as operated:
        blocks = await operated.page(policy="partner", client="10.1.2.3")
        assert {"text": "This client is exempt."} in [{"text": block.get("text")} for block in blocks]
        assert (await operated.reset(policy="partner", client="10.1.2.3"))["message"] == "the client is exempt"


async def test_requests_in_flight_and_shed_ones_are_shown() -> None:
    async with operator("memory:") as operated:
        assert await operated.table("Load shedding") == [["1", 0, 7, 0, 0, 0]]


async def test_ten_thousand_clients_take_bounded_memory() -> None:
    async with operator("memory:", {"policies": [policy("all", "1/15m", key="header:X-Id")]}) as operated:
        for number in range(10_000):
            headers = {"x-id": str(number)}
            await operated.status("/address", headers=headers)
            await operated.status("/address", headers=headers)
        (table,) = [block for block in await operated.page() if block.get("title") == "Refused most by all"]
        assert (len(table["rows"]), table["more"]) == (25, 75)
        assert [row[4] for row in table["rows"]] == [1] * 25
        assert all(row[5] >= 1 for row in table["rows"])


@pytest.mark.needs("redis")
async def test_without_redis_the_page_shows_the_state_in_memory() -> None:
    with Server() as server:
        async with operator(server.url) as operated:
            server.stop()
            for _ in range(3):
                await operated.status("/address")
            blocks = await operated.page(policy="address", client="203.0.113.7")
            assert any("Redis cannot be read" in block.get("text", "") for block in blocks)
            done = await operated.reset(policy="address", client="203.0.113.7")
            assert done["failed"]
            assert done["message"].startswith("reset in memory, but not in Redis")


async def test_without_a_console_nothing_is_recorded() -> None:
    app = host(TABLE)
    async with running(app) as state:
        await request(app, "/address", state=state)
        assert not app.context.has(STATISTICS)


@pytest.mark.parametrize(("workers", "advised"), [(1, False), (4, True)])
async def test_limits_of_each_worker_are_advice(workers: int, advised: bool) -> None:
    server = {"operator_networks": ["127.0.0.1"], "workers": workers}
    table = {"default": "10/s", "per_worker": True}
    app = create_app({"plugins": {"console": {}, "ratelimit": table}, "server": server}, app=Starlette())
    async with running(app) as state:
        page = orjson.loads((await request(app, "/-/configuration.json", state=state)).body)
    texts = [block["text"] for block in page["blocks"] if block["type"] == "notice"]
    assert any("a client may send 4 times its limit" in text for text in texts) == advised
