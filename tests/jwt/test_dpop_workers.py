"""Four workers refuse a DPoP proof that one of them has accepted."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import httpx2
import pytest

from tests.jwt.dpop_client import DpopProver
from tests.jwt.worker_service import WorkerService

TOML = """\
[server]
workers = 4
[plugins.pool]
url = "sqlite:///sessions.db"
[plugins.jwt]
key_file = "keys.json"
sender_constraint = "dpop"
protected_paths = ["/api/**"]
"""
CONCURRENT = 24


@pytest.fixture(scope="module")
def workers() -> Iterator[WorkerService]:
    with WorkerService(TOML) as service:
        yield service


def send(method: str, address: str, body: object = None, **headers: str) -> httpx2.Response:
    """Send on a new connection, which any worker may accept."""
    with httpx2.Client(trust_env=False, timeout=60, verify=False) as client:
        return client.request(method, address, json=body, headers=headers)


def test_a_proof_is_accepted_by_one_worker_once(workers: WorkerService) -> None:
    prover, login, url = DpopProver(), f"{workers.url}/login", f"{workers.url}/api/user"
    token = send("POST", login, {"subject": "ada"}, dpop=prover.proof("POST", login)).json()["token"]
    fields = {"authorization": f"DPoP {token}"}
    for _ in range(3):
        proof = prover.proof("GET", url, token)
        with ThreadPoolExecutor(CONCURRENT) as threads:
            responses = threads.map(lambda _, proof=proof: send("GET", url, **fields, dpop=proof), range(CONCURRENT))
        assert Counter(response.status_code for response in responses) == {200: 1, 401: CONCURRENT - 1}
    proofs = [prover.proof("GET", f"{url}?page={number}", token) for number in range(CONCURRENT)]
    assert {send("GET", url, **fields, dpop=proof).status_code for proof in proofs} == {200}, "each proof is new"
