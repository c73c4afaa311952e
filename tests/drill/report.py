"""A page with a line for each fault."""

from __future__ import annotations

from collections import Counter

from tests.drill.fault_runner import QUICK, Found, Outcome

HEADING = """\
| fault | requests | errors | unexpected | p99 during | healed after | rows lost | messages lost | health page |
|---|---|---|---|---|---|---|---|---|"""


def report(found: Found) -> str:
    """Return the page as Markdown."""
    lines = "\n".join(map(_line, found.outcomes))
    return f"""\
# Drill

Each fault strikes under a steady load. An error is unexpected unless it is a 503 with Retry-After to a request that
needs the unavailable server.

{HEADING}
{lines}

Of {found.written} writes that were confirmed, {found.lost_rows} rows and {found.lost_messages} messages were
lost.
"""


def mistakes(found: Found) -> list[str]:
    """Return the missed goals."""
    missed = [f"{each.fault}: {len(each.unexpected)} unexpected errors" for each in found.outcomes if each.unexpected]
    missed += [f"{each.fault}: healed after {each.heal:.1f} s" for each in found.outcomes if each.heal > QUICK]
    missed += [f"{found.lost_rows} rows were lost"] if found.lost_rows else []
    return missed + ([f"{found.lost_messages} messages were lost"] if found.lost_messages else [])


def _line(outcome: Outcome) -> str:
    unexpected = Counter(f"{response.kind} {response.status}" for response in outcome.unexpected)
    named = ", ".join(f"{number} of {kind}" for kind, number in unexpected.items()) or "none"
    load = f"{len(outcome.responses)} | {outcome.error_rate:.1%} | {named} | {outcome.p99 * 1000:.0f} ms"
    lost = f"{outcome.lost_rows} | {outcome.lost_messages}"
    return f"| {outcome.fault} | {load} | {outcome.heal:.1f} s | {lost} | {outcome.health} |"
