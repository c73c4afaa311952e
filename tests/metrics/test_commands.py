"""The dashboard and the rules are of the plugins that are on, and every query in them returns data."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.command_line import scalekit
from tests.metrics.scrape_client import numbers_in
from tests.processes import wait_for
from tests.servers import Postgres, Prometheus, Redis, ask
from tests.service import ROOT, Service
from tests.tools import promtool

SOURCE = """\
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.contracts import CACHE, DATABASE, QUEUE, READS, SERVICES, TOKENS
from scalekit.contracts.consumers import Consumers, Message
from scalekit.errors import Unavailable

consumers = Consumers()


@consumers.on("told")
async def hear(message: Message[dict]) -> None: ...


async def read(request):
    return JSONResponse({"one": await READS(request).fetch_val("SELECT 1")})


async def write(request):
    await DATABASE(request).execute("CREATE TABLE IF NOT EXISTS visited (n int)")
    return JSONResponse({})


async def tell(request):
    return JSONResponse(await QUEUE(request).publish("told", {}))


async def enter(request):
    return JSONResponse((await TOKENS(request).issue("ada")).access)


async def keep(request):
    await CACHE(request).set("a", 1, "1m")
    return JSONResponse(await CACHE(request).get("a"))


async def call(request):
    try:
        async with SERVICES(request).client("gone").get("/") as answer:
            return JSONResponse(answer.status)
    except Unavailable:
        return JSONResponse("gone")


async def fail(request):
    raise RuntimeError("on purpose")


app = Starlette(
    routes=[
        Route("/read", read),
        Route("/write", write, methods=["POST"]),
        Route("/keep", keep),
        Route("/call", call),
        Route("/tell", tell),
        Route("/enter", enter),
        Route("/fail", fail),
    ]
)
"""
SQLITE = """\
[plugins.metrics]
[plugins.pool]
url = "sqlite:///data.db"
[plugins.replica]
"""
REPLICATED = """\
[server]
workers = 2
[plugins.metrics]
[plugins.logging]
[plugins.cache]
url = "{redis}"
[plugins.cluster-cache]
per_worker = true
[plugins.ratelimit]
url = "{redis}"
default = "1000000/s"
[plugins.queue]
consumers = "service:consumers"
[plugins.jwt]
secret = "a secret of the tests, long enough to be one"
[plugins.discovery]
services = {{gone = ["http://127.0.0.1:1"]}}
[plugins.pool]
url = "{primary}"
[plugins.replica]
urls = ["{replica}"]
secret = "a secret of the tests, long enough to be one"
"""
ON = ["cache", "cluster-cache", "discovery", "jwt", "logging", "metrics", "pool", "queue", "ratelimit", "replica"]
OURS = re.compile(r"\b(?:scalekit|http|websocket)_\w+")
SUFFIX = re.compile(r"_(?:total|count|bucket|sum)$")


class Written:
    """The two files that the command writes for a service's own file."""

    def __init__(self, folder: Path, toml: str) -> None:
        (folder / "service.py").write_text(SOURCE)
        (folder / "scalekit.toml").write_text(f'[app]\ntarget = "service:app"\n{toml}')
        words = ["metrics", "dashboard", "--directory", "made", "--title", "shop"]
        done = scalekit(*words, folder=folder, environment={**os.environ, "PYTHONPATH": f"{ROOT}/tests/example"})
        assert done.returncode == 0, done.stderr
        self.rules_file = folder / "made/rules.yml"
        self.rules = self.rules_file.read_text()
        self.dashboard: dict[str, Any] = json.loads((folder / "made/dashboard.json").read_text())

    @property
    def rows(self) -> list[str]:
        return [panel["title"] for panel in self.dashboard["panels"] if panel["type"] == "row"]

    @property
    def shown(self) -> list[str]:
        """The queries of the panels, as Grafana sends them."""
        targets = [target for panel in self.dashboard["panels"] for target in panel.get("targets", ())]
        return [each["expr"].replace("$__rate_interval", "1m").replace("$job", ".*") for each in targets]

    @property
    def recorded(self) -> dict[str, str]:
        return dict(zip(self._values("record"), self._of_each("record"), strict=True))

    @property
    def watched(self) -> dict[str, str]:
        """What each alert compares with its bound."""
        compared = [query.rpartition(" ")[0].rpartition(" ")[0] for query in self._of_each("alert")]
        return dict(zip(self._values("alert"), compared, strict=True))

    def _values(self, kind: str) -> list[str]:
        return re.findall(rf"- {kind}: (.+)", self.rules)

    def _of_each(self, kind: str) -> Iterator[str]:
        yield from (json.loads(text) for text in re.findall(rf"- {kind}: .+\n +expr: (.+)", self.rules))


def names_in(queries: list[str]) -> set[str]:
    return {name for query in queries for name in OURS.findall(query)}


def load(service: Service) -> None:
    """Ask for everything, and let everything happen that is counted."""
    for _ in range(5):
        service.get("/read")
        ask(service.port, "POST", "/write")
        if "[plugins.discovery]" in service.toml:
            for path in ("/keep", "/call", "/tell", "/enter"):
                service.get(path)
        with pytest.raises(OSError, match="500"):
            service.get("/fail")


def silent(prometheus: Prometheus, queries: list[str]) -> list[str]:
    """Return the queries that select nothing now."""
    return [query for query in queries if not prometheus.query(query)]


def load_until_all_answer(service: Service, prometheus: Prometheus, queries: list[str]) -> None:
    unanswered = list(queries)

    def answered() -> bool:
        load(service)
        unanswered[:] = silent(prometheus, unanswered)
        return not unanswered

    try:
        wait_for("data", answered, limit=60)
    except TimeoutError as error:
        raise AssertionError(f"no data: {unanswered}") from error


@pytest.fixture(scope="module")
def replicated() -> Iterator[str]:
    with Redis() as redis, Postgres("max_connections=60") as primary, primary.replica("r1") as replica:
        yield REPLICATED.format(primary=primary.url, replica=replica.url, redis=redis.url)


def check(written: Written, toml: str) -> None:
    with (
        Service(toml, {"service": SOURCE}) as service,
        Prometheus(service.port, rules=written.rules) as prometheus,
    ):
        queries = [*written.shown, *written.recorded.values(), *written.recorded, *written.watched.values()]
        load_until_all_answer(service, prometheus, queries)
        wait_for("the alerts of what fails", partial(_pending, prometheus, {"HttpExceptions", "ScalekitHighErrorRate"}))
        on_the_page = {name for name, _ in numbers_in(service.get("/metrics")) if OURS.fullmatch(name)}
    # A series that is not there reads as zero, so a wrong name would do too: every name on the page is asked for.
    asked = names_in([*written.shown, *written.recorded.values()])
    assert {SUFFIX.sub("", name) for name in on_the_page} - {SUFFIX.sub("", name) for name in asked} == set()
    whole = {name for name in on_the_page if not name.endswith(("_bucket", "_sum", "_count"))}
    assert whole - asked == set()


def _pending(prometheus: Prometheus, names: set[str]) -> bool:
    alerts = json.loads(ask(prometheus.port, "GET", "/api/v1/alerts"))["data"]["alerts"]
    return names <= {alert["labels"]["alertname"] for alert in alerts}


@pytest.mark.needs("promtool")
def test_what_is_off_is_not_in_it(tmp_path: Path) -> None:
    written = Written(tmp_path, SQLITE)
    assert written.rows == ["Overview", "host", "metrics", "pool"]
    assert not any("scalekit_replica" in query for query in [*written.shown, *written.recorded.values()])
    assert not any("scalekit_workers" in query for query in [*written.shown, *written.recorded.values()])
    checked = promtool("check", "rules", written.rules_file)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.needs("prometheus", "promtool", "postgres", "redis")
def test_every_query_returns_data_with_everything_on(tmp_path: Path, replicated: str) -> None:
    written = Written(tmp_path, replicated)
    assert sorted(written.rows) == sorted(["Overview", "host", "redis", *ON])
    checked = promtool("check", "rules", written.rules_file)
    assert checked.returncode == 0, checked.stderr
    check(written, replicated)


def test_a_plugin_of_others_gets_its_row(tmp_path: Path) -> None:
    written = Written(tmp_path, "[plugins.metrics]\n[plugins.visits]\n")
    assert written.rows == ["Overview", "host", "metrics", "visits"]
    assert 'sum (scalekit_visits_names{job=~".*"})' in written.shown
    assert not any("scalekit_pool" in query for query in written.shown)


def test_panels_do_not_overlap_and_have_numbers_of_their_own(tmp_path: Path) -> None:
    panels = Written(tmp_path, SQLITE).dashboard["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        assert place["x"] + place["w"] <= 24
        cells = {(x + place["x"], y + place["y"]) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, panel["title"]
        taken |= cells
