"""The page of the configuration: every value with its origin, warnings, and advice for the running service."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from scalekit.config.effective_values import EffectiveValue, effective_values
from scalekit.context import Context
from scalekit.contracts.advice import ADVISERS
from scalekit.pages.blocks import Badge, Block, Cell, Column, DataTable, Facts, Notice, QueryForm, Text, Tone
from scalekit.pages.page import ConsolePage, PageGroup, PageView, Query
from scalekit.recorded_warnings import RecordedWarnings
from scalekit.settings import Settings

VALUES = (Column("name", code=True), Column("value", code=True), Column("origin"), Column("set"))
SET = Badge("set", Tone.GOOD)
FILTER = {"filter": "Name, value or origin contains"}
CHECK = "`scalekit check --connect` also connects to every server."


def configuration_page(
    settings: Settings, context: Context, warnings: RecordedWarnings, csrf_warnings: Callable[[], Sequence[str]]
) -> ConsolePage:
    """Return the page of *settings*, of the *warnings* of every worker, and of the advice of plugins."""
    found: list[EffectiveValue] = []

    async def collect(query: Query) -> dict[str, Any]:
        advisers = context.get(ADVISERS) if context.has(ADVISERS) else []
        advice = [(each.text, each.remedy) for advise in advisers for each in advise()]
        return {"warnings": [*warnings.counts], "advice": advice}

    async def render(view: PageView) -> Sequence[Block]:
        if not found:  # the values of a process do not change
            found.extend(await asyncio.to_thread(lambda: [*effective_values(settings)]))
        text = view.query.get("filter", "")
        return [
            *_notices(view, csrf_warnings()),
            _summary(settings, found),
            QueryForm(FILTER, {"filter": text}, "Filter"),
            *_tables([each for each in found if _contains(each, text.lower())]),
        ]

    return ConsolePage(
        "configuration",
        "Configuration",
        render,
        collect,
        group=PageGroup.PROCESS,
        description="Every value in effect with its origin, warnings of a check, and advice with remedies.",
    )


def _notices(view: PageView, csrf_warnings: Sequence[str]) -> list[Block]:
    """Return a notice for each warning and advice, equal ones of several workers once."""
    warnings = dict.fromkeys([*csrf_warnings, *(text for each in view.workers.values() for text in each["warnings"])])
    advice = dict.fromkeys((text, remedy) for each in view.workers.values() for text, remedy in each["advice"])
    notices = [*(Notice(text) for text in warnings), *(Notice(text, remedy) for text, remedy in advice)]
    return [*notices] if notices else [Notice("No warnings.", CHECK, Tone.GOOD)]


def _summary(settings: Settings, values: Sequence[EffectiveValue]) -> Facts:
    facts: dict[str, Cell] = {
        "file": settings.document.name,
        "values": len(values),
        "set": sum(not each.is_default for each in values),
        "plugins that are switched off": ", ".join(settings.disabled) or None,
    }
    return Facts(facts, "Source")


def _contains(each: EffectiveValue, text: str) -> bool:
    return not text or any(text in shown.lower() for shown in (each.key, each.value, each.origin))


def _tables(values: Iterable[EffectiveValue]) -> list[Block]:
    """Return one table of values for each table of the file, those first that are set."""
    tables: dict[str, list[EffectiveValue]] = {}
    for each in values:
        tables.setdefault(each.table, []).append(each)
    if not tables:
        return [Text("No value matches.")]
    return [DataTable(VALUES, _rows(found), f"[{name}]") for name, found in tables.items()]


def _rows(values: Iterable[EffectiveValue]) -> list[tuple[str, str, str, Badge | None]]:
    ordered = sorted(values, key=lambda each: each.is_default)
    return [(each.key, each.value, each.origin, None if each.is_default else SET) for each in ordered]
