"""``[app] name``, the default of the keys that are marked with AppName."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scalekit.config.document import Document
from scalekit.config.positions import Path
from scalekit.config.validation import value_at

SERVICE_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
"""Names that are valid in Consul, DNS, logs and dashboards."""


@dataclass(frozen=True, slots=True)
class AppName:
    """Marks a key of a plugin's table whose default is ``[app] name``.

    With *key*, only when the value of that key in the same table is *value*, in any letter case.
    """

    key: str = ""
    value: str = ""

    def applies(self, table: dict[str, object]) -> bool:
        """Return whether the marked key of *table* has this default."""
        return not self.key or str(table.get(self.key)).casefold() == self.value


def apply_app_name(document: Document, path: Path, marked: dict[str, AppName]) -> None:
    """Set the *marked* keys that the table at *path* lacks to ``[app] name``, when that is set and valid."""
    name, table = value_at(document.data, ("app", "name")), value_at(document.data, path)
    if not isinstance(name, str) or not re.fullmatch(SERVICE_NAME_PATTERN, name) or not isinstance(table, dict):
        return
    for key, mark in marked.items():
        if key not in table and mark.applies(table):
            table[key] = name
            document.origins[(*path, key)] = document.origin(("app", "name"))
