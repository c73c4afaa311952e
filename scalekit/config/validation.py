"""Turn a table into its model, and pydantic's complaints into problems that name the line and the remedy."""

from __future__ import annotations

import json
import typing
from collections.abc import Iterable
from copy import deepcopy
from difflib import get_close_matches
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from scalekit.config.document import Document, dotted
from scalekit.config.mask import is_secret_name
from scalekit.config.positions import Path
from scalekit.config.problem_text import complaint, required

UNKNOWN_KEY = "unknown key"

Model = TypeVar("Model", bound=BaseModel)


def parse(kind: type[Model], document: Document, path: Path, plugin: str = "") -> Model | None:
    """Return the table at *path* as a *kind*, or None after adding every mistake in it to the document's problems."""
    table = value_at(document.data, path)
    if table is None:
        table = {}
    try:
        return kind.model_validate_json(_json(table))
    except ValidationError as error:
        first = error
    table, replaced = _with_literals(table, document, path, first)
    try:
        if not replaced:
            raise first
        return kind.model_validate_json(_json(table))
    except ValidationError as error:
        known = {problem.key for problem in document.problems}  # report one mistake, such as a missing variable, once
        for detail in error.errors(include_url=False):
            here = (*path, *_written(table, detail["loc"]))
            if dotted(here) not in known:
                known.add(dotted(here))
                document.report(
                    here,
                    _message(kind, detail, value_at(table, here[len(path) :]), document=document, here=here, path=path),
                    plugin,
                )
        return None


def suggest_name(name: str, known: Iterable[str]) -> str:
    """Return the end of a message about the unknown *name*: the closest name of *known*, or else all of them."""
    names = sorted(known)
    close = get_close_matches(name.lower(), names, n=1)
    if close:
        return f"did you mean {close[0]!r}?"
    return f"known: {', '.join(names)}" if names else "there are none"


def _json(table: Any) -> bytes:
    try:
        return orjson.dumps(table, default=str)
    except TypeError:  # a number of more than 64 bits
        return json.dumps(table, default=str).encode()


def value_at(data: Any, path: Path) -> Any:
    """Return what stands at *path* below *data*, or None when nothing does."""
    for part in path:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _with_literals(table: Any, document: Document, path: Path, error: ValidationError) -> tuple[Any, bool]:
    """Retry with what the text of the environment means as TOML, for the keys that did not want the text."""
    copy = deepcopy(table)
    replaced = False
    for detail in error.errors(include_url=False):
        where = _written(table, detail["loc"])
        for size in range(len(where), 0, -1):
            literal = document.literals.get((*path, *where[:size]))
            if literal is not None:
                value_at(copy, where[: size - 1])[where[size - 1]] = literal
                replaced = True
    return copy, replaced


def _written(table: Any, location: tuple[str | int, ...]) -> Path:
    """Leave out what pydantic adds to a location, such as the member of a union that it tried."""
    path: list[str | int] = []
    for part in location:
        inside = value_at(table, tuple(path))
        if isinstance(inside, dict) or (isinstance(inside, list) and isinstance(part, int)):
            path.append(part)
    return tuple(path)


def _message(kind: type[BaseModel], detail: Any, value: Any, *, document: Document, here: Path, path: Path) -> str:
    name = here[-1] if here else ""
    if detail["type"] == "extra_forbidden":
        return f"{UNKNOWN_KEY}; {suggest_name(str(name), _fields(kind, here[len(path) : -1]))}"
    if detail["type"] == "missing":
        return required(here)
    return complaint(detail, value, here, secret=bool(document.origin(here).variables) or is_secret_name(name))


def _fields(kind: type[BaseModel], path: Path) -> set[str]:
    """Return the keys that the table at *path* below a *kind* may have."""
    for part in path:
        field = kind.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        kind = inner or kind
    return set(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := _model_in(each))), None)
