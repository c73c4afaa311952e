"""Build sdist and wheel, check them, and try each extra in clean environments: `make dist`."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.dist.archives import ROOT, Archives, build, code_files, sdist_problems, wheel_problems
from tests.dist.environments import environment, extras
from tests.dist.smoke import smoke
from tests.gate.pythons import name_of, oldest_and_newest
from tests.tutorial.pages import follow_first_steps

LIMIT = 120
"""Seconds that twine may take."""


def main() -> int:
    """Build, check and try; return the exit status."""
    parser = argparse.ArgumentParser(prog="make dist", description=__doc__)
    parser.add_argument("--output", type=Path, default=ROOT / "dist", help="the folder of the archives")
    parser.add_argument("--extra", action="append", help="try only this extra; repeat for several")
    arguments = parser.parse_args()
    for old in arguments.output.glob("scalekit_asgi-*"):
        old.unlink()
    archives = build(arguments.output)
    print(f"built {archives.sdist.name} and {archives.wheel.name} in {arguments.output}", flush=True)
    found = [*_archive_problems(archives), *_installation_problems(archives.wheel, arguments.extra or ["", *extras()])]
    for problem in found:
        print(f"error: {problem}", file=sys.stderr)
    return 1 if found else 0


def _archive_problems(archives: Archives) -> list[str]:
    expected = code_files()
    found = wheel_problems(archives.wheel, expected) + sdist_problems(archives.sdist, expected)
    command = [sys.executable, "-m", "twine", "check", "--strict", *map(str, archives)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT, check=False)
    print(done.stdout.strip(), flush=True)
    return [*found, *([f"twine check --strict: {done.stdout}{done.stderr}"] if done.returncode else [])]


def _installation_problems(wheel: Path, names: Sequence[str]) -> Iterator[str]:
    """Yield a description of each extra that does not work, under the oldest and the newest Python of this machine."""
    pythons = oldest_and_newest()
    for version, python in pythons.items():
        for extra in names:
            title = f"{wheel.name}[{extra}] under {name_of(version)}"
            began = time.monotonic()
            try:
                with environment(python, [f"{wheel}[{extra}]" if extra else wheel]) as commands:
                    smoke(commands, extra)
                    if extra == "all":
                        follow_first_steps(commands)  # of the tutorial
            except Exception as error:
                yield f"{title}: {error} {''.join(getattr(error, '__notes__', ()))}"
                continue
            print(f"{title} installs and serves ({time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    sys.exit(main())
