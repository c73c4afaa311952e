"""``make load``."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.service import ROOT

pytestmark = pytest.mark.needs("k6")


def test_make_load_starts_the_sample_runs_a_scenario_and_exits_with_its_status(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "tests.load", "smoke", "--summary", str(tmp_path / "pages")]
    passed = subprocess.run(command, cwd=ROOT, env={**os.environ, "ITERATIONS": "2"}, capture_output=True, timeout=180)
    assert passed.returncode == 0, passed.stderr.decode()
    assert "<svg" in (tmp_path / "pages/smoke.html").read_text()
    unreachable = {**os.environ, "ITERATIONS": "2", "BASE_URL": "http://127.0.0.1:1"}
    failed = subprocess.run(command, cwd=ROOT, env=unreachable, capture_output=True, timeout=180)
    assert failed.returncode != 0


def test_an_unknown_scenario_is_rejected_with_the_choices() -> None:
    command = [sys.executable, "-m", "tests.load", "nonsense"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=180)
    assert done.returncode == 2
    assert "'load'" in done.stderr
