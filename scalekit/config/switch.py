"""The key that every plugin's table has: ``enabled = false`` switches the plugin off where its table stands."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from scalekit.config.document import Document, dotted

KEY = "enabled"
SCHEMA: dict[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "Whether the plugin is on; where it is not, only the names of its keys are checked.",
}


def take_switch(document: Document, name: str) -> bool:
    """Take ``enabled`` out of the table of the plugin *name*, and return whether it is on."""
    path = ("plugins", name, KEY)
    table = document.data["plugins"][name]
    if KEY not in table:
        return True
    value = table.pop(KEY)
    value = document.literals.get(path, value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        if all(each.key != dotted(path) for each in document.problems):
            document.report(path, f"expected true or false, without quotes, got {type(value).__name__}", name)
        return True
    if not value:  # what the environment lacks is not needed then
        inside = f"plugins.{name}."
        document.problems = [each for each in document.problems if not each.key.startswith(inside)]
    return value


def without_problems(document: Document) -> Document:
    """Return a copy of *document* that takes the problems of a table that is switched off."""
    return Document(document.name, deepcopy(document.data), document.origins, document.literals)
