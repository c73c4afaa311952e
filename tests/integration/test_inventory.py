"""The sample calls its second service by name, and the whole of it runs on real servers."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import threading
from pathlib import Path

import httpx2
import pytest

from scalekit import create_app
from scalekit.testing import request, running
from tests.processes import alive, family, wait_for
from tests.production import NEEDED, Instance, OneDatabase
from tests.servers import ask

ROOT = Path(__file__).parent.parent.parent
LOGIN = '{"username": "testuser", "password": "testpass"}'
TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@pytest.mark.anyio
async def test_the_inventory_is_called_by_name_in_the_trace_of_the_request(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with Instance("inventory.toml", "INVENTORY_PORT", {}) as inventory:
        monkeypatch.setenv("INVENTORY_PORT", str(inventory.port))
        monkeypatch.setenv("DATABASE_URL", f"sqlite:///{tmp_path}/sample.db")
        monkeypatch.setenv("JWT_KEY_FILE", f"{tmp_path}/keys.json")
        app = create_app(ROOT / "sample_app/scalekit.toml")
        async with running(app) as state:
            response = await request(app, "/auth/login", method="POST", body=LOGIN.encode(), state=state)
            cookie = (response.header("set-cookie") or "").partition(";")[0]
            me = {"authorization": f"Bearer {json.loads(response.body)['token']}", "cookie": cookie}
            trace = {"traceparent": f"00-{TRACE}-00f067aa0ba902b7-01"}
            found = await request(app, "/api/inventory/1", headers=trace | me, state=state)
            assert json.loads(found.body) == {"id": 1, "stock": 12, "trace": TRACE}
            missing = await request(app, "/api/inventory/99", headers=me, state=state)
            assert missing.status == 404
            inventory.kill()
            unavailable = await request(app, "/api/inventory/2", headers=me, state=state)
            assert unavailable.status == 503
            assert unavailable.header("retry-after") == "1"


@pytest.mark.needs("postgres")
def test_one_database_is_all_that_the_sample_needs() -> None:
    with OneDatabase() as production, httpx2.Client(base_url=production.url, timeout=60) as client:
        token = client.post("/auth/login", content=LOGIN).raise_for_status().json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        assert client.get("/api/inventory/3").raise_for_status().json()["stock"] == 140
        client.post("/api/data", json={"name": "first", "value": 1}).raise_for_status()
        wait_for("the sum through the queue", lambda: client.get("/api/stats").json()["items"] == 1)
        assert json.loads(ask(production.instance.port, "GET", "/health"))["status"] == "healthy"
        tables = production.database.sql("SELECT relname FROM pg_class WHERE relkind = 'r' ORDER BY relname").split()
    queue = {f"scalekit_queue_{name}" for name in ("messages", "inbox", "schedules")}
    assert {"scalekit_jwt_sessions", "scalekit_ratelimit", *queue} <= set(tables)
    assert "scalekit_queue_outbox" not in tables


@pytest.mark.needs(*NEEDED)
def test_make_production_runs_until_ctrl_c() -> None:
    command = [sys.executable, "-m", "tests.production"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    timer = threading.Timer(180, process.kill)
    timer.start()
    try:
        lines = []
        for line in process.stdout or ():
            lines.append(line)
            if line.startswith("Ctrl-C"):
                break
        address = next((line for line in lines if "sample application is on" in line), "")
        assert address, "".join(lines)
        port = int(address.strip().rpartition(":")[2])
        with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
            token = client.post("/auth/login", content=LOGIN).raise_for_status().json()["token"]
            client.headers["Authorization"] = f"Bearer {token}"
            assert client.get("/api/inventory/3").raise_for_status().json()["stock"] == 140
            made = client.post("/api/data", json={"name": "first", "value": 1}).raise_for_status().json()
            users = [{"email": f"{number}@example.org", "name": "x" * 100} for number in range(500)]
            imported = client.post("/api/users/import", json=users)  # more than nginx has in memory
            assert imported.raise_for_status().json()["added"] == 500
            wait_for("the item on the standby", lambda: made in client.get("/api/data").json()["items"])
            wait_for("the sum through the queue", lambda: client.get("/api/stats").json()["items"] == 1)
        assert json.loads(ask(port, "GET", "/health"))["status"] == "healthy"
        pids = family(process.pid)
        assert len(pids) > 15
        process.send_signal(signal.SIGINT)
        assert process.wait(120) == 0
        wait_for("the end of all of it", lambda: not any(map(alive, pids)))
    finally:
        timer.cancel()
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
