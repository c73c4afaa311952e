"""A service whose limits, cache and sessions are on the master that Sentinel names."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event
from typing import Any

import httpx2
import pytest

from tests.processes import HOST, wait_for
from tests.servers import SentinelGroup
from tests.service import Service

pytestmark = pytest.mark.needs("redis")

APPLICATION = """\
from starlette.applications import Starlette
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Route

from scalekit.contracts import TOKENS


async def login(request):
    issued = await TOKENS(request).issue("ada", None, (), request)
    return JSONResponse({"token": issued.access, "refresh_token": issued.refresh}, headers=issued.headers)


async def page(request):
    return PlainTextResponse(request.path_params["name"], headers={"Cache-Control": "max-age=60"})


async def user(request):
    return PlainTextResponse(request.user.identity)


app = Starlette(routes=[
    Route("/login", login, methods=["POST"]), Route("/pages/{name}", page), Route("/api/user", user)
])
"""
TABLES = """\
[plugins.metrics]
[plugins.ratelimit]
url = "{url}"
default = "100000/h"
[plugins.cache]
url = "{url}"
cookies = "ignore"
[plugins.jwt]
secret = "a secret for tests that is long enough"
session_store = "redis"
fingerprint = false
redis_url = "{url}"
protected_paths = ["/api/**"]
"""


@pytest.fixture(scope="module")
def group() -> Iterator[SentinelGroup]:
    with SentinelGroup() as group:
        yield group


class Client:
    """A client of the service with the tokens of its session."""

    def __init__(self, http: httpx2.Client) -> None:
        self.http = http
        self.refresh_token = self.token = ""

    def try_login(self) -> bool:
        return self._store(self.http.post("/login"))

    def refresh(self) -> int:
        response = self.http.post("/auth/refresh", json={"refresh_token": self.refresh_token})
        self._store(response)
        return response.status_code

    def user(self) -> httpx2.Response:
        return self.http.get("/api/user", headers={"Authorization": f"Bearer {self.token}"})

    def metric(self, name: str) -> str:
        lines = self.http.get("/metrics").text.splitlines()
        return "\n".join(line for line in lines if line.startswith(name))

    def _store(self, response: httpx2.Response) -> bool:
        if response.status_code == 200:
            body: dict[str, Any] = response.json()
            self.token, self.refresh_token = body["token"], body["refresh_token"]
        return response.status_code == 200


def read_pages(service: Service, stop: Event, seen: Counter[int]) -> None:
    """Read pages until *stop* is set; every page has its own name as its content."""
    with httpx2.Client(base_url=service.url, timeout=60, verify=False) as http:
        number = 0
        while not stop.is_set():
            number += 1
            response = http.get(f"/pages/{number % 20}")
            seen[response.status_code] += 1
            assert response.text == str(number % 20)


def test_a_killed_master_fails_no_page_and_ends_no_session(group: SentinelGroup) -> None:
    with (
        Service(TABLES.format(url=group.url), {"service": APPLICATION}) as service,
        httpx2.Client(base_url=service.url, timeout=60, verify=False) as http,
        ThreadPoolExecutor(4) as pool,
    ):
        client, stop, seen = Client(http), Event(), Counter[int]()
        wait_for("a login", client.try_login)
        used = client.refresh_token
        assert client.refresh() == 200
        former = group.master
        readers = [pool.submit(read_pages, service, stop, seen) for _ in range(4)]
        try:
            wait_for("pages", lambda: seen[200] > 200)
            keys = former.cli("KEYS", "*")
            assert all(name in keys for name in ("scalekit:jwt", "scalekit:cache", "scalekit:ratelimit")), keys
            former.kill()
            wait_for("a refresh", lambda: client.refresh() == 200)
            before = seen[200]
            wait_for("more pages", lambda: seen[200] > before + 200)
        finally:
            stop.set()
        for reader in readers:
            reader.result()
        assert set(seen) == {200}
        assert client.user().text == "ada"
        client.refresh_token = used
        assert client.refresh() == 401, "the new master has the rotation, so this is reuse"
        wait_for("health", lambda: client.http.get("/health/ready").status_code == 200)
        group.start()
        master = f'master="{HOST}:{group.port}"'
        wait_for("the master", lambda: f"{master}" in client.metric("scalekit_redis_master"))


def test_a_service_starts_without_any_sentinel_and_heals(group: SentinelGroup) -> None:
    for sentinel in group.sentinels:
        sentinel.kill()
    try:
        with (
            Service(TABLES.format(url=group.url), {"service": APPLICATION}) as service,
            httpx2.Client(base_url=service.url, timeout=60, verify=False) as http,
        ):
            client = Client(http)
            assert client.http.get("/pages/1").text == "1"
            assert not client.try_login()
            group.start()
            wait_for("a login", client.try_login)
            assert client.user().text == "ada"
    finally:
        group.start()
