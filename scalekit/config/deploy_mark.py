"""Marks of keys whose values matter to the deployment of a service: files, metrics and processes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

from pydantic import BaseModel

from scalekit.config.positions import Path

DATA_PATH: Literal["data_path"] = "data_path"
METRICS_PATH: Literal["metrics_path"] = "metrics_path"
WORKER_ROLE: Literal["worker_role"] = "worker_role"
CACHE_PATH: Literal["cache_path"] = "cache_path"
MIGRATIONS: Literal["migrations"] = "migrations"


@dataclass(frozen=True, slots=True)
class DeployMark:
    """Metadata of a key of a table, read by ``scalekit deploy``.

    The value of a ``data_path`` is a file or folder that the service writes, that of a ``metrics_path`` the URL path of
    Prometheus metrics. With the value *when*, the key ``worker_role`` needs processes of ``[server] role = "worker"``.
    The value of a ``cache_path`` is a folder that the service writes and may lose, that of ``migrations`` a folder, a
    file or ``module:name`` that ``scalekit PLUGIN migrate`` applies. The mark does not apply while the key *unless* of
    the same table is true.
    """

    purpose: Literal["data_path", "metrics_path", "worker_role", "cache_path", "migrations"]
    when: str = ""
    unless: str = ""

    def applies(self, value: object) -> bool:
        """Return whether the mark applies to *value*."""
        return value == self.when if self.when else value is not None


def marked_values(model: BaseModel, purpose: str, path: Path = ()) -> Iterator[tuple[Path, Any]]:
    """Yield path and value of each key in *model* and the tables in it that has a mark of *purpose* which applies."""
    for name, field in type(model).model_fields.items():
        value = getattr(model, name)
        marks = [mark for mark in field.metadata if isinstance(mark, DeployMark) and mark.purpose == purpose]
        if any(mark.applies(value) and not (mark.unless and getattr(model, mark.unless)) for mark in marks):
            yield (*path, name), value
        for place, inner in _tables_in(value):
            yield from marked_values(inner, purpose, (*path, name, *place))


def _tables_in(value: object) -> Iterator[tuple[Path, BaseModel]]:
    if isinstance(value, BaseModel):
        yield (), value
    elif isinstance(value, dict):
        yield from (((str(key),), each) for key, each in value.items() if isinstance(each, BaseModel))
    elif isinstance(value, tuple | list):
        yield from (((index,), each) for index, each in enumerate(value) if isinstance(each, BaseModel))
