"""Dashboard and rules cover the enabled plugins, and each of their queries returns data."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from scalekit_metrics.grafana import unique_id
from tests.command_line import scalekit
from tests.metrics.scrape_client import parse_samples
from tests.processes import wait_for
from tests.runbook import PAGE, PLUGINS, runbook
from tests.servers import Postgres, Prometheus, Redis, ask
from tests.service import ROOT, Service
from tests.tools import promtool

SOURCE = """\
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from scalekit.contracts import BROADCAST, CACHE, DATABASE, QUEUE, READS, SERVICES, TOKENS
from scalekit.contracts import Consumers, Message
from scalekit.errors import Unavailable

consumers = Consumers()


@consumers.on("created")
async def consume(message: Message[dict]) -> None: ...


async def read(request):
    return JSONResponse({"one": await READS(request).fetch_val("SELECT 1")})


async def write(request):
    await DATABASE(request).execute("CREATE TABLE IF NOT EXISTS visited (n int)")
    return JSONResponse({})


async def publish(request):
    return JSONResponse(await QUEUE(request).publish("created", {}))


async def broadcast(request):
    async with BROADCAST(request).subscribe("news") as messages:
        await BROADCAST(request).publish("news", {})
        return JSONResponse((await anext(messages)).data)


async def log_in(request):
    return JSONResponse((await TOKENS(request).issue("ada")).access)


async def cache(request):
    await CACHE(request).set("a", 1, "1m")
    return JSONResponse(await CACHE(request).get("a"))


async def call(request):
    try:
        async with SERVICES(request).client("absent").get("/") as response:
            return JSONResponse(response.status)
    except Unavailable:
        return JSONResponse("unavailable")


async def fail(request):
    raise RuntimeError("on purpose")


app = Starlette(
    routes=[
        Route("/read", read),
        Route("/write", write, methods=["POST"]),
        Route("/cache", cache),
        Route("/call", call),
        Route("/publish", publish),
        Route("/broadcast", broadcast),
        Route("/login", log_in),
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
[plugins.tracing]
endpoint = "http://127.0.0.1:1"
[plugins.cors]
origins = ["https://shop.example"]
[plugins.broadcast]
url = "{redis}"
[plugins.cache]
url = "{redis}"
[plugins.cluster-cache]
per_worker = true
[plugins.ratelimit]
url = "{redis}"
default = "1000000/s"
[plugins.queue]
consumers = "service:consumers"
[plugins.idempotency]
[plugins.jwt]
secret = "a secret of the tests, long enough to be one"
[plugins.discovery]
services = {{absent = ["http://127.0.0.1:1"]}}
[plugins.pool]
url = "{primary}"
[plugins.replica]
urls = ["{replica}"]
secret = "a secret of the tests, long enough to be one"
"""
ENABLED = re.findall(r"\[plugins\.(.+)\]", REPLICATED)
METRIC_NAME = re.compile(r"\b(?:scalekit|http|websocket)_\w+")
SUFFIX = re.compile(r"_(?:total|count|bucket|sum)$")


class GeneratedFiles:
    """The files that the command writes for the configuration *toml*."""

    def __init__(self, folder: Path, toml: str) -> None:
        (folder / "service.py").write_text(SOURCE)
        (folder / "scalekit.toml").write_text(f'[app]\ntarget = "service:app"\n{toml}')
        arguments = ["metrics", "dashboard", "--directory", "out", "--title", "shop"]
        done = scalekit(*arguments, folder=folder, environment={**os.environ, "PYTHONPATH": f"{ROOT}/tests/example"})
        assert done.returncode == 0, done.stderr
        self.rules_file = folder / "out/rules.yml"
        self.rules = self.rules_file.read_text()
        self.runbook = (folder / "out/runbook.md").read_text()
        self.dashboard: dict[str, Any] = json.loads((folder / "out/dashboard.json").read_text())

    @property
    def rows(self) -> list[str]:
        return [panel["title"] for panel in self.dashboard["panels"] if panel["type"] == "row"]

    @property
    def panels(self) -> list[dict[str, Any]]:
        """All panels, those within collapsed rows included."""
        return [each for panel in self.dashboard["panels"] for each in (panel, *panel.get("panels", ()))]

    @property
    def panel_queries(self) -> list[str]:
        """The queries of the panels, as Grafana sends them."""
        targets = [target for panel in self.panels for target in panel.get("targets", ())]
        return [each["expr"].replace("$__rate_interval", "1m").replace("$job", ".*") for each in targets]

    @property
    def recording_rules(self) -> dict[str, str]:
        return dict(zip(self._values("record"), self._expressions("record"), strict=True))

    @property
    def alert_queries(self) -> dict[str, str]:
        """The query of each alert, without its threshold."""
        queries = [query.rpartition(" ")[0].rpartition(" ")[0] for query in self._expressions("alert")]
        return dict(zip(self._values("alert"), queries, strict=True))

    def _values(self, kind: str) -> list[str]:
        return re.findall(rf"- {kind}: (.+)", self.rules)

    def _expressions(self, kind: str) -> Iterator[str]:
        yield from (json.loads(text) for text in re.findall(rf"- {kind}: .+\n +expr: (.+)", self.rules))


def names_in(queries: list[str]) -> set[str]:
    return {name for query in queries for name in METRIC_NAME.findall(query)}


def load(service: Service) -> None:
    """Send requests that record every metric."""
    for _ in range(5):
        service.get("/read")
        ask(service.port, "POST", "/write")
        if "[plugins.discovery]" in service.toml:
            for path in ("/cache", "/call", "/publish", "/broadcast", "/login"):
                service.get(path)
        with pytest.raises(OSError, match="500"):
            service.get("/fail")


def queries_without_data(prometheus: Prometheus, queries: list[str]) -> list[str]:
    """Return the queries without a result."""
    return [query for query in queries if not prometheus.query(query)]


def load_until_all_have_data(service: Service, prometheus: Prometheus, queries: list[str]) -> None:
    missing = list(queries)

    def complete() -> bool:
        load(service)
        missing[:] = queries_without_data(prometheus, missing)
        return not missing

    try:
        wait_for("data", complete, limit=60)
    except TimeoutError as error:
        raise AssertionError(f"no data: {missing}") from error


@pytest.fixture(scope="module")
def replicated() -> Iterator[str]:
    with Redis() as redis, Postgres("max_connections=60") as primary, primary.replica("r1") as replica:
        yield REPLICATED.format(primary=primary.url, replica=replica.url, redis=redis.url)


def check(files: GeneratedFiles, toml: str) -> None:
    with (
        Service(toml, {"service": SOURCE}) as service,
        Prometheus(service.port, rules=files.rules) as prometheus,
    ):
        queries = [
            *files.panel_queries,
            *files.recording_rules.values(),
            *files.recording_rules,
            *files.alert_queries.values(),
        ]
        load_until_all_have_data(service, prometheus, queries)
        wait_for("the alerts", partial(_pending, prometheus, {"HttpExceptions", "ScalekitHighErrorRate"}))
        exported = {name for name, _ in parse_samples(service.get("/metrics")) if METRIC_NAME.fullmatch(name)}
    # A missing series reads as zero, so a wrong name would go unnoticed: every exported name must be queried.
    queried = names_in([*files.panel_queries, *files.recording_rules.values()])
    assert {SUFFIX.sub("", name) for name in exported} - {SUFFIX.sub("", name) for name in queried} == set()
    plain = {name for name in exported if not name.endswith(("_bucket", "_sum", "_count"))}
    assert plain - queried == set()


def _pending(prometheus: Prometheus, names: set[str]) -> bool:
    alerts = json.loads(ask(prometheus.port, "GET", "/api/v1/alerts"))["data"]["alerts"]
    return names <= {alert["labels"]["alertname"] for alert in alerts}


def test_the_dashboard_is_short_until_a_row_is_opened(tmp_path: Path) -> None:
    files = GeneratedFiles(tmp_path, "[plugins.metrics]\n[plugins.cache]\n" + SQLITE.partition("\n")[2])
    overview = [panel["title"] for panel in files.dashboard["panels"] if panel["type"] != "row"]
    assert overview[:4] == ["Request rate", "Error rate", "p99 latency", "Requests in flight"]
    assert {"Errors by route", "Cache hits", "Database connections in use"} <= set(overview)
    for row in files.dashboard["panels"]:
        assert row["type"] != "row" or row.get("collapsed") == (row["title"] != "Overview")
    titles = {panel["title"] for panel in files.panels}
    assert {"Query duration", "Connections opened", "HTTP request duration", "Requests"} <= titles
    assert not any("_" in title for title in titles)
    assert len({panel["id"] for panel in files.panels}) == len(files.panels)
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in files.panels]
    assert len(set(places)) == len(places)


@pytest.mark.parametrize(("one", "other"), [("shop", "Shop"), ("x" * 50, "x" * 51), ("Läden", "Loden"), ("", " ")])
def test_each_title_has_an_identifier_of_its_own(one: str, other: str) -> None:
    identifiers = [unique_id(title) for title in (one, other)]
    assert identifiers[0] != identifiers[1]
    assert all(re.fullmatch("[a-z0-9-]{1,40}", each) for each in identifiers)


def test_every_alert_names_the_service_and_a_section_of_the_runbook(tmp_path: Path) -> None:
    files = GeneratedFiles(tmp_path, f'name = "shop-api"\n{SQLITE}')
    sections = {f"runbook.md#{name.lower()}" for name in re.findall("^### (.+)$", files.runbook, re.MULTILINE)}
    alerts = re.findall(r"- alert: ", files.rules)
    labelled = re.findall(r'labels: \{severity: \w+, service: "shop-api"\}', files.rules)
    assert len(labelled) == len(alerts)
    assert sorted(json.loads(url) for url in re.findall("runbook_url: (.+)", files.rules)) == sorted(sections)
    assert len(alerts) == len(sections) > 3


def test_the_runbook_of_the_documentation_has_every_alert() -> None:
    assert PAGE.read_text() == runbook(), "run python -m tests.runbook"
    assert sorted(PLUGINS) == sorted({*ENABLED, "headers", "compression"})


@pytest.mark.needs("promtool")
def test_plugins_that_are_not_enabled_have_no_row(tmp_path: Path) -> None:
    files = GeneratedFiles(tmp_path, SQLITE)
    assert files.rows == ["Overview", "host", "metrics", "pool"]
    assert not any("scalekit_replica" in query for query in [*files.panel_queries, *files.recording_rules.values()])
    assert not any("scalekit_workers" in query for query in [*files.panel_queries, *files.recording_rules.values()])
    checked = promtool("check", "rules", files.rules_file)
    assert checked.returncode == 0, checked.stderr


@pytest.mark.needs("prometheus", "promtool", "postgres", "redis")
def test_every_query_returns_data_with_all_plugins(tmp_path: Path, replicated: str) -> None:
    files = GeneratedFiles(tmp_path, replicated)
    assert sorted(files.rows) == sorted(["Overview", "host", "redis", *ENABLED])
    checked = promtool("check", "rules", files.rules_file)
    assert checked.returncode == 0, checked.stderr
    check(files, replicated)


def test_a_third_party_plugin_has_a_row(tmp_path: Path) -> None:
    files = GeneratedFiles(tmp_path, "[plugins.metrics]\n[plugins.visits]\n")
    assert files.rows == ["Overview", "host", "metrics", "visits"]
    assert 'sum (scalekit_visits_names{job=~".*"})' in files.panel_queries
    assert not any("scalekit_pool" in query for query in files.panel_queries)
