"""Services whose workers share a store, under load and while it is unavailable."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from subprocess import CompletedProcess

import httpx2
import pytest

from tests.cache.conftest import Shared
from tests.command_line import scalekit
from tests.processes import wait_for
from tests.servers import Redis
from tests.service import Service

APPLICATION = """\
import asyncio
import itertools
import os
import uuid

calls = itertools.count(1)


async def app(scope, receive, send):
    if scope["type"] != "http":
        raise ValueError(scope["type"])
    if scope["path"].startswith("/slow"):
        await asyncio.sleep(0.3)
    body = b"%d %d %s" % (os.getpid(), next(calls), uuid.uuid4().hex.encode())
    headers = [(b"cache-control", b"max-age=600"), (b"x-process", b"%d" % os.getpid())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})
"""


def toml(url: str, workers: int = 1, store_timeout: str = "10s") -> str:
    """Return a configuration whose default store_timeout holds on a busy machine."""
    policy = '[[plugins.cache.policies]]\npath = "/tagged"\nttl = "1h"\ntags = ["t"]\n'
    cache = f'[plugins.cache]\nurl = "{url}"\nstore_timeout = "{store_timeout}"\n'
    return f"[server]\nworkers = {workers}\n{cache}{policy}"


def get(service: Service, path: str) -> httpx2.Response:
    return httpx2.get(service.url + path, timeout=60, verify=False)


def purge(folder: Path, url: str, *arguments: str) -> CompletedProcess[str]:
    (folder / "service.py").write_text(APPLICATION)
    file = folder / "scalekit.toml"
    file.write_text('[app]\ntarget = "service:app"\n' + toml(url))
    return scalekit("cache", "purge", *arguments, folder=folder)


def test_concurrent_requests_to_four_workers_call_the_application_once(shared: Shared) -> None:
    with Service(toml(shared.url, 4), {"service": APPLICATION}) as service, ThreadPoolExecutor(20) as pool:
        responses = list(pool.map(lambda _: get(service, "/slow"), range(20)))
        assert len({response.text for response in responses}) == 1
        assert {response.status_code for response in responses} == {200}


def test_the_command_purges_in_every_worker(shared: Shared, tmp_path: Path) -> None:
    with Service(toml(shared.url, 2), {"service": APPLICATION}) as service:
        paths = ("/tagged", "/shop/1", "/other")
        wait_for("the workers to share", lambda: all(_is_shared(service, path) for path in paths))
        before = {path: service.get(path) for path in paths}
        for nothing in (("--tag", "nobody"), ("--path", "/shops/**"), ("--path", "/shop")):
            done = purge(tmp_path, shared.url, *nothing)
            assert (done.returncode, done.stdout.partition(":")[0]) == (0, "purged nothing")
        assert {service.get("/tagged") for _ in range(10)} == {before["/tagged"]}
        done = purge(tmp_path, shared.url, "--tag", "t", "--path", "/shop/**")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout == "purged 2 stored items\n"
        wait_for("the purge", lambda: all(service.get("/tagged") != before["/tagged"] for _ in range(20)))
        wait_for("the purge", lambda: all(service.get("/shop/1") != before["/shop/1"] for _ in range(20)))
        assert {service.get("/other") for _ in range(10)} == {before["/other"]}


@pytest.mark.needs("redis")
def test_the_command_reports_errors(tmp_path: Path) -> None:
    with Redis() as server:
        assert "nothing to purge" in purge(tmp_path, server.url).stderr
        assert "put a slash before it" in purge(tmp_path, server.url, "--path", "shop").stderr
        assert "a wildcard must be the last segment" in purge(tmp_path, server.url, "--path", "/items*").stderr
        server.kill()
        done = purge(tmp_path, server.url, "--tag", "t")
        assert done.returncode == 1
        assert "the purge may have failed" in done.stderr


@pytest.mark.needs("redis")
@pytest.mark.parametrize("harm", ["kill", "pause"])
def test_no_request_fails_while_the_store_is_unavailable_and_recovery_is_automatic(harm: str) -> None:
    with Redis() as server, Service(toml(server.url, 2, "50ms"), {"service": APPLICATION}) as service:
        _load(service, "/before")
        getattr(server, harm)()
        statuses = _load(service, "/during")
        (server.start if harm == "kill" else server.resume)()
        assert statuses == {200}
        wait_for("the store to be used again", lambda: _is_shared(service))


@pytest.mark.needs("redis")
def test_a_service_starts_degraded_while_the_store_is_unavailable() -> None:
    with Redis() as server:
        server.kill()
        with Service(toml(server.url, store_timeout="50ms"), {"service": APPLICATION}) as service:
            assert _load(service, "/a") == {200}
            assert get(service, "/health/ready").status_code == 200
            server.start()
            wait_for("the store to be used", lambda: int(server.cli("DBSIZE")) > 0 or get(service, "/new").text == "")


def _load(service: Service, path: str) -> set[int]:
    """Run 64 concurrent clients for few and many resources."""
    with httpx2.Client(base_url=service.url, timeout=60, verify=False) as client, ThreadPoolExecutor(64) as pool:
        fetch: Callable[[int], int] = lambda n: client.get(f"{path}/{n % 20 if n % 2 else n}").status_code  # noqa: E731
        return set(pool.map(fetch, range(640)))


def _is_shared(service: Service, path: str = "/after") -> bool:
    return len({service.get(path) for _ in range(20)}) == 1
