"""The name of a service, which is said once: ``[app] name`` is the default of keys that are marked with it."""

from __future__ import annotations

import re
from dataclasses import dataclass

from scalekit.config.document import Document
from scalekit.config.positions import Path
from scalekit.config.validation import value_at

SERVICE_NAME_PATTERN = r"^[A-Za-z0-9]([A-Za-z0-9._-]{0,126}[A-Za-z0-9])?$"
"""Names that Consul, DNS, logs and dashboards all take."""


@dataclass(frozen=True, slots=True)
class AppName:
    """Marks a key of a plugin's table: where the file leaves it out, it is ``[app] name``.

    With *key* and *word* only where that key of the table says that word.
    """

    key: str = ""
    word: str = ""

    def applies(self, table: dict[str, object]) -> bool:
        """Return whether a *table* without the marked key gets the name."""
        return not self.key or str(table.get(self.key)).casefold() == self.word


def spread_name(document: Document, path: Path, marked: dict[str, AppName]) -> None:
    """Put ``[app] name``, if there is one, into the keys *marked* of the table at *path* that the file leaves out."""
    name, table = value_at(document.data, ("app", "name")), value_at(document.data, path)
    if not isinstance(name, str) or not re.fullmatch(SERVICE_NAME_PATTERN, name) or not isinstance(table, dict):
        return
    for key, mark in marked.items():
        if key not in table and mark.applies(table):
            table[key] = name
            document.origins[(*path, key)] = document.origin(("app", "name"))
