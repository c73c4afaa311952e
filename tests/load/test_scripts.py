"""Every scenario runs for some seconds against the sample application and writes a report with charts."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.load.sample import Inventory, Sample
from tests.service import ROOT
from tests.tools import K6Result, k6

pytestmark = pytest.mark.needs("k6")

FILE = ROOT / "sample_app/scalekit.toml"
SECONDS = 3
SOAK_DURATION = "8s"
"""Long enough for two memory samples although a scrape may take seconds."""
LENIENT = {"P95": 10_000}
"""Upper bound of p95 latency in milliseconds, on a busy machine."""
THRESHOLD_FAILED = 99
"""Exit status of k6 when a threshold fails, as in `stress` and `breakpoint`."""

PASSING: list[tuple[str, dict[str, object]]] = [
    ("smoke", {}),
    ("load", {"VUS": 10}),
    ("spike", {"RATE": 10}),
    ("soak", {"RATE": 20, "GROWTH": 1000, "DURATION": SOAK_DURATION}),
    ("jwt", {"VUS": 2}),
    ("replica", {"RATE": 10}),
    ("cache", {"RATE": 50}),
    ("queue", {"RATE": 10}),
    ("discovery", {"RATE": 20}),
    ("failover", {"RATE": 20}),
]
BREAKING = ["stress", "breakpoint"]
LIMITED = "ratelimit"
OVERLOAD = "overload"
"""Writes no report: `make bench` reads its metrics."""


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    with Inventory() as inventory, Sample(environment={"INVENTORY_PORT": str(inventory.port)}) as running:
        yield running


def run(script: str, url: str, folder: Path, **environment: object) -> K6Result:
    """Run a scenario briefly, check its report and return its result."""
    variables: dict[str, Any] = {
        "DURATION": f"{SECONDS}s",
        "SUMMARY": folder,
        "BASE_URL": url,
        **LENIENT,
        **environment,
    }
    result = k6(ROOT / f"k6/{script}.js", **variables)
    page = (folder / f"{script}.html").read_text()
    assert page.count("<svg") >= 3
    assert all(len(points.split()) > 1 for points in re.findall(r'<polyline points="([^"]+)"', page)), page
    assert not re.search("https?://|<script", page)
    assert result.metrics["http_reqs"]["count"] > 5
    return result


@pytest.mark.parametrize(("script", "environment"), PASSING)
def test_the_scenario_passes(sample: Sample, tmp_path: Path, script: str, environment: dict[str, object]) -> None:
    result = run(script, sample.url, tmp_path, **environment)
    assert result.passed, result.report
    failed = [name for name, check in result.checks.items() if check["fails"]]
    assert not failed


def test_allowed_requests_do_not_exceed_the_limit(tmp_path: Path) -> None:
    with Sample(file=FILE) as sample:
        result = run(LIMITED, sample.url, tmp_path, TARGET_PATH="/", RATE=60)
    assert result.passed, result.report
    assert 100 <= result.metrics["allowed"]["count"] <= 110
    assert result.metrics["rejected"]["count"] > 0


def test_overload_counts_accepted_requests(sample: Sample) -> None:
    result = k6(ROOT / f"k6/{OVERLOAD}.js", BASE_URL=sample.url, RATE=20, SECONDS=SECONDS, WARM_UP=0, TIMEOUT=10)
    assert result.passed, result.report
    assert result.metrics["accepted"]["count"] == result.metrics["http_reqs"]["count"] >= 20 * SECONDS - 1
    assert "failed" not in result.metrics


@pytest.mark.parametrize("script", BREAKING)
def test_the_report_has_the_knee(sample: Sample, tmp_path: Path, script: str) -> None:
    result = run(script, sample.url, tmp_path, RATE=100)
    assert result.status in (0, THRESHOLD_FAILED), result.report
    page = (tmp_path / f"{script}.html").read_text()
    assert re.search(r"<th>knee</th><td>[\d.]+ requests per second</td>", page)


def test_stress_ends_at_the_first_slice_over_a_threshold(sample: Sample, tmp_path: Path) -> None:
    result = run("stress", sample.url, tmp_path, RATE=100, P95=0.000001)
    assert result.status == THRESHOLD_FAILED, result.report
    assert "breaking point</th><td>at 0." in (tmp_path / "stress.html").read_text()


def test_soak_fails_when_memory_grows(sample: Sample, tmp_path: Path) -> None:
    result = run("soak", sample.url, tmp_path, RATE=20, GROWTH=-1000, DURATION=SOAK_DURATION)
    assert result.status == THRESHOLD_FAILED, result.report
    assert "memory_growth_mib_per_minute: value&lt;-1000: failed" in (tmp_path / "soak.html").read_text()


@pytest.fixture(scope="module")
def misconfigured() -> Iterator[Sample]:
    """Yield a sample application without consumers, authentication and inventory service."""
    options = ("plugins.queue.consume_in=workers", "plugins.jwt.protected_paths=[]")
    with Sample(*options, environment={"INVENTORY_PORT": "1"}) as running:
        yield running


@pytest.mark.parametrize("script", ["queue", "jwt", "discovery"])
def test_a_scenario_fails_when_its_feature_does_not_work(misconfigured: Sample, tmp_path: Path, script: str) -> None:
    result = run(script, misconfigured.url, tmp_path, RATE=10, VUS=2, DURATION="1s", TIMEOUT=1)
    assert result.status == THRESHOLD_FAILED, result.report
    assert 'class="failed"' in (tmp_path / f"{script}.html").read_text()


def test_every_scenario_is_tested() -> None:
    tested = {script for script, _ in PASSING} | {*BREAKING, LIMITED, OVERLOAD}
    assert tested == {path.stem for path in (ROOT / "k6").glob("*.js")}
