"""The page of the latest log lines of all workers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from scalekit.contracts import LogLine
from scalekit.pages import (
    Badge,
    Block,
    Cell,
    Column,
    ConsolePage,
    DataTable,
    Facts,
    Link,
    Notice,
    PageGroup,
    PageView,
    QueryForm,
    Tone,
)
from scalekit_logging.latest_lines import MAX_FOUND, LatestLines, LineFilter
from scalekit_logging.levels import NUMBERS

FIELDS = {"level": "Level, at least", "logger": "Logger", "text": "Text", "id": "Request or trace id"}
LINES = (
    Column("time"),
    Column("worker"),
    Column("level"),
    Column("logger"),
    Column("event"),
    Column("fields", code=True),
    Column("request"),
)
TONES = {"warning": Tone.WARNING, "error": Tone.BAD, "critical": Tone.BAD}


def logs_page(lines: LatestLines) -> ConsolePage:
    """Return the page of *lines*, those of this worker, and of the other workers."""

    async def collect(query: Mapping[str, str]) -> list[tuple[str, ...]]:
        return [tuple(line) for line in lines.find(_filter_of(query))]

    return ConsolePage(
        "logs",
        "Logs",
        _render,
        collect,
        group=PageGroup.PROCESS,
        live=True,
        description="The latest log lines of all workers, by level, logger, text, and request or trace id.",
    )


def _filter_of(query: Mapping[str, str]) -> LineFilter:
    """Return the filter of *query*; a level that does not exist is not compared."""
    level, logger, text, request = (query.get(name, "").strip() for name in FIELDS)
    return LineFilter(level.lower() if level.lower() in NUMBERS else "", logger, text, request)


async def _render(view: PageView) -> Sequence[Block]:
    values = {name: view.query.get(name, "") for name in FIELDS}
    level = values["level"].strip().lower()
    notices = []
    if level and level not in NUMBERS:
        notices.append(Notice(f"There is no level {level!r}.", f"Use {', '.join(NUMBERS)}."))
    found = sorted(
        ((LogLine(*line), worker) for worker, lines in view.workers.items() for line in lines),
        key=lambda each: each[0].timestamp,
        reverse=True,
    )
    rows = [_row(line, worker) for line, worker in found[:MAX_FOUND]]
    return [
        QueryForm(FIELDS, values, "Filter"),
        *notices,
        Facts({"level at run time": Link("Log levels", "log-level")}),
        DataTable(LINES, rows, "Latest lines", max(0, len(found) - MAX_FOUND), "no line matches"),
    ]


def _row(line: LogLine, worker: str) -> Sequence[Cell]:
    request = Link(line.request_id, "requests", {"id": line.request_id}) if line.request_id else None
    failure = line.exception.strip().rpartition("\n")[2]
    fields = " ".join(filter(None, (line.fields, failure and f"exception={failure}")))
    level = Badge(line.level, TONES.get(line.level, Tone.NEUTRAL))
    return line.timestamp, worker, level, line.logger, line.event, fields, request
