"""The pages that a reader follows: the steps of the tutorial in their order, and the guides."""

from __future__ import annotations

from pathlib import Path

from tests.documents import ROOT
from tests.tutorial.reader import Reader
from tests.tutorial.servers import POSTGRES_PORT

TUTORIAL = sorted((ROOT / "docs/tutorial").glob("0*.md"))
FIRST_STEPS, LAST_STEPS = TUTORIAL[:6], TUTORIAL[6:]
"""The steps that need no server, and those on PostgreSQL, Redis, RabbitMQ and nginx."""
GUIDES = sorted(path for path in (ROOT / "docs/guides").glob("*.md") if path.name != "README.md")
REPLICA_GUIDES = [path for path in GUIDES if f":{POSTGRES_PORT}/" in path.read_text()]
"""The guides on PostgreSQL with a standby."""
EMBEDDED_GUIDES = [path for path in GUIDES if path not in REPLICA_GUIDES]


def follow_first_steps(programs: Path) -> None:
    """Follow the steps that need no server with the commands in *programs*; raises WrongPageError."""
    with Reader(programs=programs) as reader:
        for page in FIRST_STEPS:
            reader.follow(page)
