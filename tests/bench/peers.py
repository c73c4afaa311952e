"""The environments of the peers, each of its own, in the cache: their pins do not go together, nor with ours."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

FOLDER = Path(__file__).parent


def python_of(peer: str) -> str:
    """Return the interpreter of *peer*, installing what ``requirements-<peer>.txt`` says when that changed."""
    requirements = FOLDER / f"requirements-{peer}.txt"
    environment = _cache() / f"peer-{peer}"
    installed = environment / "installed.txt"
    python = environment / "bin/python"
    if not installed.exists() or installed.read_text() != requirements.read_text():
        print(f"installing the peer {peer} into {environment}", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", "--clear", str(environment)], check=True)
        pip = [str(python), "-m", "pip", "--quiet", "--disable-pip-version-check", "install"]
        subprocess.run([*pip, "-r", str(requirements)], check=True)
        installed.write_text(requirements.read_text())
    return str(python)


def _cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    folder = Path(os.environ.get("SCALEKIT_CACHE") or Path(base, "scalekit"))
    folder.mkdir(parents=True, exist_ok=True)
    return folder
