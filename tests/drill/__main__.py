"""``make drill``: inject faults under load and report their effect on clients."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.drill.production import drilled
from tests.drill.report import mistakes, report


def main() -> None:
    """Inject all faults, write the report and print the missed goals."""
    parser = argparse.ArgumentParser(prog="make drill", description=__doc__)
    parser.add_argument("--hold", type=float, default=5.0, help="seconds that each fault lasts")
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    parser.add_argument("--report", type=Path, default=Path("build/drill.md"))
    options = parser.parse_args()
    found = drilled(options.hold, options.rate)
    options.report.parent.mkdir(parents=True, exist_ok=True)
    options.report.write_text(report(found), encoding="utf-8")
    options.report.with_suffix(".html").write_text(found.page, encoding="utf-8")
    print(report(found), *mistakes(found), f"see {options.report}", sep="\n")
    sys.exit(1 if mistakes(found) else 0)


main()
