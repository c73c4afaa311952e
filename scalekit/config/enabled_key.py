"""The key ``enabled`` of all plugin tables: ``enabled = false`` disables the plugin and keeps its table."""

from __future__ import annotations

from copy import deepcopy
from typing import Any

from scalekit.config.document import Document, dotted

ENABLED = "enabled"
ENABLED_SCHEMA: dict[str, Any] = {
    "type": "boolean",
    "default": True,
    "description": "Whether the plugin is on; of a disabled plugin only the names of keys are checked.",
}


def pop_enabled(document: Document, name: str) -> bool:
    """Remove ``enabled`` from the table of plugin *name*, and return its value, by default True."""
    path = ("plugins", name, ENABLED)
    table = document.data["plugins"][name]
    if ENABLED not in table:
        return True
    value = table.pop(ENABLED)
    value = document.literals.get(path, value) if isinstance(value, str) else value
    if not isinstance(value, bool):
        if all(each.key != dotted(path) for each in document.problems):
            document.report(path, f"expected true or false, without quotes, got {type(value).__name__}", name)
        return True
    if not value:  # a disabled plugin does not need its environment variables
        inside = f"plugins.{name}."
        document.problems = [each for each in document.problems if not each.key.startswith(inside)]
    return value


def copy_without_problems(document: Document) -> Document:
    """Return a copy of *document*, without problems, in which the table of a disabled plugin can be validated."""
    return Document(document.name, deepcopy(document.data), document.origins, document.literals)
