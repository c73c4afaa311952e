"""k6's steady load in the background, and every response that it got."""

from __future__ import annotations

import csv
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import parse_qs

from tests.processes import Box, wait_for
from tests.servers import find

SCRIPT = Path(__file__).parent.parent.parent / "k6/failover.js"
NO_RESPONSE = 0


@dataclass(frozen=True)
class Response:
    """What came of one request; the moment is that of its end, in seconds since the epoch."""

    moment: float
    seconds: float
    kind: str
    status: int
    says_when: bool
    item: str

    @property
    def good(self) -> bool:
        return 200 <= self.status < 400

    @property
    def refused(self) -> bool:
        """Whether it was refused as it should be while something is gone: with 503 and Retry-After."""
        return self.status == 503 and self.says_when


class Load(Box):
    """The script `failover.js`, so many requests a second, until it is stopped."""

    def __init__(self, rate: int, longest: int) -> None:
        super().__init__("drill-load")
        self.rate = rate
        self.longest = longest
        self.responses: list[Response] = []
        self._csv = self.directory / "responses.csv"
        self._read = 0
        self._header: list[str] = []

    def start(self, url: str, script: Path = SCRIPT) -> None:
        """Start and wait for the first responses."""
        self.environment |= {
            "K6_AUTO_EXTENSION_RESOLUTION": "false",
            "K6_CSV_TIME_FORMAT": "unix_milli",
            "K6_CSV_SAVE_INTERVAL": "100ms",
        }
        variables = {"BASE_URL": url, "RATE": self.rate, "DURATION": f"{self.longest}s", "SUMMARY": self.directory}
        named = [part for name, value in variables.items() for part in ("-e", f"{name}={value}")]
        quiet = ["--quiet", "--no-color", "--no-usage-report", "--address="]
        command = [find("k6"), "run", *quiet, *named, "--out", f"csv={self._csv}", script]
        self.process = self.spawn(*command, death_signal=signal.SIGINT)
        self.wait_for_responses(2 * self.rate)

    def wait_for_responses(self, number: int) -> None:
        """Wait until so many more responses have come."""
        wanted = len(self.responses) + number
        wait_for(f"{number} responses", lambda: len(self.read()) >= wanted, self.process, limit=60)

    def read(self) -> list[Response]:
        """Return all responses so far."""
        self.responses += self._new()
        return self.responses

    def finish(self) -> Path:
        """Stop sending requests, read the last responses and return k6's report."""
        self.stop(self.process, signal.SIGINT)
        self.read()
        return self.directory / "failover.html"

    def _new(self) -> Iterator[Response]:
        if not self._csv.exists():
            return
        with self._csv.open("rb") as file:
            file.seek(self._read)
            text = file.read()
        whole = text[: text.rfind(b"\n") + 1]
        self._read += len(whole)
        for row in csv.reader(whole.decode().splitlines()):
            if not self._header:
                self._header = row
            elif row[0] == "responses":
                yield _answer(dict(zip(self._header, row, strict=True)))


def _answer(row: dict[str, str]) -> Response:
    tags = {name: values[0] for name, values in parse_qs(row["extra_tags"]).items()}
    return Response(
        moment=int(row["timestamp"]) / 1000,
        seconds=float(row["metric_value"]) / 1000,
        kind=tags["kind"],
        status=int(tags["code"]),
        says_when=tags["retry"] == "yes",
        item=tags.get("item", ""),
    )
