"""Pages of every configuration key, from the models of the host and of the plugins."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import BaseModel

from scalekit.config.descriptions import descriptions
from scalekit.config.tables import App, Health, Server
from tests.documentation.reference.every_plugin import host
from tests.documentation.reference.markdown import first_sentence, prose, table
from tests.documentation.reference.values import default_of, models_in, type_of

FOLDER = "reference/configuration"
HOST: dict[str, type[BaseModel]] = {"app": App, "server": Server, "health": Health}
HEAD = ("key", "type", "default", "meaning")


def pages() -> dict[str, str]:
    """Return the page of each table of the file, and the list of them."""
    models = host().settings.plugins.models()
    tables = {**HOST, **{f"plugins.{name}": models[name] for name in sorted(models)}}
    made = {f"{FOLDER}/{_name(path)}": table_page(path, model) for path, model in tables.items()}
    rows = [(f"[`[{path}]`]({_name(path)}.md)", first_sentence(model.__doc__)) for path, model in tables.items()]
    introduction = (
        "# Keys of the file\n\nEvery table and key. [Configuration](../../configuration.md) explains values, "
        "environment variables and path patterns. `enabled = false` in the table of a plugin disables it.\n\n"
    )
    return made | {f"{FOLDER}/index": introduction + table(("table", "content"), rows)}


def _name(path: str) -> str:
    return path.rpartition(".")[2]


def table_page(path: str, model: type[BaseModel]) -> str:
    """Return the page of the table at *path* and of all tables in it."""
    parts = [f"# `[{path}]`\n"]
    if path.startswith("plugins."):
        parts.append(f"The plugin [{_name(path)}](../../plugins/{_name(path)}.md) has examples and explanations.\n")
    parts.append(_keys(model))
    for heading, inner in _inner_tables(path, model):
        parts += [f"## {heading}\n", prose(inner.__doc__) + "\n", _keys(inner)]
    return "\n".join(parts)


def _inner_tables(path: str, model: type[BaseModel]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield heading and model of each table below *path*, in the order of the keys."""
    for name, field in model.model_fields.items():
        for inner in models_in(field.annotation):
            kind = str(field.annotation)
            below = f"{path}.{name}"
            if kind.startswith("dict["):
                below += ".NAME"
            yield (f"`[[{below}]]`" if kind.startswith("tuple[") else f"`[{below}]`"), inner
            yield from _inner_tables(below, inner)


def _keys(model: type[BaseModel]) -> str:
    described = descriptions(model)
    rows = [
        (f"`{name}`", type_of(field), default_of(field), first_sentence(described[name]))
        for name, field in model.model_fields.items()
    ]
    return table(HEAD, rows)
