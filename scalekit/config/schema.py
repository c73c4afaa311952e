"""Generate the JSON Schema of the file, for editors and linters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic.json_schema import models_json_schema

from scalekit.config.enabled_key import ENABLED, ENABLED_SCHEMA
from scalekit.config.letter_case import spellings
from scalekit.config.table import Table
from scalekit.config.tables import App, Health, Server

REFERENCE = r"\$\{[A-Za-z_][A-Za-z0-9_]*(:-[^{}]*)?\}"
"""An environment reference, which is allowed instead of a number or boolean."""

Schema = dict[str, Any]


def file_schema(plugins: Mapping[str, type[Table] | None]) -> Schema:
    """Return the JSON Schema of a file with the tables of *plugins*: the model of each, or None without keys."""
    host: dict[str, type[Table]] = {"app": App, "server": Server, "health": Health}
    models = [*host.values(), *(model for model in plugins.values() if model is not None)]
    references, shared = models_json_schema([(model, "validation") for model in models], title=None)
    tables = {name: references[model, "validation"] for name, model in host.items()}
    empty = _table({ENABLED: ENABLED_SCHEMA})
    for model in filter(None, plugins.values()):
        table = shared["$defs"][references[model, "validation"]["$ref"].rpartition("/")[2]]
        table["properties"] = {ENABLED: ENABLED_SCHEMA, **table.get("properties", {})}
    tables["plugins"] = _table(
        {name: references[model, "validation"] if model else empty for name, model in plugins.items()}
    )
    tables["extends"] = {"type": "string", "description": "A file whose tables this file overrides."}
    schema = {"$schema": "http://json-schema.org/draft-07/schema#", **_table(tables), "$defs": shared["$defs"]}
    cleaned: Schema = _for_linters(schema)
    return cleaned


def _table(properties: Schema) -> Schema:
    return {"type": "object", "properties": properties, "additionalProperties": False}


def _for_linters(node: Any) -> Any:
    """Remove null, which TOML lacks: with it linters report each branch of ``anyOf`` instead of the mistake."""
    if isinstance(node, list):
        return [_for_linters(each) for each in node]
    if not isinstance(node, dict):
        return node
    node = {key: _for_linters(value) for key, value in node.items() if not (key == "default" and value is None)}
    words = node.get("enum", [node["const"]] if "const" in node else [])
    if words and all(isinstance(each, str) for each in words):
        node.pop("const", None)
        node["enum"] = spellings(words)
    branches = [each for each in node.get("anyOf", ()) if each != {"type": "null"}]
    if len(branches) == 1:
        del node["anyOf"]
        node = {**branches[0], **node}
    if node.get("type") in ("integer", "number", "boolean"):
        node["type"] = [node["type"], "string"]
        node["pattern"] = f"^{REFERENCE}$"
    elif "pattern" in node:
        node["pattern"] = f"{node['pattern']}|{REFERENCE}"
    return node
