"""The routes of the folders that ``[app] static`` names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from starlette.routing import Mount

from scalekit.config.document import Document
from scalekit.config.tables import StaticFolders
from scalekit.http.static_files.file_lookup import IS_SUPPORTED, FileLookup
from scalekit.http.static_files.handler import StaticFileHandler


def static_routes(document: Document, static: Mapping[str, StaticFolders]) -> list[Mount]:
    """Return a route for each path of *static*, ``[app] static``; report missing folders as problems of *document*."""
    if static and not IS_SUPPORTED:
        document.report(("app", "static"), "is not supported on Windows; let a proxy serve the files")
    longest_first = sorted(static.items(), key=lambda item: -len(item[0]))  # "/a/b" is not a folder of "/a"
    return [Mount(path, _handler(document, path, config)) for path, config in longest_first]


def _handler(document: Document, path: str, config: StaticFolders) -> StaticFileHandler:
    return StaticFileHandler(path, FileLookup(list(_folders(document, path, config.folders))), config)


def _folders(document: Document, path: str, entries: Sequence[str]) -> Iterator[str]:
    for entry in entries:
        try:
            yield str(_folder(entry))
        except ValueError as error:
            document.report(("app", "static", path), str(error))


def _folder(entry: str) -> Path:
    """Return the folder that *entry* names: a path, or ``package:folder``; raises ValueError when it does not exist."""
    package, colon, inside = entry.rpartition(":")
    if not inside:  # Path("") is the working folder, with the file of the service
        raise ValueError(f"expected a folder or package:folder, got {entry!r}; name the folder with the files")
    folder = _package_folder(package) / inside if colon else Path(entry)
    if not folder.is_dir():
        raise ValueError(f"folder {str(folder)!r} does not exist; create it, or name another folder or package:folder")
    return folder


def _package_folder(package: str) -> Path:
    try:
        spec = find_spec(package)
    except (ImportError, ValueError):
        spec = None
    locations = spec.submodule_search_locations if spec else None
    if not locations:
        raise ValueError(f"{package!r} is not an installed package; install it, or name a folder without a colon")
    return Path(next(iter(locations)))
