"""Mask secrets in blocks, cut what exceeds the bounds, and replace characters that mislead readers."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, TypeVar

from scalekit import MASK, Context, Redactor
from scalekit.pages import ActionForm, Block, Code, DataTable, Link, Series

MAX_TEXT = 2_000
"""Characters of a text; the rest is cut."""
MAX_CODE = 100_000
MAX_ROWS = 500
"""Rows of a table, nodes below another one, and blocks of a page."""
MAX_LABELS = 500
"""Entries of a mapping."""
MAX_DEPTH = 50
MAX_VALUES = 200_000
"""Values of a page; one with more fails, such as a tree whose nodes contain each other."""
MAX_INTEGER = 2**63
_MISLEADING = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufeff]")
"""Control characters, those that change the direction of text or are invisible, and half surrogate pairs."""

T = TypeVar("T")


class Sanitizer:
    """Makes blocks safe to show: every block passes it before it is rendered."""

    def __init__(self, context: Context) -> None:
        self._redactor = Redactor(redact_configured=context.redact)
        self._values = 0

    def blocks(self, blocks: Sequence[Block]) -> list[Block]:
        """Return *blocks* as they may be shown.

        Raises TypeError for a value that blocks cannot have, and ValueError when there are too many.
        """
        self._values = 0
        return [self._clean(block, MAX_DEPTH) for block in blocks[:MAX_ROWS]]

    def text(self, text: str, limit: int = MAX_TEXT) -> str:
        """Return *text* as it may be shown, with at most *limit* characters."""
        # Beyond the limit a secret may begin that the cut would hide from the patterns.
        shown = self._redactor.redact(text[: 2 * limit])
        if len(text) > limit:
            shown = f"{shown[:limit]}\N{HORIZONTAL ELLIPSIS}"
        return _MISLEADING.sub(lambda match: ascii(match[0])[1:-1], shown)

    def _clean(self, value: T, depth: int) -> T:
        cleaned: Any = self._clean_any(value, depth)
        return cleaned  # type: ignore[no-any-return] # of the same type

    def _clean_any(self, value: Any, depth: int) -> Any:
        self._values += 1
        if self._values > MAX_VALUES:
            raise ValueError(f"the page has more than {MAX_VALUES} values")
        if value is None or isinstance(value, bool | float | Enum):
            return value
        if isinstance(value, int):
            return value if abs(value) < MAX_INTEGER else float(max(-(10**300), min(value, 10**300)))
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, Mapping):
            return self._mapping(value, depth) if depth > 1 else {}
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [self._clean(each, depth - 1) for each in value[:MAX_ROWS]] if depth > 1 else ()
        if dataclasses.is_dataclass(value):
            return self._block(value, depth) if depth else None
        raise TypeError(f"a page cannot show a value of type {type(value).__name__}; pass a text or a number")

    def _mapping(self, values: Mapping[Any, Any], depth: int) -> dict[str, Any]:
        shown = [(str(name), values[name]) for name, _ in zip(values, range(MAX_LABELS), strict=False)]
        return {self.text(name): self._named(name, value, depth) for name, value in shown}

    def _named(self, name: str, value: Any, depth: int) -> Any:
        secret = isinstance(value, str) and not isinstance(value, Enum) and self._redactor.is_secret(name)
        return MASK if secret else self._clean(value, depth - 1)

    def _block(self, block: Any, depth: int) -> Any:
        if isinstance(block, DataTable):
            return self._table(block, depth)
        if isinstance(block, Code):
            return Code(self.text(block.text, MAX_CODE), self.text(block.title))
        if isinstance(block, ActionForm):
            return self._safe_values(block, block.values, block.label)
        if isinstance(block, Link):
            return self._safe_values(block, block.query, block.text)
        if isinstance(block, Series):
            return Series(self.text(block.name), self._clean(block.points[-MAX_ROWS:], depth - 1))
        fields = {field.name: getattr(block, field.name) for field in dataclasses.fields(block)}
        return dataclasses.replace(block, **{name: self._clean(value, depth - 1) for name, value in fields.items()})

    def _safe_values(self, block: Any, values: Mapping[str, str], text: str) -> Any:
        """Return *block*, or only its text when a value, which must stay as it is, has something to mask or cut."""
        if any(self._named(name, value, 2) != value for name, value in values.items()):
            return self.text(text) or MASK
        return dataclasses.replace(block, **{"label" if isinstance(block, ActionForm) else "text": self.text(text)})

    def _table(self, table: DataTable, depth: int) -> DataTable:
        names = [column.title for column in table.columns]
        rows = [
            [self._named(name, cell, depth) for name, cell in zip(names, row, strict=True)]
            for row in table.rows[:MAX_ROWS]
        ]
        columns = [dataclasses.replace(column, title=self.text(column.title)) for column in table.columns]
        more = table.more + max(0, len(table.rows) - MAX_ROWS)
        return DataTable(columns, rows, self.text(table.title), more, self.text(table.empty))
