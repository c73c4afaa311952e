"""What ``scalekit new`` makes works as it is made."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.host.cli.conftest import Run


@pytest.mark.parametrize("name", ["greeting", "user-cache"])
def test_a_new_plugin_installs_is_listed_and_passes_its_own_tests(name: str, run: Run, tmp_path: Path) -> None:
    assert run("new", "plugin", name).returncode == 0
    folder = tmp_path / f"scalekit-{name}"
    site = tmp_path / "site"
    _command("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(site), str(folder))
    listed = run("plugins", PYTHONPATH=str(site)).stdout
    assert any(line.split()[:3] == [name, "no", f"scalekit-{name}"] for line in listed.splitlines())
    tests = _command("-m", "pytest", "-q", cwd=folder, PYTHONPATH=str(site))
    assert "9 passed" in tests


def test_a_new_plugin_is_turned_on_by_its_table(run: Run, tmp_path: Path) -> None:
    run("new", "plugin", "greeting")
    site = tmp_path / "site"
    folder = str(tmp_path / "scalekit-greeting")
    _command("-m", "pip", "install", "--no-deps", "--no-build-isolation", "--quiet", "--target", str(site), folder)
    toml = '[app]\ntarget = "service:app"\n[plugins.greeting]\nstart = 4\n'
    assert "x-greeting: 5" in run("get", "/", "-i", toml=toml, PYTHONPATH=str(site)).stdout
    result = run("check", toml=toml.replace("start", "strat"), PYTHONPATH=str(site))
    assert (
        "scalekit.toml:4: plugins.greeting.strat: unknown key; did you mean 'start'? (plugin greeting)" in result.stderr
    )


def test_a_new_app_passes_its_own_tests_and_checks(run: Run, tmp_path: Path) -> None:
    assert run("new", "app", "shop").returncode == 0
    folder = tmp_path / "shop"
    assert "2 passed" in _command("-m", "pytest", "-q", cwd=folder)
    assert "well formed" in _command("-m", "scalekit", "check", "--connect", cwd=folder)


@pytest.mark.parametrize("name", ["Upper", "1st", "a b", "../x", "a--b", "class", "-x", ""])
def test_a_name_that_cannot_be_a_package_is_refused(name: str, run: Run) -> None:
    result = run("new", "plugin", "--", name)
    assert result.returncode == 2
    assert "expected lower-case words" in result.stderr


def test_what_is_there_is_not_overwritten(run: Run, tmp_path: Path) -> None:
    (tmp_path / "shop").mkdir()
    result = run("new", "app", "shop")
    assert result.returncode == 2
    assert "shop is there already" in result.stderr


def _command(*arguments: str, cwd: Path | None = None, **environment: str) -> str:
    command = [sys.executable, *arguments]
    variables = {**os.environ, **environment}
    result = subprocess.run(command, cwd=cwd, env=variables, capture_output=True, text=True, timeout=300, check=False)
    assert result.returncode == 0, result.stdout + result.stderr
    return result.stdout
