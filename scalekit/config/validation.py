"""Validate tables by their models, and report each error with file, line and remedy."""

from __future__ import annotations

import json
import typing
from copy import deepcopy
from typing import Any, TypeVar

import orjson
from pydantic import BaseModel, ValidationError

from scalekit.config.document import Document, dotted
from scalekit.config.name_suggestion import suggest_name
from scalekit.config.password_mask import is_secret_name
from scalekit.config.positions import Path
from scalekit.config.validation_messages import missing_key_message, validation_message

UNKNOWN_KEY = "unknown key"

Model = TypeVar("Model", bound=BaseModel)


def parse(kind: type[Model], document: Document, path: Path, plugin: str = "") -> Model | None:
    """Return the table at *path* as a *kind*, or None after adding each mistake to the document's problems."""
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
        reported = {problem.key for problem in document.problems}  # at most one problem for each key
        for detail in error.errors(include_url=False):
            here = (*path, *_path_of(table, detail["loc"]))
            if dotted(here) not in reported:
                reported.add(dotted(here))
                document.report(
                    here,
                    _message(kind, detail, value_at(table, here[len(path) :]), document=document, here=here, path=path),
                    plugin,
                )
        return None


def _json(table: Any) -> bytes:
    try:
        return orjson.dumps(table, default=str)
    except TypeError:  # an integer of more than 64 bits
        return json.dumps(table, default=str).encode()


def value_at(data: Any, path: Path) -> Any:
    """Return the value at *path* in *data*, or None when there is none."""
    for part in path:
        if isinstance(data, dict) and part in data:
            data = data[part]
        elif isinstance(data, list) and isinstance(part, int) and part < len(data):
            data = data[part]
        else:
            return None
    return data


def _with_literals(table: Any, document: Document, path: Path, error: ValidationError) -> tuple[Any, bool]:
    """Return *table* with TOML literals instead of texts for the keys in *error*, and whether any was replaced."""
    copy = deepcopy(table)
    replaced = False
    for detail in error.errors(include_url=False):
        where = _path_of(table, detail["loc"])
        for size in range(len(where), 0, -1):
            literal = document.literals.get((*path, *where[:size]))
            if literal is not None:
                value_at(copy, where[: size - 1])[where[size - 1]] = literal
                replaced = True
    return copy, replaced


def _path_of(table: Any, location: tuple[str | int, ...]) -> Path:
    """Return *location* without pydantic's additions, such as the tried member of a union."""
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
        return missing_key_message(here)
    return validation_message(detail, value, here, secret=bool(document.origin(here).variables) or is_secret_name(name))


def _fields(kind: type[BaseModel], path: Path) -> set[str]:
    """Return the keys of the table at *path* in a *kind*."""
    for part in path:
        field = kind.model_fields.get(str(part))
        inner = _model_in(field.annotation) if field else None
        kind = inner or kind
    return set(kind.model_fields)


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    return next((found for each in typing.get_args(annotation) if (found := _model_in(each))), None)
