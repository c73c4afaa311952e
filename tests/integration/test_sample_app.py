"""The sample application as a newcomer meets it."""

from __future__ import annotations

import asyncio
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import orjson
import pytest

from scalekit import create_app
from scalekit.testing import Answer, request, running
from tests.processes import HOST, free_ports, wait_for
from tests.servers import Postgres, Server, ask
from tests.tools import k6

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "sample_app/scalekit.toml"

pytestmark = pytest.mark.anyio


class SampleApp(Server):
    """``scalekit run sample_app/scalekit.toml``, with four workers."""

    name = "sample"

    def command(self) -> list[object]:
        self.box.environment |= {"PORT": str(self.port), "DATABASE_URL": "sqlite:///sample.db"}
        return [sys.executable, "-m", "scalekit", "run", FILE, "--set", "server.workers=4"]

    def answers(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


@pytest.fixture(scope="module")
def sample() -> Iterator[SampleApp]:
    with SampleApp() as running:
        yield running


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with Postgres() as running:
        yield running


@pytest.fixture(params=["sqlite", pytest.param("postgres", marks=pytest.mark.needs("postgres"))])
def empty_database(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    url = f"sqlite:///{tmp_path}/sample.db"
    if request.param == "postgres":
        server: Postgres = request.getfixturevalue("postgres")
        server.sql("DROP SCHEMA public CASCADE; CREATE SCHEMA public")
        url = server.url
    monkeypatch.setenv("DATABASE_URL", url)
    monkeypatch.setenv("QUEUE_URL", f"sqlite:///{tmp_path}/queue.db")


async def post(app: object, state: dict[str, object], body: bytes) -> Answer:
    return await request(app, "/api/data", method="POST", body=body, state=state)  # type: ignore[arg-type]


@pytest.mark.usefixtures("empty_database")
async def test_the_sums_become_true_after_items_are_added() -> None:
    app = create_app(FILE)
    async with running(app) as state, asyncio.timeout(60):
        for value in (1.5, 2.5, 4):
            await post(app, state, orjson.dumps({"name": "one", "value": value}))
        await post(app, state, b"{}")
        while (answer := await request(app, "/api/stats", state=state)).body != b'{"items":3,"total":8.0}':
            assert answer.status == 200
            await asyncio.sleep(0.02)


@pytest.mark.usefixtures("empty_database")
async def test_items_are_added_and_listed_newest_first() -> None:
    app = create_app(FILE)
    async with running(app) as state:
        for number in range(120):
            answer = await post(app, state, orjson.dumps({"name": f"item {number}", "value": number}))
            assert answer.status == 201
        listed = orjson.loads((await request(app, "/api/data", state=state)).body)["items"]
    assert len(listed) == 100
    assert listed[0] == {"id": 120, "name": "item 119", "value": 119.0}


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"name": "x"}', b'{"name": "", "value": 1}', b'{"name": "x", "value": 1, "y": 2}'],
)
async def test_what_is_no_item_is_explained(body: bytes) -> None:
    app = create_app(FILE)
    async with running(app) as state:
        answer = await post(app, state, body)
    assert answer.status == 422
    assert answer.header("content-type") == "application/problem+json"
    assert orjson.loads(answer.body)["errors"]


@pytest.mark.usefixtures("empty_database")
async def test_the_page_links_to_what_can_be_tried_and_repeats_nothing_unescaped() -> None:
    app = create_app(FILE)
    async with running(app) as state:
        page = (await request(app, "/", state=state)).body.decode()
        hostile = (await request(app, "/", headers={"host": 'x"><script>'}, state=state)).body.decode()
        for link in ("/api/data", "/health", "/health/live"):
            assert f'href="{link}"' in page
            assert (await request(app, link, state=state)).status == 200
        assert 'href="/health/ready"' in page
        while (await request(app, "/health/ready", state=state)).status != 200:
            await asyncio.sleep(0.01)  # the database is asked in the background
    assert "<script>" not in hostile


@pytest.mark.needs("k6")
def test_the_smoke_scenario_holds(sample: SampleApp) -> None:
    result = k6(ROOT / "k6/smoke.js", BASE_URL=f"http://{HOST}:{sample.port}")
    assert result.passed, result.report
    assert result.metrics["checks"]["passes"] == 10 * 17 + 2 + 3
    page = ask(sample.port, "GET", "/metrics")
    for labels in ('method="POST",route="/api/data",status="201"', 'method="POST",route="/api/data",status="422"'):
        assert f"http_request_duration_seconds_count{{{labels}}} 10\n" in page


@pytest.mark.usefixtures("empty_database")
async def test_one_event_of_each_kind_is_counted_and_logged(tmp_path: Path) -> None:
    overrides = [f'plugins.logging.directory="{tmp_path}"', 'plugins.logging.console="off"']
    app = create_app(FILE, overrides=overrides)
    async with running(app) as state:
        await post(app, state, b'{"name": "good", "value": 5}')
        await post(app, state, b'{"name": "bad"}')
        page = (await request(app, "/metrics", state=state)).body.decode()
    for sample in (
        'sample_items_added_total{outcome="kept"} 1',
        'sample_items_added_total{outcome="refused"} 1',
        "sample_newest_item 1",
        'sample_item_values_bucket{le="10.0"} 1',
    ):
        assert f"{sample}\n" in page
    lines = [orjson.loads(line) for line in (tmp_path / "combined.log").read_bytes().splitlines()]
    events = {line["event"]: line for line in lines}
    assert events["item added"]["name"] == "good"
    assert events["item refused"]["level"] == "warning"
    assert {line["service"] for line in lines} == {"sample"}


@pytest.mark.needs("k6")
def test_the_smoke_scenario_can_fail() -> None:
    result = k6(ROOT / "k6/smoke.js", BASE_URL=f"http://{HOST}:1", ITERATIONS=1)
    assert not result.passed


def test_make_run_serves_until_ctrl_c_and_ends_with_0() -> None:
    (port,) = free_ports(1)
    environment = {**os.environ, "PORT": str(port)}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvpe("make", ["make", "run", f"VENV={sys.prefix}"], environment)
    wait_for("the sample application", lambda: ask(port, "GET", "/api/data") == '{"items":[]}', limit=120)
    os.write(terminal, b"\x03")
    output = _read_all(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, output
    assert f"curl -i http://127.0.0.1:{port}/" in output
    assert f"curl http://127.0.0.1:{port}/health" in output
    assert "stopped; every request was answered" in output


def _read_all(terminal: int) -> str:
    text = b""
    try:
        while part := os.read(terminal, 4096):
            text += part
    except OSError:  # the other end is gone
        pass
    os.close(terminal)
    return text.decode()


def test_the_wheel_holds_the_host_and_its_templates(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "--no-deps",
        "--no-build-isolation",
        "--quiet",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True, timeout=300)
    (wheel,) = tmp_path.glob("scalekit_asgi-*.whl")
    names = subprocess.run(
        [sys.executable, "-m", "zipfile", "-l", str(wheel)], capture_output=True, text=True, check=True, timeout=60
    ).stdout
    for wanted in ("scalekit/app.py", "scalekit/py.typed", "scalekit/templates/plugin/scalekit_NAME/plugin.py.txt"):
        assert wanted in names
    for unwanted in ("tests/", "sample_app/", "README.md ", "k6/"):
        assert f"\n{unwanted}" not in names


USERS = [
    {"email": "ada@example.org", "name": "Ada", "avatar": "/ada.png"},
    {"email": "bob@example.org", "name": "Bob"},
    {"email": "eve@example.org", "name": "Eve", "active": False},
]


@pytest.mark.usefixtures("empty_database")
async def test_users_are_imported_once_and_the_active_ones_listed_with_their_profiles() -> None:
    app = create_app(FILE)
    async with running(app) as state:
        first = await request(app, "/api/users/import", method="POST", body=orjson.dumps(USERS[:2]), state=state)
        again = await request(app, "/api/users/import", method="POST", body=orjson.dumps(USERS), state=state)
        listed = await request(app, "/api/users/active", state=state)
    assert orjson.loads(first.body) == {"added": 2, "skipped": 0}
    assert orjson.loads(again.body) == {"added": 1, "skipped": 2}
    found = orjson.loads(listed.body)["users"]
    assert [(user["email"], user["profile"]) for user in found] == [
        ("bob@example.org", {"name": "Bob", "avatar": None}),
        ("ada@example.org", {"name": "Ada", "avatar": "/ada.png"}),
    ]


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'[{"email": "x"}]', b'[{"email": "no", "name": "x"}]'])
async def test_what_is_no_list_of_users_is_explained_and_nothing_is_added(body: bytes) -> None:
    app = create_app(FILE)
    async with running(app) as state:
        answer = await request(app, "/api/users/import", method="POST", body=body, state=state)
        listed = await request(app, "/api/users/active", state=state)
    assert answer.status == 422
    assert orjson.loads(listed.body) == {"users": []}
