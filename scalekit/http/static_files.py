"""Serve the folders of static files that ``[app] static`` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from scalekit.config.document import Document


def static_routes(document: Document, static: Mapping[str, Sequence[str]]) -> list[Mount]:
    """Return a route for each path of *static*, ``[app] static``; report missing folders as problems of *document*."""
    return [Mount(path, _files(document, path, entries)) for path, entries in static.items()]


def _files(document: Document, path: str, entries: Sequence[str]) -> StaticFiles:
    files = StaticFiles()
    files.all_directories += _folders(document, path, entries)
    return files


def _folders(document: Document, path: str, entries: Sequence[str]) -> Iterator[str]:
    for entry in entries:
        try:
            yield str(_folder(entry))
        except ValueError as error:
            document.report(("app", "static", path), str(error))


def _folder(entry: str) -> Path:
    """Return the folder that *entry* names: a path, or ``package:folder``; raises ValueError when it does not exist."""
    package, colon, inside = entry.rpartition(":")
    folder = _package_folder(package) / inside if colon else Path(entry)
    if not folder.is_dir():
        raise ValueError(f"folder {str(folder)!r} does not exist; create it, or name another folder or package:folder")
    return folder


def _package_folder(package: str) -> Path:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"package {package!r} is not installed; install it, or name a folder without a colon")
    return Path(spec.origin).parent
