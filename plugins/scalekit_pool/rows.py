"""Rows whose values are converted, and whose columns are named, by SQLAlchemy; other rows are made by the driver."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import Enum, auto

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Value

Convert = Callable[[Value], Value]
"""Converts a value between Python and the driver."""
Processor = tuple[int, Convert]
"""The index of a column and the function that converts its value to a Python value."""

NamedColumn = tuple[str, Convert | None]


class NamedRow(Sequence[Value]):
    """A row of *values*; *places* are the indexes of the column *names*."""

    __slots__ = ("_names", "_places", "_values")

    def __init__(self, values: Sequence[Value], names: Sequence[str], places: Mapping[str, int]) -> None:
        self._values = values
        self._names = names
        self._places = places

    def __getitem__(self, key: Value) -> Value:
        return self._values[self._places[key] if isinstance(key, str) else key]

    def __getattr__(self, name: str) -> Value:
        try:
            return self._values[self._places[name]]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[Value]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Row {dict(zip(self._names, self._values, strict=True))}>"

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._names)

    @property
    def _mapping(self) -> Mapping[str, Value]:
        return dict(zip(self._names, self._values, strict=True))


class ColumnMatch(Enum):
    """How the columns of a result are assigned to those of the expression, as in SQLAlchemy."""

    PLACE = auto()
    """By place, under SQLAlchemy's names; by name when a text among them returns several columns, such as ``*``."""
    TEXT_PLACE = auto()
    """By place: a text with columns in its order."""
    TEXT_AMONG_COLUMNS = auto()
    """By place, by name when the text returns several columns."""
    NAME = auto()
    """By name: a text with columns in another order."""


class ResultColumns:
    """The *columns* of a compiled expression: the name of each, and the function that converts its value, or None.

    Columns that are found by name may have *aliases* too.
    """

    def __init__(self, columns: Sequence[NamedColumn], match: ColumnMatch, aliases: Sequence[NamedColumn]) -> None:
        self._expected = tuple(name for name, _ in columns)
        self._processors = [process for _, process in columns]
        self._by_name = dict(reversed((*columns, *aliases)))
        self._match = match
        self._is_final = False
        self._driver_names: tuple[str, ...] | None = None
        self._names: tuple[str, ...] = ()
        self._places: Mapping[str, int] = {}
        self._converting: Sequence[Processor] = ()
        self._is_renamed = False

    @property
    def converts_first(self) -> bool:
        """Whether the value of the first column may be converted."""
        return self._match is not ColumnMatch.PLACE or self._processors[0] is not None

    def convert_all(self, rows: Sequence[Row]) -> Sequence[Row]:
        """Return *rows* with their values converted; the driver's rows when no value changes."""
        if rows and not self._is_final:
            self._resolve(tuple(rows[0].keys()))
        return [self._convert(row) for row in rows] if self._converting or self._is_renamed else rows

    def convert(self, row: Row) -> Row:
        """Return *row* with its values converted; the driver's row when no value changes."""
        if not self._is_final:
            self._resolve(tuple(row.keys()))
        return self._convert(row) if self._converting or self._is_renamed else row

    def _convert(self, row: Row) -> Row:
        values: list[Value] | None = list(row) if self._is_renamed else None
        for place, process in self._converting:
            value = row[place]
            changed = process(value)
            if changed is not value:
                if values is None:
                    values = list(row)
                values[place] = changed
        return row if values is None else NamedRow(values, self._names, self._places)

    def _resolve(self, found: tuple[str, ...]) -> None:
        """Assign the functions to the columns that were *found*; a text may return other columns next time."""
        if found == self._driver_names:
            return
        self._driver_names = found
        by_place = self._match is not ColumnMatch.NAME and len(found) == len(self._expected)
        self._is_final = by_place and self._match is ColumnMatch.PLACE
        self._names = self._expected if self._is_final else found
        self._is_renamed = self._names != found
        self._places = {name: place for place, name in enumerate(self._names)}
        processors = self._processors
        if not by_place and self._match is not ColumnMatch.TEXT_PLACE:
            processors = [self._by_name.get(name) for name in found]
        self._converting = [
            (place, process) for place, process in enumerate(processors) if process is not None and place < len(found)
        ]
