"""The sample application as a newcomer meets it."""

from __future__ import annotations

import asyncio
import os
import pty
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from functools import partial
from html import unescape
from pathlib import Path

import httpx2
import orjson
import pytest
from starlette.requests import Request

from sample_app.home import home
from scalekit import create_app
from scalekit.asgi_client import State
from scalekit.contracts import DATABASE
from scalekit.host import Host
from scalekit.testing import ReceivedResponse, request, running
from scalekit_queue.service import SERVICE
from tests import command_line
from tests.processes import HOST, free_ports, wait_for
from tests.servers import Postgres, Redis, Server, ask
from tests.tools import k6

ROOT = Path(__file__).parent.parent.parent
FILE = ROOT / "sample_app/scalekit.toml"
LOAD = ROOT / "sample_app/load.toml"
LOGIN = b'{"username": "testuser", "password": "testpass"}'

pytestmark = pytest.mark.anyio


class SampleApp(Server):
    """``scalekit run sample_app/load.toml``, with four workers that share cache and limits in *redis*."""

    name = "sample"

    def __init__(self, redis: Redis) -> None:
        self.redis = redis

    def command(self) -> list[object]:
        self.box.environment |= {"PORT": str(self.port), "DATABASE_URL": "sqlite:///sample.db"}
        self.box.environment |= {"CACHE_URL": self.redis.url, "LIMITS_URL": self.redis.url}
        return [sys.executable, "-m", "scalekit", "run", LOAD, "--set", "server.workers=4"]

    def is_ready(self) -> bool:
        return ask(self.port, "GET", "/health/ready") == '{"status":"ready"}'


@pytest.fixture(scope="module")
def sample() -> Iterator[SampleApp]:
    with Redis() as redis, SampleApp(redis) as running:
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
    monkeypatch.setenv("JWT_KEY_FILE", f"{tmp_path}/keys.json")


class Visitor:
    """A client that has logged in."""

    def __init__(self, app: Host, state: State) -> None:
        self.app = app
        self.state = state
        self.headers: dict[str, str] = {}

    async def login(self, **headers: str) -> Visitor:
        response = await request(self.app, "/auth/login", method="POST", body=LOGIN, headers=headers, state=self.state)
        token, cookie = orjson.loads(response.body)["token"], response.header("set-cookie") or ""
        self.headers = {"authorization": f"Bearer {token}", "cookie": cookie.partition(";")[0]}
        return self

    async def get(self, path: str) -> ReceivedResponse:
        return await request(self.app, path, headers=self.headers, state=self.state)

    async def post(self, path: str, body: bytes) -> ReceivedResponse:
        return await request(self.app, path, method="POST", body=body, headers=self.headers, state=self.state)


@pytest.mark.usefixtures("empty_database")
async def test_an_item_is_added_once_for_each_idempotency_key() -> None:
    app = create_app(FILE)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        assert orjson.loads((await visitor.get("/api/data")).body) == {"items": []}
        visitor.headers["idempotency-key"] = "1"
        first, again = [await visitor.post("/api/data", b'{"name": "tea", "value": 3}') for _ in range(2)]
        assert (first.status, again.status, again.body) == (201, 201, first.body)
        assert [each.header("idempotency-replayed") for each in (first, again)] == [None, "true"]
        items = orjson.loads((await visitor.get("/api/data")).body)["items"]
        assert [item["name"] for item in items] == ["tea"], "the cached list was purged after the commit"


@pytest.mark.usefixtures("empty_database")
async def test_the_progress_of_a_summary_is_streamed_until_it_has_its_result(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUEUE_URL", f"sqlite:///{tmp_path}/queue.db")
    app = create_app(FILE)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        for value in (3, 4):
            await visitor.post("/api/data", orjson.dumps({"name": "tea", "value": value}))
        started = await visitor.post("/api/summaries", b"")
        assert started.status == 202
        stream = await visitor.get(orjson.loads(started.body)["progress"])
        assert (stream.header("content-type") or "").startswith("text/event-stream")
        events = [orjson.loads(line[6:]) for line in stream.body.splitlines() if line]
        assert events[-1] == {
            "state": "succeeded",
            "progress": 1.0,
            "note": "2 items",
            "result": {"items": 2, "total": 7.0},
        }
        assert (await visitor.get("/summaries/unknown")).status == 404


@pytest.mark.usefixtures("empty_database")
async def test_logins_of_one_user_are_limited_over_all_client_addresses() -> None:
    app = create_app(FILE)

    async def guess(password: str, at: int, name: str = "testuser") -> ReceivedResponse:
        body = orjson.dumps({"username": name, "password": password})
        return await request(app, "/auth/login", method="POST", body=body, state=state, client=(f"203.0.113.{at}", 1))

    async with running(app) as state:
        assert [(await guess("wrong", at)).status for at in range(4)] == [401] * 4
        assert (await guess("testpass", 4)).status == 200, "a successful login resets the limit"
        assert [(await guess("wrong", at)).status for at in range(10, 15)] == [401] * 5
        refused = await guess("wrong", 15)
        assert (await guess("wrong", 16, "another user")).status == 401
    assert refused.status == 429
    assert refused.header("content-type") == "application/problem+json"
    assert orjson.loads(refused.body)["violated-policies"] == ["login-name"]


@pytest.mark.usefixtures("empty_database")
async def test_items_are_added_and_listed_newest_first() -> None:
    app = create_app(LOAD)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        for number in range(120):
            response = await visitor.post("/api/data", orjson.dumps({"name": f"item {number}", "value": number}))
            assert response.status == 201
        listed = orjson.loads((await visitor.get("/api/data")).body)["items"]
    assert len(listed) == 100
    assert listed[0] == {"id": 120, "name": "item 119", "value": 119.0}


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"name": "x"}',
        b'{"name": "", "value": 1}',
        b'{"name": "x", "value": 1, "y": 2}',
        b'{"name": "\\u0000", "value": 1}',
        b'{"name": "x", "value": 1.7976931348623157e308}',
        b'{"name": "x", "value": -1.7976931348623157e308}',
    ],
)
async def test_an_invalid_item_is_rejected_with_its_errors(body: bytes) -> None:
    app = create_app(FILE)
    async with running(app) as state:
        response = await (await Visitor(app, state).login()).post("/api/data", body)
    assert response.status == 422
    assert response.header("content-type") == "application/problem+json"
    assert orjson.loads(response.body)["errors"]


@pytest.mark.usefixtures("empty_database")
async def test_the_home_page_links_to_other_pages_and_escapes_its_input() -> None:
    app = create_app(FILE)
    async with running(app) as state:
        page = (await request(app, "/", state=state)).body.decode()
        hostile = (await request(app, "/", headers={"host": 'x"><script>'}, state=state)).body.decode()
        while (await request(app, "/health", state=state)).status != 200:
            await asyncio.sleep(0.01)  # the database is checked in the background
        for link in ("/metrics", "/health", "/health/live", "/health/ready"):
            assert f'href="{link}"' in page
            assert (await request(app, link, state=state)).status == 200
    scope = {"type": "http", "scheme": "http", "server": (HOST, 80), "path": "/", "query_string": b"", "headers": []}
    mounted = bytes((await home(Request({**scope, "root_path": '/x"</script>'}))).body).decode()
    assert 'x"><script>' not in hostile
    assert hostile.count("<script>") == mounted.count("</script>") == 1
    assert 'const root = "/x\\"\\u003c/script>"' in mounted


@pytest.mark.needs("redis")
def test_the_commands_on_the_home_page_work(sample: SampleApp, tmp_path: Path) -> None:
    page = ask(sample.port, "GET", "/")
    commands = "\n".join(unescape(block) for block in re.findall("<pre[^>]*>(.*?)</pre>", page, re.DOTALL))
    quiet = 'curl() { command curl --silent --show-error --fail-with-body --noproxy "*" "$@"; }'
    done = subprocess.run(
        ["bash", "-e", "-c", f"{quiet}\n{commands}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for content in ('"name":"first"', '"added":', '"items":[', '"users":[', '"total":'):
        assert content in done.stdout


@pytest.mark.needs("k6")
@pytest.mark.needs("redis")
def test_the_smoke_scenario_holds(sample: SampleApp) -> None:
    before = posted(sample)
    result = k6(ROOT / "k6/smoke.js", BASE_URL=f"http://{HOST}:{sample.port}")
    assert result.passed, result.report
    assert result.metrics["checks"]["passes"] == 10 * 18 + 2 + 2 + 3
    assert posted(sample) - before == Counter({"201": 10, "422": 10})


def posted(sample: SampleApp) -> Counter[str]:
    """Return the number of posted items by status."""
    page = ask(sample.port, "GET", "/metrics")
    found = re.findall(
        r'^http_request_duration_seconds_count\{method="POST",route="/api/data",status="(\d+)"\} (\d+)$', page, re.M
    )
    return Counter({status: int(count) for status, count in found})


@pytest.mark.usefixtures("empty_database")
async def test_one_event_of_each_kind_is_counted_and_logged(tmp_path: Path) -> None:
    overrides = [f'plugins.logging.directory="{tmp_path}"', 'plugins.logging.console="off"']
    app = create_app(FILE, overrides=overrides)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        await visitor.post("/api/data", b'{"name": "good", "value": 5}')
        await visitor.post("/api/data", b'{"name": "bad"}')
        page = (await request(app, "/metrics", state=state)).body.decode()
    for sample in (
        'sample_items_added_total{outcome="stored"} 1',
        'sample_items_added_total{outcome="rejected"} 1',
        "sample_newest_item 1",
        'sample_item_values_bucket{le="10.0"} 1',
    ):
        assert f"{sample}\n" in page
    lines = [orjson.loads(line) for line in (tmp_path / "combined.log").read_bytes().splitlines()]
    events = {line["event"]: line for line in lines}
    assert events["item added"]["name"] == "good"
    assert events["item rejected"]["level"] == "warning"
    assert {line["service"] for line in lines} == {"sample"}


@pytest.mark.needs("k6")
def test_the_smoke_scenario_can_fail() -> None:
    result = k6(ROOT / "k6/smoke.js", BASE_URL=f"http://{HOST}:1", ITERATIONS=1)
    assert not result.passed


def test_make_run_serves_until_ctrl_c_and_exits_with_0() -> None:
    (port,) = free_ports(1)
    environment = {**os.environ, "PORT": str(port)}
    child, terminal = pty.fork()
    if child == 0:
        os.chdir(ROOT)
        os.execvpe("make", ["make", "run", f"VENV={sys.prefix}"], environment)
    wait_for("the sample application", lambda: "It runs" in ask(port, "GET", "/"), limit=120)
    assert '"token":' in ask(port, "POST", "/auth/login", LOGIN.decode())
    assert (ROOT / "sample-keys.json").stat().st_mode & 0o777 == 0o600
    os.write(terminal, b"\x03")
    output = _read_all(terminal)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0, output
    assert 0 <= output.find(f"Open http://127.0.0.1:{port}/ in a browser") < output.index("serving sample_app")
    assert f"curl -i http://127.0.0.1:{port}/" in output
    assert f"curl http://127.0.0.1:{port}/health" in output
    assert "stopped; all requests completed" in output


def _read_all(terminal: int) -> str:
    text = b""
    try:
        while part := os.read(terminal, 4096):
            text += part
    except OSError:  # the peer has disconnected
        pass
    os.close(terminal)
    return text.decode()


def test_the_wheel_contains_the_host_and_its_templates(tmp_path: Path) -> None:
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
    templates = [path.relative_to(ROOT) for path in (ROOT / "scalekit/templates").rglob("*.txt")]
    for wanted in ("scalekit/app.py", "scalekit/py.typed", *map(str, templates)):
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
        visitor = await Visitor(app, state).login()
        first = await visitor.post("/api/users/import", orjson.dumps(USERS[:2]))
        again = await visitor.post("/api/users/import", orjson.dumps(USERS))
        listed = await visitor.get("/api/users/active")
    assert orjson.loads(first.body) == {"added": 2, "skipped": 0}
    assert orjson.loads(again.body) == {"added": 1, "skipped": 2}
    found = orjson.loads(listed.body)["users"]
    assert [(user["email"], user["profile"]) for user in found] == [
        ("bob@example.org", {"name": "Bob", "avatar": None}),
        ("ada@example.org", {"name": "Ada", "avatar": "/ada.png"}),
    ]


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{}",
        b'[{"email": "x"}]',
        b'[{"email": "no", "name": "x"}]',
        b'[{"email": "a@\\u0000", "name": "x"}]',
        b'[{"email": "a@b", "name": "\\u0000"}]',
        b'[{"email": "a@b", "name": "x", "avatar": "\\u0000"}]',
    ],
)
async def test_an_invalid_list_of_users_is_rejected_and_none_is_added(body: bytes) -> None:
    app = create_app(FILE)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        response = await visitor.post("/api/users/import", body)
        listed = await visitor.get("/api/users/active")
    assert response.status == 422
    assert orjson.loads(listed.body) == {"users": []}


@pytest.mark.needs("redis")
def test_lists_are_cached_until_a_write_in_any_worker(sample: SampleApp) -> None:
    with httpx2.Client(base_url=f"http://127.0.0.1:{sample.port}", timeout=60) as client:
        token = client.post("/auth/login", content=LOGIN).raise_for_status().json()["token"]
        client.headers["Authorization"] = f"Bearer {token}"
        for path, add, body in (
            ("/api/data", "/api/data", {"name": "kept", "value": 1}),
            ("/api/users/active", "/api/users/import", [{"email": "kept@example.org", "name": "kept"}]),
        ):
            client.get(path).raise_for_status()
            wait_for("a stored response", partial(_is_stored, client, path))
            client.post(add, json=body).raise_for_status()
            wait_for("the new list", partial(_is_new, client, path))
            assert all(_is_new(client, path) for _ in range(20))


def _is_stored(client: httpx2.Client, path: str) -> bool:
    return "hit" in client.get(path).headers["cache-status"]


def _is_new(client: httpx2.Client, path: str) -> bool:
    return "kept" in client.get(path).text


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize("path", ["/api/data", "/api/users/active"])
async def test_a_list_is_stored_by_the_service_and_by_no_cache_in_front(path: str) -> None:
    app = create_app(FILE)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        made, stored = await visitor.get(path), await visitor.get(path)
        stranger = await request(app, path, state=state)
    assert "hit" in (stored.header("cache-status") or "")
    for response in (made, stored):
        assert response.header("cache-control") == "private"
        assert response.header("cdn-cache-control") is None
    assert stranger.status == 401


@pytest.mark.usefixtures("empty_database")
async def test_requests_and_logins_of_a_client_address_are_limited() -> None:
    app = create_app(FILE)
    async with running(app) as state:
        visitor = await Visitor(app, state).login()
        logins = [(await request(app, "/auth/login", method="POST", state=state)).status for _ in range(5)]
        statuses = [(await visitor.get("/api/data")).status for _ in range(101)]
    assert logins == [422] * 4 + [429]
    assert statuses == [200] * 100 + [429]


@pytest.mark.usefixtures("empty_database")
async def test_a_valid_login_returns_tokens_for_json_and_form() -> None:
    form = {"content-type": "application/x-www-form-urlencoded"}
    app = create_app(FILE)
    async with running(app) as state:
        for body, headers in ((LOGIN, {}), (b"username=testuser&password=testpass", form)):
            response = await request(app, "/auth/login", method="POST", body=body, headers=headers, state=state)
            assert response.status == 200
            assert list(orjson.loads(response.body)) == ["token", "refresh_token", "expires_in"]
        for path in ("/api/data", "/api/users/active", "/api/nothing", "/api", "//api/data"):
            assert (await request(app, path, state=state)).status == 401
        assert (await (await Visitor(app, state).login()).get("/api/nothing")).status == 404


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize(
    ("body", "form", "status"),
    [
        (b'{"username": "testuser", "password": "wrong"}', False, 401),
        (b'{"username": "nobody", "password": "testpass"}', False, 401),
        (b"username=testuser&password=wrong", True, 401),
        (b"username=testuser", True, 422),
        (b"\xff", True, 422),
        (b"username=a\x00&password=b", True, 422),
        (b"{", False, 422),
        (b'{"username": "testuser", "password": 1}', False, 422),
    ],
)
async def test_an_invalid_login_is_rejected(body: bytes, form: bool, status: int) -> None:
    headers = {"content-type": "application/x-www-form-urlencoded"} if form else {}
    app = create_app(FILE)
    async with running(app) as state:
        response = await request(app, "/auth/login", method="POST", body=body, headers=headers, state=state)
    assert response.status == status
    assert response.header("content-type") == "application/problem+json"
    assert response.header("set-cookie") is None


@pytest.mark.usefixtures("empty_database")
@pytest.mark.parametrize(
    ("command", "shown"),
    [
        (["pool", "migrate", "--pending"], "0001_"),
        (["idempotency", "list"], "key"),
        (["queue", "list"], "name"),
        (["queue", "status", "none"], "no message 'none' has a status"),
        (["queue", "paused"], "no service responds"),
    ],
    ids=["migrations", "idempotency keys", "queues", "jobs", "pauses"],
)
def test_commands_run_with_all_plugins_of_the_sample(command: list[str], shown: str, tmp_path: Path) -> None:
    environment = os.environ | {"PORT": str(*free_ports(1))}
    environment |= {"QUEUE_URL": f"sqlite:///{tmp_path}/queue.db", "JWT_KEY_FILE": str(tmp_path / "keys.json")}
    done = command_line.scalekit("-c", str(FILE), *command, folder=tmp_path, environment=environment)
    assert shown in done.stdout + done.stderr
    assert "did not start" not in done.stderr


@pytest.mark.usefixtures("empty_database")
async def test_old_items_are_removed_by_a_schedule(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("QUEUE_URL", f"sqlite:///{tmp_path}/queue.db")
    monkeypatch.setattr("sample_app.events.KEPT_ITEMS", 3)
    app = create_app(FILE)
    async with running(app), asyncio.timeout(60):
        database, scheduler = app.context.get(DATABASE), app.context.get(SERVICE).scheduler
        await database.execute(
            "INSERT INTO items (name, value) VALUES ('a', 1), ('b', 2), ('c', 3), ('d', 4), ('e', 5)"
        )
        assert scheduler is not None
        await scheduler.trigger("trim_items")
        while await database.fetch_val("SELECT count(*) FROM items") > 3:
            await asyncio.sleep(0.01)
        assert await database.fetch_val("SELECT min(id) FROM items") == 3
