"""Draw random examples for a number of seconds, by default 60: ``python -m tests.fuzz 300``."""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from pathlib import Path
from time import monotonic

HERE = Path(__file__).parent
EXAMPLES = 300
"""Examples of each property in one round."""


def main(seconds: float) -> int:
    """Run rounds with new seeds until *seconds* are over; return the status of the first that fails."""
    end = monotonic() + seconds
    environment = {**os.environ, "FUZZ_EXAMPLES": str(EXAMPLES)}
    while True:
        seed = secrets.randbits(32)
        print(f"seed {seed}", flush=True)
        command = [sys.executable, "-m", "pytest", "-q", "-x", f"--hypothesis-seed={seed}", str(HERE)]
        status = subprocess.run(command, env=environment, cwd=HERE.parent.parent, check=False).returncode
        if status or monotonic() >= end:
            return status


if __name__ == "__main__":
    sys.exit(main(float(sys.argv[1]) if len(sys.argv) > 1 else 60.0))
