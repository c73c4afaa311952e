"""From where hypothesis draws its examples: others for each commit, the same ones again for the same commit.

HYPOTHESIS_SEED is a number to draw from, or `random`.
"""

from __future__ import annotations

import os
import secrets
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent
VARIABLE = "HYPOTHESIS_SEED"
FALLBACK = 0
"""For sources that are no git checkout."""


def seed(folder: Path = ROOT) -> int:
    """Return the number that the environment or, without it, the commit gives."""
    given = os.environ.get(VARIABLE, "")
    if given == "random":
        return secrets.randbits(32)
    if given:
        if not given.isdecimal():
            raise ValueError(f"{VARIABLE}={given}: write a number, or random")
        return int(given)
    return int(commit(folder)[:8] or str(FALLBACK), 16)


def commit(folder: Path) -> str:
    """Return the id of the commit that is checked out; empty where there is none."""
    # safe.directory: a checkout of another user's, as in a container, is read all the same.
    command = ["git", "-c", f"safe.directory={folder}", "rev-parse", "--verify", "HEAD"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=60, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
