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


class Person:
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
        answer = self.post("/login", {"subject": self.subject})
        self.tokens, self.cookies = answer.json(), dict(answer.cookies)

    def refresh(self) -> httpx2.Response:
        return self.post("/auth/refresh", {"refresh_token": self.tokens["refresh_token"]})

    def api(self) -> int:
        headers = {"authorization": f"Bearer {self.tokens['token']}"}
        with httpx2.Client(
            base_url=self.url, trust_env=False, cookies=self.cookies, timeout=60, verify=False
        ) as client:
            return client.get("/api/who", headers=headers).status_code


def test_a_token_of_one_worker_is_accepted_by_all(workers: WorkerService) -> None:
    person = Person(workers, "ada")
    person.login()
    assert [person.api() for _ in range(RUNS)] == [200] * RUNS


def test_concurrent_refreshes_over_all_workers_return_one_session(workers: WorkerService) -> None:
    person = Person(workers, "eve")
    person.login()
    with ThreadPoolExecutor(50) as threads:
        answers = list(threads.map(lambda _: person.refresh(), range(50)))
    assert {answer.status_code for answer in answers} == {200}
    person.tokens = answers[-1].json()
    assert person.refresh().status_code == 200


def test_a_revocation_reaches_all_workers(workers: WorkerService) -> None:
    person = Person(workers, "bob")
    person.login()
    assert [person.api() for _ in range(RUNS)] == [200] * RUNS  # cached by some workers
    person.post("/revoke", {"subject": "bob"})
    wait_for("every worker", lambda: [person.api() for _ in range(4 * RUNS)] == [401] * 4 * RUNS)
    assert person.refresh().status_code == 401


def test_keys_are_rotated_under_load_without_a_failed_request(workers: RotatingWorkerService) -> None:
    stop = Event()

    def work(number: int) -> set[int]:
        person = Person(workers, f"worker {number}")
        seen = set()
        while not stop.is_set():
            person.login()
            seen |= {person.api(), person.api(), person.refresh().status_code}
        return seen

    with ThreadPoolExecutor(8) as threads:
        running = [threads.submit(work, number) for number in range(8)]
        for _ in range(3):
            workers.rotate()
        stop.set()
        assert set().union(*(each.result() for each in running)) == {200}
