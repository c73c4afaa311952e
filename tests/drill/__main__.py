"""``make drill``: inject faults and update instances under load, and report the effect on clients."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.drill.production import drilled
from tests.drill.report import mistakes, report
from tests.drill.rolling_update import roll, update_mistakes, update_report
from tests.proxies import FRONTS

SERVER = 'trusted_proxies = ["127.0.0.1"]\n'
"""Content of ``[server]`` of the instances that are updated."""


PARTS = ("faults", "updates")


def main() -> None:
    """Run the parts of the drill, write the report of each, and print the missed goals."""
    parser = argparse.ArgumentParser(prog="make drill", description=__doc__)
    parser.add_argument("--hold", type=float, default=5.0, help="seconds that each fault lasts")
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    parser.add_argument("--folder", type=Path, default=Path("build"), help="folder of the reports")
    parser.add_argument("--part", choices=PARTS, action="append", dest="parts", help="faults or updates; default both")
    options = parser.parse_args()
    options.folder.mkdir(parents=True, exist_ok=True)
    missed: list[str] = []
    if "faults" in (options.parts or PARTS):
        missed += _inject_faults(options.hold, options.rate, options.folder)
    if "updates" in (options.parts or PARTS):
        missed += _update_instances(options.folder)
    print(*missed, sep="\n")
    sys.exit(1 if missed else 0)


def _inject_faults(hold: float, rate: int, folder: Path) -> list[str]:
    found = drilled(hold, rate)
    _write(folder / "drill.md", report(found))
    (folder / "drill.html").write_text(found.page, encoding="utf-8")
    return mistakes(found)


def _update_instances(folder: Path) -> list[str]:
    updates = [update for proxy in sorted(FRONTS) for update in roll([proxy], SERVER)]
    _write(folder / "rolling_update.md", update_report(updates))
    return update_mistakes(updates)


def _write(file: Path, text: str) -> None:
    file.write_text(text, encoding="utf-8")
    print(text, f"see {file}", sep="\n")


main()
