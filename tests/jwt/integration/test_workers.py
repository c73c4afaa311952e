"""Sessions, revocations and keys are shared by four workers."""

from __future__ import annotations

import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from threading import Event

import httpx2
import pytest

from tests.command_line import scalekit
from tests.jwt.worker_service import WorkerService
from tests.processes import wait_for

TOML = """\
[server]
workers = 4
[plugins.pool]
url = "sqlite:///sessions.db"
[plugins.jwt]
rotation_grace = "1h"
key_file = "keys.json"
insecure_cookie = true
protected_paths = ["/api/**"]
"""
RUNS = 8
"""Consecutive requests on new connections, enough to reach every worker with high probability."""


class RotatingWorkerService(WorkerService):
    """Workers whose keys are rotated by ``scalekit jwt rotate``."""

    def rotate(self) -> None:
        done = scalekit("jwt", "rotate", folder=self.box.directory, environment=self.environment)
        assert "new signing key" in done.stdout, done.stderr

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, **{key: str(value) for key, value in self.box.environment.items()}}


@pytest.fixture(scope="module")
def workers() -> Iterator[RotatingWorkerService]:
    with RotatingWorkerService(TOML) as service:
        yield service


class WorkerClient:
    """A client whose every request may reach another worker."""

    def __init__(self, workers: WorkerService, subject: str) -> None:
        self.url = workers.url
        self.subject = subject
        self.tokens: dict[str, str] = {}
        self.cookies: dict[str, str] = {}

    def post(self, path: str, body: dict[str, str]) -> httpx2.Response:
        with httpx2.Client(
            base_url=self.url, trust_env=False, cookies=self.cookies, timeout=60, verify=False
        ) as client:
            return client.post(path, json=body)

    def login(self) -> None:
        response = self.post("/login", {"subject": self.subject})
        self.tokens, self.cookies = response.json(), dict(response.cookies)

    def refresh(self) -> httpx2.Response:
        return self.post("/auth/refresh", {"refresh_token": self.tokens["refresh_token"]})

    def api(self) -> int:
        headers = {"authorization": f"Bearer {self.tokens['token']}"}
        with httpx2.Client(
            base_url=self.url, trust_env=False, cookies=self.cookies, timeout=60, verify=False
        ) as client:
            return client.get("/api/user", headers=headers).status_code


def test_a_token_of_one_worker_is_accepted_by_all(workers: WorkerService) -> None:
    client = WorkerClient(workers, "ada")
    client.login()
    assert [client.api() for _ in range(RUNS)] == [200] * RUNS


def test_concurrent_refreshes_over_all_workers_return_one_session(workers: WorkerService) -> None:
    client = WorkerClient(workers, "eve")
    client.login()
    with ThreadPoolExecutor(50) as threads:
        responses = list(threads.map(lambda _: client.refresh(), range(50)))
    assert {response.status_code for response in responses} == {200}
    client.tokens = responses[-1].json()
    assert client.refresh().status_code == 200


def test_a_revocation_reaches_all_workers(workers: WorkerService) -> None:
    client = WorkerClient(workers, "bob")
    client.login()
    assert [client.api() for _ in range(RUNS)] == [200] * RUNS  # cached by some workers
    client.post("/revoke", {"subject": "bob"})
    wait_for("every worker", lambda: [client.api() for _ in range(4 * RUNS)] == [401] * 4 * RUNS)
    assert client.refresh().status_code == 401


def test_keys_are_rotated_under_load_without_a_failed_request(workers: RotatingWorkerService) -> None:
    stop = Event()

    def work(number: int) -> set[int]:
        client = WorkerClient(workers, f"worker {number}")
        seen = set()
        while not stop.is_set():
            client.login()
            seen |= {client.api(), client.api(), client.refresh().status_code}
        return seen

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(work, number) for number in range(8)]
        for _ in range(3):
            workers.rotate()
        stop.set()
        assert set().union(*(each.result() for each in running)) == {200}
