"""Rows whose values are converted by SQLAlchemy types; all other rows are the driver's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

from scalekit.contracts import Row
from scalekit_pool.connections.driver import Value

Convert = Callable[[Value], Value]
"""Converts a value between Python and the driver."""
Processor = tuple[int, Convert]
"""The index of a column and the function that converts its value to a Python value."""


class ConvertedRow(Sequence[Value]):
    """A row with values converted by SQLAlchemy types."""

    __slots__ = ("_places", "_values")

    def __init__(self, values: list[Value], places: dict[str, int]) -> None:
        self._values = values
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
        return f"<Row {dict(zip(self._places, self._values, strict=True))}>"

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._places)

    @property
    def _mapping(self) -> Mapping[str, Value]:
        return dict(zip(self._places, self._values, strict=True))


def converted(row: Row, processors: Sequence[Processor]) -> Row:
    """Return *row* with its values converted; the driver's row when no value changes."""
    values: list[Value] | None = None
    for place, process in processors:
        value = row[place]
        changed = process(value)
        if changed is not value:
            if values is None:
                values = list(row)
            values[place] = changed
    if values is None:
        return row
    return ConvertedRow(values, {name: place for place, name in enumerate(row.keys())})
