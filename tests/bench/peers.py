"""The environments of the peers, each of its own, in the cache: their pins do not go together, nor with ours."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

FOLDER = Path(__file__).parent
ROOT = FOLDER.parent.parent


def python_of(peer: str) -> str:
    """Return the interpreter of *peer*, installed from ``requirements-<peer>.txt`` when that has changed."""
    requirements = FOLDER / f"requirements-{peer}.txt"
    return _python(f"peer-{peer}", requirements.read_text(), ["-r", str(requirements)])


def python_of_a_user() -> str:
    """Return an interpreter that has ScaleKit with every plugin, and nothing that only its tests need."""
    declared = (ROOT / "pyproject.toml").read_text()
    return _python("user", f"{ROOT}\n{declared}", ["--editable", f"{ROOT}[all]"])


def _python(name: str, wanted: str, packages: Sequence[str]) -> str:
    environment = _cache() / name
    installed = environment / "installed.txt"
    python = environment / "bin/python"
    if not installed.exists() or installed.read_text() != wanted:
        print(f"installing {environment}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, *packages], check=True)
        installed.write_text(wanted)
    return str(python)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("SCALEKIT_CACHE") or Path(base, "scalekit"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
