"""The last lines: durations, flaky tests, failures, and totals in pytest's format."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from tests.gate.phase import Phase

SLOWEST = 40
PART = "  "
"""Prefix of the name of a concurrent part, whose seconds are included in those of the whole."""
WORDS = ("failed", "passed", "skipped", "xfailed", "xpassed", "error")


@dataclass
class Total:
    """The totals of all phases."""

    counts: Counter[str] = field(default_factory=Counter)
    flaky: list[str] = field(default_factory=list)
    failed: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def passed(self) -> bool:
        return not (self.failed or self.problems) and self.counts["passed"] > 0

    def add(self, phase: Phase) -> None:
        """Count a phase; run its failed tests once more."""
        self.problems += [f"{phase.name}: {problem}" for problem in phase.outcome.problems]
        outcomes = {name: result.outcome for name, result in phase.outcome.tests.items()}
        if phase.outcome.failed:
            outcomes |= self._repeat(phase)
        self.counts.update(outcomes.values())

    def _repeat(self, phase: Phase) -> dict[str, str]:
        print(f"\n==> once more: failed tests of {phase.name}", flush=True)
        first = phase.outcome.failed
        again = phase.repeat(first)
        self.problems += [f"{phase.name}, once more: {problem}" for problem in again.problems]
        outcomes = {}
        for name, result in first.items():
            second = again.tests.get(name)
            passes = second is not None and second.outcome == "passed"
            outcomes[name] = "passed" if passes else result.outcome
            line = f"{name} ({phase.name}) - {result.message}"
            (self.flaky if passes else self.failed).append(line)
        return outcomes


def durations(phases: Iterable[Phase]) -> list[str]:
    """Return the slowest setups, calls and teardowns, in pytest's form."""
    each = [
        (seconds, stage, name)
        for phase in phases
        for name, result in phase.outcome.tests.items()
        for stage, seconds in result.seconds.items()
    ]
    return [f"{seconds:.2f}s {stage:<8} {name}" for seconds, stage, name in sorted(each, reverse=True)[:SLOWEST]]


def lines(total: Total, times: Sequence[tuple[str, float]], phases: Sequence[Phase]) -> list[str]:
    """Return the summary; durations are those of phases and, indented, of their parts."""
    counts = Counter(total.counts)
    counts["error"] += len(total.problems)
    words = [f"{counts[word]} {word}{'s' * (word == 'error' and counts[word] > 1)}" for word in WORDS if counts[word]]
    seconds = sum(each for name, each in times if not name.startswith(PART))
    return [
        _rule(f"slowest {SLOWEST} durations"),
        *durations(phases),
        _rule("how long it took"),
        *(f"{each:7.1f}s {name}" for name, each in times),
        _rule("short test summary info"),
        *(f"FLAKY {line}" for line in total.flaky),
        *(f"FAILED {line}" for line in total.failed),
        *(f"ERROR {line}" for line in total.problems),
        _rule(f"{', '.join(words)} in {seconds:.2f}s ({_clock(seconds)})"),
    ]


def _rule(text: str) -> str:
    return f" {text} ".center(100, "=")


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}"
