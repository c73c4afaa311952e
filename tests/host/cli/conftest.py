from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.service import APPLICATION, ROOT

Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``scalekit`` in a folder with a small application, without a terminal."""
    (tmp_path / "service.py").write_text(APPLICATION)
    (tmp_path / "scalekit.toml").write_text('[app]\ntarget = "service:app"\n')

    def run(*arguments: str, toml: str | None = None, **environment: str) -> subprocess.CompletedProcess[str]:
        if toml is not None:
            (tmp_path / "scalekit.toml").write_text(toml)
        command = [sys.executable, "-m", "scalekit", *arguments]
        variables = {**os.environ, "PYTHONPATH": f"{ROOT}/tests/example", **environment}
        return subprocess.run(
            command, cwd=tmp_path, env=variables, capture_output=True, text=True, timeout=60, check=False
        )

    return run
