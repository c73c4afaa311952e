"""The blocks of a console page: data without markup, which the console renders as HTML and as JSON.

The console escapes every text, masks secrets in it, and cuts what exceeds its bounds: a page may pass any value.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum


class Unit(StrEnum):
    """The unit of numbers, by which they are formatted."""

    NONE = ""
    SECONDS = "seconds"
    BYTES = "bytes"
    RATIO = "ratio"
    """A share from 0 to 1, shown in percent."""
    PER_SECOND = "per second"
    TIME = "time"
    """Seconds since the epoch, shown as date and time in UTC."""


class Tone(StrEnum):
    """The meaning of a status or a notice."""

    NEUTRAL = "neutral"
    GOOD = "good"
    WARNING = "warning"
    BAD = "bad"


@dataclass(frozen=True, slots=True)
class Link:
    """A link to the page *page* of the console, with *query*."""

    text: str
    page: str
    query: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Badge:
    """A short text with a tone, such as ``healthy``."""

    text: str
    tone: Tone = Tone.NEUTRAL


@dataclass(frozen=True, slots=True)
class ActionForm:
    """The form of the action *action* of the same page; as a cell it is a button.

    Fields with a value in *values* are not shown. *label* replaces the label of the action.
    """

    action: str
    values: Mapping[str, str] = field(default_factory=dict)
    label: str = ""


Cell = str | int | float | bool | None | Link | Badge | ActionForm
"""A value in a table or a list of facts; None is shown as a dash."""


@dataclass(frozen=True, slots=True)
class Facts:
    """Labels with values; a value of a label that names a secret is masked. *units* has the units by label."""

    facts: Mapping[str, Cell]
    title: str = ""
    units: Mapping[str, Unit] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table; cells of a *code* column are shown in a fixed-width font.

    Each needs a *title*, which screen readers say with its cells; that of buttons is ``action``.
    """

    title: str
    unit: Unit = Unit.NONE
    code: bool = False


@dataclass(frozen=True, slots=True)
class DataTable:
    """Rows of cells, one for each column.

    The console lets operators sort the rows by any column without buttons.
    *more* is the number of rows that exist and are not in *rows*. *empty* is shown without rows.
    """

    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    title: str = ""
    more: int = 0
    empty: str = "none"


@dataclass(frozen=True, slots=True)
class Series:
    """A line of a chart; None is a gap."""

    name: str
    points: Sequence[float | None]


@dataclass(frozen=True, slots=True)
class Chart:
    """Lines over time, the newest point last; *interval* is the distance of two points in seconds."""

    title: str
    series: Sequence[Series]
    interval: float
    unit: Unit = Unit.NONE


@dataclass(frozen=True, slots=True)
class TreeNode:
    """An operation within another one: *offset* is the start after that of the whole tree, in seconds."""

    name: str
    offset: float
    duration: float
    attributes: Mapping[str, Cell] = field(default_factory=dict)
    children: Sequence[TreeNode] = ()
    failed: bool = False


@dataclass(frozen=True, slots=True)
class Tree:
    """Nested operations on one time line, such as the spans of a trace."""

    roots: Sequence[TreeNode]
    title: str = ""


@dataclass(frozen=True, slots=True)
class Text:
    """A paragraph."""

    text: str


@dataclass(frozen=True, slots=True)
class Code:
    """Text in a fixed-width font, with its line breaks."""

    text: str
    title: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """Something that the operator should know, and the *remedy*."""

    text: str
    remedy: str = ""
    tone: Tone = Tone.WARNING


@dataclass(frozen=True, slots=True)
class QueryForm:
    """A form that shows the same page for the values of *fields*, the labels by name of the query parameter."""

    fields: Mapping[str, str]
    values: Mapping[str, str] = field(default_factory=dict)
    label: str = "Show"


Block = Facts | DataTable | Chart | Tree | Text | Code | Notice | QueryForm | ActionForm
"""A part of a page."""
