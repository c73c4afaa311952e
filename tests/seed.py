"""The seed of hypothesis: it differs between commits and is fixed for each.

HYPOTHESIS_SEED overrides it: a number, or `random`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
VARIABLE = "HYPOTHESIS_SEED"
FALLBACK = 0
"""The seed without a git checkout."""


def seed(folder: Path = ROOT) -> int:
    """Return the seed from the environment, else from the commit."""
    value = os.environ.get(VARIABLE, "")
    if value == "random":
        return secrets.randbits(32)
    if value:
        if not value.isdecimal():
            raise ValueError(f"{VARIABLE}={value}: write a number, or random")
        return int(value)
    return int(commit(folder)[:8] or str(FALLBACK), 16)


def commit(folder: Path) -> str:
    """Return the id of the checked-out commit, empty without one."""
    # safe.directory: read a checkout of another user too, as in a container.
    command = ["git", "-c", f"safe.directory={folder}", "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
