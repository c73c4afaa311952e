"""The media type of a file, by the extension of its name; the same on every machine."""

from __future__ import annotations

from mimetypes import MimeTypes
from os.path import splitext

DEFAULT = "application/octet-stream"
TYPES = {
    ".avif": "image/avif",
    ".bz2": "application/x-bzip2",
    ".flac": "audio/flac",
    ".geojson": "application/geo+json",
    ".gz": "application/gzip",
    ".js": "text/javascript",
    ".m4a": "audio/mp4",
    ".map": "application/json",
    ".md": "text/markdown",
    ".mjs": "text/javascript",
    ".ogg": "audio/ogg",
    ".ogv": "video/ogg",
    ".otf": "font/otf",
    ".ttf": "font/ttf",
    ".wasm": "application/wasm",
    ".webmanifest": "application/manifest+json",
    ".webp": "image/webp",
    ".woff": "font/woff",
    ".woff2": "font/woff2",
    ".xz": "application/x-xz",
    ".zst": "application/zstd",
}
"""Media types of files of the web that ``mimetypes`` does not know in every version of Python."""
_LOOSE, _REGISTERED = MimeTypes().types_map  # without the files of this machine
_BY_EXTENSION = {**_LOOSE, **_REGISTERED, **TYPES}


def media_type(name: str) -> str:
    """Return the value of Content-Type for the file *name*; text is UTF-8."""
    found = _BY_EXTENSION.get(splitext(name)[1].lower(), DEFAULT)
    return f"{found}; charset=utf-8" if found.startswith("text/") else found
