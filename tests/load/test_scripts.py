"""Every scenario runs for some seconds against the real sample application, and leaves a page with pictures."""

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
WATCHED = "8s"
"""Long enough to see the memory twice though an answer takes seconds."""
LENIENT = {"P95": 10_000}
"""Milliseconds: the machine may be busy, and no test is of how fast it is."""
BREAKS = 99
"""k6's status when a threshold is broken, which `stress` and `breakpoint` are there to do."""

HOLDING: list[tuple[str, dict[str, object]]] = [
    ("smoke", {}),
    ("load", {"VUS": 10}),
    ("spike", {"RATE": 10}),
    ("soak", {"RATE": 20, "GROWTH": 1000, "DURATION": WATCHED}),
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
"""Draws no page: `make bench` reads its figures."""


@pytest.fixture(scope="module")
def sample() -> Iterator[Sample]:
    with Inventory() as inventory, Sample(environment={"INVENTORY_PORT": str(inventory.port)}) as running:
        yield running


def run(script: str, url: str, folder: Path, **environment: object) -> K6Result:
    """Run a scenario briefly; return what came of it, when its page is as it should be."""
    more: dict[str, Any] = {"DURATION": f"{SECONDS}s", "SUMMARY": folder, "BASE_URL": url, **LENIENT, **environment}
    result = k6(ROOT / f"k6/{script}.js", **more)
    page = (folder / f"{script}.html").read_text()
    assert page.count("<svg") >= 3
    assert all(len(points.split()) > 1 for points in re.findall(r'<polyline points="([^"]+)"', page)), page
    assert not re.search("https?://|<script", page)
    assert result.metrics["http_reqs"]["count"] > 5
    return result


@pytest.mark.parametrize(("script", "environment"), HOLDING)
def test_it_holds(sample: Sample, tmp_path: Path, script: str, environment: dict[str, object]) -> None:
    result = run(script, sample.url, tmp_path, **environment)
    assert result.passed, result.report
    failed = [name for name, check in result.checks.items() if check["fails"]]
    assert not failed


def test_no_more_get_in_than_the_limit_says(tmp_path: Path) -> None:
    with Sample(file=FILE) as limited:
        result = run(LIMITED, limited.url, tmp_path, PATH_LIMITED="/", RATE=60)
    assert result.passed, result.report
    assert 100 <= result.metrics["admitted"]["count"] <= 110
    assert result.metrics["refused"]["count"] > 0


def test_what_is_offered_is_counted_as_accepted_or_refused(sample: Sample) -> None:
    result = k6(ROOT / f"k6/{OVERLOAD}.js", BASE_URL=sample.url, RATE=20, SECONDS=SECONDS, WARM_UP=0, PATIENCE=10)
    assert result.passed, result.report
    assert result.metrics["accepted"]["count"] == result.metrics["http_reqs"]["count"] >= 20 * SECONDS - 1
    assert "failed" not in result.metrics


@pytest.mark.parametrize("script", BREAKING)
def test_it_finds_how_much_is_too_much(sample: Sample, tmp_path: Path, script: str) -> None:
    result = run(script, sample.url, tmp_path, RATE=100)
    assert result.status in (0, BREAKS), result.report
    page = (tmp_path / f"{script}.html").read_text()
    assert re.search(r"<th>knee</th><td>[\d.]+ requests a second</td>", page)


def test_stress_ends_at_the_first_slice_that_breaks(sample: Sample, tmp_path: Path) -> None:
    result = run("stress", sample.url, tmp_path, RATE=100, P95=0.000001)
    assert result.status == BREAKS, result.report
    assert "gave in</th><td>at 0." in (tmp_path / "stress.html").read_text()


def test_soak_fails_when_memory_grows(sample: Sample, tmp_path: Path) -> None:
    result = run("soak", sample.url, tmp_path, RATE=20, GROWTH=-1000, DURATION=WATCHED)
    assert result.status == BREAKS, result.report
    assert "memory_mib_a_minute: value&lt;-1000: broken" in (tmp_path / "soak.html").read_text()


@pytest.fixture(scope="module")
def broken() -> Iterator[Sample]:
    """Nobody counts items, strangers are let in, and there is no second service."""
    options = ("plugins.queue.consume_in=workers", "plugins.jwt.protected_paths=[]")
    with Sample(*options, environment={"INVENTORY_PORT": "1"}) as running:
        yield running


@pytest.mark.parametrize("script", ["queue", "jwt", "discovery"])
def test_a_promise_that_is_broken_is_seen(broken: Sample, tmp_path: Path, script: str) -> None:
    result = run(script, broken.url, tmp_path, RATE=10, VUS=2, DURATION="1s", PATIENCE=1)
    assert result.status == BREAKS, result.report
    assert 'class="broken"' in (tmp_path / f"{script}.html").read_text()


def test_every_scenario_is_run_here() -> None:
    here = {script for script, _ in HOLDING} | {*BREAKING, LIMITED, OVERLOAD}
    assert here == {path.stem for path in (ROOT / "k6").glob("*.js")}
