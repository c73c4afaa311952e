"""``make drill``: what clients see while one thing after the other fails."""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path

from tests.drill.drilling import drill
from tests.drill.load import Load
from tests.drill.production import setting
from tests.drill.report import mistakes, report


def main() -> None:
    """Let everything fail, write the report and say what misses the goals."""
    parser = argparse.ArgumentParser(prog="make drill", description=__doc__)
    parser.add_argument("--hold", type=float, default=5.0, help="seconds that each fault lasts")
    parser.add_argument("--rate", type=int, default=50, help="requests a second")
    parser.add_argument("--report", type=Path, default=Path("drill.md"))
    options = parser.parse_args()
    with setting() as place, Load(options.rate, 3600) as load:
        load.start(place.url)
        outcomes = drill(place.faults(), load, options.hold, place.troubles)
        shutil.copy(load.finish(), options.report.with_suffix(".html"))
        kept = {answer.item for answer in load.answers if answer.item and answer.good}
        lost_rows = len(kept - place.rows())
        lost_messages = 0
    text = report(outcomes, lost_rows, lost_messages, len(kept))
    options.report.write_text(text, encoding="utf-8")
    missed = mistakes(outcomes, lost_rows, lost_messages)
    print(text, *missed, sep="\n")
    sys.exit(1 if missed else 0)


main()
