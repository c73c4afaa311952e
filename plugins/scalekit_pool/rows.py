"""Rows whose values are converted by SQLAlchemy types; all other rows are the driver's own."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

Processor = tuple[int, Callable[[Any], Any]]
"""The index of a column and the function that converts its value to a Python value."""


class ConvertedRow(Sequence[Any]):
    """A row with values converted by SQLAlchemy types."""

    __slots__ = ("_places", "_values")

    def __init__(self, values: list[Any], places: dict[str, int]) -> None:
        self._values = values
        self._places = places

    def __getitem__(self, key: Any) -> Any:
        return self._values[self._places[key] if isinstance(key, str) else key]

    def __getattr__(self, name: str) -> Any:
        try:
            return self._values[self._places[name]]
        except KeyError:
            raise AttributeError(name) from None

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def __repr__(self) -> str:
        return f"<Row {dict(zip(self._places, self._values, strict=True))}>"

    def keys(self) -> Sequence[str]:
        """Return the names of the columns."""
        return list(self._places)

    @property
    def _mapping(self) -> Mapping[str, Any]:
        return dict(zip(self._places, self._values, strict=True))


def converted(row: Any, processors: Sequence[Processor]) -> Any:
    """Return *row* with its values converted; the driver's row when no value changes."""
    values: list[Any] | None = None
    for place, process in processors:
        value = row[place]
        made = process(value)
        if made is not value:
            if values is None:
                values = list(row)
            values[place] = made
    if values is None:
        return row
    return ConvertedRow(values, {name: place for place, name in enumerate(row.keys())})
