"""Inject one fault after the other under load, and measure the effect on clients."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from tests.drill.faults import Fault
from tests.drill.load import NO_RESPONSE, Load, Response
from tests.processes import wait_for

QUICK = 3.0
"""Seconds within which a restarted server must be used again."""


@dataclass(frozen=True)
class Outcome:
    """The effect of one fault, from its injection until recovery."""

    fault: str
    responses: Sequence[Response]
    unexpected: Sequence[Response]
    p99: float
    heal: float
    lost_rows: int
    lost_messages: int
    health: str

    @property
    def failed(self) -> list[Response]:
        return [response for response in self.responses if not response.good]

    @property
    def error_rate(self) -> float:
        return len(self.failed) / len(self.responses)


@dataclass(frozen=True)
class Found:
    """The effects of all faults, and the confirmed rows and messages that were lost; *page* is k6's report."""

    outcomes: Sequence[Outcome]
    written: int
    lost_rows: int
    lost_messages: int
    page: str


class Place(Protocol):
    """Where the faults strike."""

    def troubles(self) -> set[str]:
        """Return the failed checks of the health page."""
        ...

    def lost_rows(self, items: set[str]) -> int:
        """Return the number of *items* that are missing although their write was confirmed."""
        ...

    def lost_messages(self, before: int) -> int:
        """Return the number of messages without effect after all are consumed, minus those lost *before*."""
        ...


def drill(faults: Sequence[Fault], load: Load, hold: float, place: Place) -> list[Outcome]:
    """Inject each of *faults* for *hold* seconds."""
    outcomes: list[Outcome] = []
    for fault in faults:
        outcomes.append(_one(fault, load, hold, place, sum(each.lost_messages for each in outcomes)))
    return outcomes


def written(responses: Sequence[Response]) -> set[str]:
    """Return the items whose write was confirmed."""
    return {response.item for response in responses if response.item and response.good}


def _one(fault: Fault, load: Load, hold: float, place: Place, lost_before: int) -> Outcome:
    first = len(load.read())
    said: set[str] = set()
    fault.strike()
    struck = time.time()

    def held() -> bool:
        said.update(place.troubles())
        enough = len(load.read()) >= first + load.rate and time.time() >= struck + hold
        return enough and any(trouble.startswith(fault.shows) for trouble in said or [""])

    wait_for(f"load while {fault.name}", held, limit=hold + 60)
    fault.mend()
    mended = time.time()
    wait_for(f"the healing of {fault.name}", lambda: _quiet(load, mended) and not place.troubles(), limit=60)
    responses = load.read()[first:]
    return Outcome(
        fault.name,
        responses,
        unexpected(fault, responses),
        _quantile([response.seconds for response in responses], 0.99),
        max([0.0, *(response.moment - mended for response in responses if not response.good)]),
        place.lost_rows(written(responses)),
        place.lost_messages(lost_before),
        ", ".join(sorted(said)) or "healthy",
    )


def _quiet(load: Load, since: float) -> bool:
    """Return whether all responses after *since* succeeded for the last 1.5 seconds."""
    latest = load.read()[-load.rate * 3 // 2 :]
    return all(response.good and response.moment > since for response in latest)


def unexpected(fault: Fault, responses: Sequence[Response]) -> list[Response]:
    """Return the failed requests, except those rejected with Retry-After that need the unavailable server."""
    bad = [
        response
        for response in responses
        if not response.good and not (response.refused and response.kind in fault.takes)
    ]
    cut = [response for response in bad if response.status in (NO_RESPONSE, 502)]
    return [response for response in bad if response not in cut[: fault.cuts]]


def _quantile(values: Sequence[float], share: float) -> float:
    return sorted(values)[min(len(values) - 1, int(len(values) * share))]
