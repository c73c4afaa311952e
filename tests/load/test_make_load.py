"""``make load`` by hand."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

pytestmark = pytest.mark.needs("k6")


def test_it_starts_the_sample_runs_a_scenario_and_ends_with_its_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.load", "smoke", "--summary", str(tmp_path / "pages")]
    good = subprocess.run(command, cwd=ROOT, env={**os.environ, "ITERATIONS": "2"}, capture_output=True, timeout=180)
    assert good.returncode == 0, good.stderr.decode()
    assert "<svg" in (tmp_path / "pages/smoke.html").read_text()
    nobody = {**os.environ, "ITERATIONS": "2", "BASE_URL": "http://127.0.0.1:1"}
    bad = subprocess.run(command, cwd=ROOT, env=nobody, capture_output=True, timeout=180)
    assert bad.returncode != 0


def test_a_scenario_that_is_not_there_is_named() -> None:
    command = [sys.executable, "-m", "tests.load", "nonsense"]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert ended.returncode == 2
    assert "'load'" in ended.stderr
