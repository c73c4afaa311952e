"""A row of the table: figure, reference and goal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Literal

import orjson

HEAD = "| plugin | case | figure | unit | compared with | more | ratio | goal | met |\n" + 9 * "|---" + "|"


@dataclass(frozen=True, slots=True)
class Goal:
    """The goal of a row: a bound of its figure, of its difference to the reference, or of its ratio."""

    of: Literal["figure", "more", "ratio"]
    limit: float
    bound: Literal["at most", "at least"] = "at most"

    def text(self, unit: str) -> str:
        """Return it in words."""
        words = {
            "figure": f"{self.limit:g} {unit}",
            "more": f"{self.limit:g} {unit} more",
            "ratio": f"{self.limit:g} times",
        }
        return f"{self.bound} {words[self.of]}"

    def met(self, row: Row) -> bool | None:
        """Tell whether *row* meets it; None where the row has no such figure."""
        found = {"figure": row.figure, "more": row.more, "ratio": row.ratio}[self.of]
        if found is None:
            return None
        return found <= self.limit if self.bound == "at most" else found >= self.limit


@dataclass(frozen=True, slots=True)
class Row:
    """One figure. Only the ratio travels to another machine."""

    plugin: str
    title: str
    figure: float
    unit: str
    over: str = ""
    more: float | None = None
    ratio: float | None = None
    goal: Goal | None = None

    def markdown(self) -> str:
        """Return the line of the table."""
        more = "" if self.more is None else f"{self.more:+.{1 if abs(self.more) >= 1 else 2}f}"
        ratio = "" if self.ratio is None else f"{self.ratio:.2f}"
        goal = "" if self.goal is None else self.goal.text(self.unit)
        met = {True: "yes", False: "**no**", None: ""}[self.goal.met(self) if self.goal else None]
        figure = f"{self.figure:.0f}" if self.figure >= 1000 else f"{self.figure:.1f}"
        cells = (self.plugin, self.title, figure, self.unit, self.over, more, ratio, goal, met)
        return f"| {' | '.join(cells)} |"


def write(rows: Sequence[Row], file: Path) -> None:
    """Write *rows* to *file* as JSON."""
    found = [{**asdict(row), "met": row.goal.met(row) if row.goal else None} for row in rows]
    file.write_bytes(orjson.dumps(found, option=orjson.OPT_INDENT_2))
