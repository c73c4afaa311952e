"""Follow tutorial and guides by hand, with the programs of another environment, such as one that has only the wheel:

python -m tests.tutorial --programs /tmp/clean/bin
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from time import monotonic

from tests.tutorial.pages import EMBEDDED_GUIDES, FIRST_STEPS, LAST_STEPS, REPLICA_GUIDES
from tests.tutorial.reader import Reader, WrongPageError
from tests.tutorial.servers import ReplicatedPostgres, Servers


def main() -> int:
    """Follow every page; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.tutorial", description="Follow the tutorial and the guides.")
    parser.add_argument("--programs", type=Path, default=Path(sys.executable).parent, help="folder of scalekit, python")
    programs = parser.parse_args().programs.absolute()
    try:
        with Reader(programs=programs) as reader:
            _follow(reader, FIRST_STEPS)
        with Servers() as servers, Reader(servers.ports, programs) as reader:
            for page in FIRST_STEPS:
                reader.follow(page, only_files=True)
            _follow(reader, LAST_STEPS)
        for page in EMBEDDED_GUIDES:
            with Reader(programs=programs) as reader:
                _follow(reader, [page])
        with ReplicatedPostgres() as replicated, Reader(replicated.ports, programs) as reader:
            _follow(reader, REPLICA_GUIDES)
    except WrongPageError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def _follow(reader: Reader, pages: list[Path]) -> None:
    for page in pages:
        began = monotonic()
        reader.follow(page)
        print(f"{page.parent.name}/{page.name}: as written, {monotonic() - began:.1f} s", flush=True)


if __name__ == "__main__":
    sys.exit(main())
