"""``make load``: start the sample application and run one scenario of `k6/` against it."""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

from tests.load.sample import UNLIMITED, Sample
from tests.production import Production
from tests.servers import find
from tests.service import ROOT


def started(stack: ExitStack, setting: str) -> str:
    """Start the sample application until *stack* closes; return its URL."""
    if setting == "production":
        return stack.enter_context(Production(*UNLIMITED)).url
    return stack.enter_context(Sample()).url


def main() -> None:
    """Run the scenario and exit with the status of k6."""
    scripts = sorted(path.stem for path in (ROOT / "k6").glob("*.js"))
    parser = argparse.ArgumentParser(prog="make load", description=__doc__)
    parser.add_argument("script", nargs="?", choices=scripts, default="load")
    parser.add_argument(
        "--on", choices=("embedded", "production"), default="embedded", help="backends of the sample application"
    )
    parser.add_argument("--summary", type=Path, default=ROOT / "build", help="directory of the report")
    options = parser.parse_args()
    options.summary.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        url = os.environ.get("BASE_URL") or started(stack, options.on)
        script = str(ROOT / f"k6/{options.script}.js")
        command = [find("k6"), "run", "--quiet", "--no-usage-report", "--address=", script]
        environment = {**os.environ, "BASE_URL": url, "SUMMARY": str(options.summary)}
        status = subprocess.run(command, env=environment, check=False).returncode
    print(f"see {options.summary / options.script}.html")
    sys.exit(status)


main()
