"""Serve the folders of static files that ``[app] static`` names."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path

from starlette.routing import Mount
from starlette.staticfiles import StaticFiles

from scalekit.settings import Settings


def static_routes(settings: Settings) -> list[Mount]:
    """Return a route for each path of ``[app] static``; folders that are missing go to the document's problems."""
    return [Mount(path, _files(settings, path, entries)) for path, entries in settings.app.static.items()]


def _files(settings: Settings, path: str, entries: Sequence[str]) -> StaticFiles:
    files = StaticFiles()
    files.all_directories += _folders(settings, path, entries)
    return files


def _folders(settings: Settings, path: str, entries: Sequence[str]) -> Iterator[str]:
    for entry in entries:
        try:
            yield str(_folder(entry))
        except ValueError as error:
            settings.document.report(("app", "static", path), str(error))


def _folder(entry: str) -> Path:
    """Return the folder that *entry* names: a path, or ``package:folder``; raises ValueError when it is not there."""
    package, colon, inside = entry.rpartition(":")
    folder = _package_folder(package) / inside if colon else Path(entry)
    if not folder.is_dir():
        raise ValueError(f"there is no folder {str(folder)!r}; create it, or name another, or package:folder")
    return folder


def _package_folder(package: str) -> Path:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    if spec is None or spec.origin is None:
        raise ValueError(f"there is no package {package!r}; install it, or name a folder without a colon")
    return Path(spec.origin).parent
