"""The page of the log levels: those of the file, and their overrides, which operators set and reset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from time import monotonic

from scalekit.contracts.overrides import OverrideChange, OverrideGroup
from scalekit.errors import Unavailable
from scalekit.log_level.overrides import LEVELS, LevelOverrides
from scalekit.log_level.page import DEFAULT_DURATION, TOO_MANY, create_change, has_room
from scalekit.pages.blocks import ActionForm, Block, Column, DataTable, Notice, Unit
from scalekit.pages.page import ConsolePage, FormField, PageAction, PageGroup, PageView

ALL = "all without a level of their own"
CONFIGURED = (Column("logger"), Column("level"))
OVERRIDDEN = (Column("logger"), Column("level"), Column("remaining", Unit.SECONDS), Column("action"))


def log_level_page(overrides: LevelOverrides) -> ConsolePage:
    """Return the page of *overrides*, which are the same in all workers."""

    async def render(view: PageView) -> Sequence[Block]:
        levels = overrides.levels
        if levels is None:
            return [Notice("No plugin controls the levels of the log.", "Add the table [plugins.logging].")]
        configured = [(name or ALL, level) for name, level in levels.configured.items()]
        return [_overrides(overrides.group), ActionForm("set"), DataTable(CONFIGURED, configured, "Levels of the file")]

    async def set_level(values: Mapping[str, str]) -> str:
        change = create_change(values["level"], values["logger"] or None, values["for"] or DEFAULT_DURATION)
        if not has_room(overrides.group, change):
            raise ValueError(TOO_MANY)
        await _apply(overrides.group, change)
        return f"{values['level']} for {values['logger'] or ALL}, for {values['for'] or DEFAULT_DURATION}"

    async def reset(values: Mapping[str, str]) -> str:
        await _apply(overrides.group, OverrideChange(values["logger"], None))
        return f"reset the level of {values['logger'] or ALL}"

    fields = [
        FormField("level", "Level", required=True, choices=LEVELS),
        FormField("logger", "Logger", placeholder="shop.orders, or empty for all"),
        FormField("for", "For", placeholder=DEFAULT_DURATION),
    ]
    return ConsolePage(
        "log-level",
        "Log levels",
        render,
        actions=[
            PageAction("set", "Set the level", set_level, fields),
            PageAction("reset", "Reset", reset, [FormField("logger", "Logger")]),
        ],
        group=PageGroup.PROCESS,
        description="Levels of loggers, and their overrides for a limited time.",
    )


async def _apply(group: OverrideGroup, change: OverrideChange) -> None:
    try:
        await group.change(change)
    except TimeoutError:
        raise Unavailable("the supervisor does not respond; try again") from None


def _overrides(group: OverrideGroup) -> DataTable:
    now = monotonic()
    rows = [
        (name or ALL, each.value, each.end - now, ActionForm("reset", {"logger": name}))
        for name, each in group.active.items()
    ]
    return DataTable(OVERRIDDEN, rows, "Overrides", empty="none; the levels of the file apply")
