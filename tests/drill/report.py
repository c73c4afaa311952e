"""A page with a line for each fault."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from tests.drill.drilling import QUICK, Outcome

HEADING = """\
| fault | requests | errors | unexpected | p99 during | healed after | health page |
|---|---|---|---|---|---|---|"""


def report(outcomes: Sequence[Outcome], lost_rows: int, lost_messages: int, written: int) -> str:
    """Return the page as Markdown."""
    lines = "\n".join(map(_line, outcomes))
    return f"""\
# Drill

Each fault strikes under a steady load. An error is unexpected unless it is a 503 with Retry-After to a request that
needs what is gone.

{HEADING}
{lines}

Of {written} writes that were answered as done, {lost_rows} rows and {lost_messages} messages were lost.
"""


def mistakes(outcomes: Sequence[Outcome], lost_rows: int, lost_messages: int) -> list[str]:
    """Return what misses the goals."""
    missed = [f"{each.fault}: {len(each.unexpected)} unexpected errors" for each in outcomes if each.unexpected]
    missed += [f"{each.fault}: healed after {each.heal:.1f} s" for each in outcomes if each.heal > QUICK]
    missed += [f"{lost_rows} rows were lost"] if lost_rows else []
    return missed + ([f"{lost_messages} messages were lost"] if lost_messages else [])


def _line(outcome: Outcome) -> str:
    unexpected = Counter(f"{answer.kind} {answer.status}" for answer in outcome.unexpected)
    named = ", ".join(f"{number} of {what}" for what, number in unexpected.items()) or "none"
    load = f"{len(outcome.answers)} | {outcome.error_rate:.1%} | {named} | {outcome.p99 * 1000:.0f} ms"
    return f"| {outcome.fault} | {load} | {outcome.heal:.1f} s | {outcome.health} |"
