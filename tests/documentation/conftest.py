"""The built documentation site, for tests."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.documents import ROOT


@pytest.fixture(scope="session")
def built_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of the pages, built without a warning, once for all processes of the tests."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "site"
    folder.mkdir(exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "built").exists():
            command = [sys.executable, "-m", "tests.documentation", "--output", str(folder)]
            built = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=300)
            assert (built.returncode, built.stdout, built.stderr) == (0, "", "")
            (folder / "built").touch()
    return folder / "html"
