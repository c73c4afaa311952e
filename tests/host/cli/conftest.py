from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess

import pytest

from tests.command_line import scalekit
from tests.service import APPLICATION, ROOT

Run = Callable[..., CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run ``scalekit`` in a folder with a small application, without a terminal."""
    (tmp_path / "service.py").write_text(APPLICATION)
    (tmp_path / "scalekit.toml").write_text('[app]\ntarget = "service:app"\n')

    def run(*arguments: str, toml: str | None = None, **environment: str) -> CompletedProcess[str]:
        if toml is not None:
            (tmp_path / "scalekit.toml").write_text(toml)
        variables = {**os.environ, "PYTHONPATH": f"{ROOT}/tests/example", **environment}
        return scalekit(*arguments, folder=tmp_path, environment=variables)

    return run
