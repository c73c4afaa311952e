"""The seed of hypothesis changes with each commit and can be set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from tests.seed import ROOT, VARIABLE, seed


@pytest.fixture(autouse=True)
def _nothing_given(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(VARIABLE, raising=False)


def git(folder: Path, *words: str) -> None:
    person = ["-c", "user.name=a", "-c", "user.email=a@example.com", "-c", "commit.gpgsign=false"]
    subprocess.run(["git", *person, *words], cwd=folder, check=True, capture_output=True)


def test_each_commit_has_a_fixed_seed(tmp_path: Path) -> None:
    git(tmp_path, "init")
    git(tmp_path, "commit", "--allow-empty", "-m", "one")
    first = seed(tmp_path)
    assert seed(tmp_path) == first
    git(tmp_path, "commit", "--allow-empty", "-m", "two")
    assert seed(tmp_path) != first


def test_without_a_checkout_the_seed_is_fixed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert seed(tmp_path) == 0
    monkeypatch.setenv("PATH", str(tmp_path))  # no git either
    assert seed(tmp_path) == 0


def test_the_seed_can_be_set_or_random(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "17")
    assert seed() == 17
    monkeypatch.setenv(VARIABLE, "random")
    assert seed() != seed()
    monkeypatch.setenv(VARIABLE, "soon")
    with pytest.raises(ValueError, match="write a number, or random"):
        seed()


FAILS = """
from hypothesis import given, strategies as st
@given(st.integers())
def test_drawn(number): assert number < 100
"""


def test_a_failure_reports_the_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(VARIABLE, "17")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    (tmp_path / "test_drawn.py").write_text(FAILS)
    command = [sys.executable, "-m", "pytest", "-p", "tests.conftest", "-p", "no:cacheprovider", "test_drawn.py"]
    output = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120).stdout
    assert "hypothesis: HYPOTHESIS_SEED=17" in output
    assert "draw the same examples with HYPOTHESIS_SEED=17" in output
