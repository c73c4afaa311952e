"""The style sheet and the script, named by a hash of their content, so that browsers may keep them for ever."""

from __future__ import annotations

from hashlib import sha256
from pathlib import Path

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response

FOLDER = Path(__file__).with_name("assets")
MEDIA_TYPES = {".css": "text/css; charset=utf-8", ".js": "text/javascript; charset=utf-8"}
HEADERS = {"cache-control": "public, max-age=31536000, immutable", "x-content-type-options": "nosniff"}


class Assets:
    """The files of the folder ``assets``, which anybody may read."""

    def __init__(self) -> None:
        self._files: dict[str, tuple[bytes, str]] = {}
        self._names: dict[str, str] = {}
        for path in sorted(FOLDER.iterdir()):
            if path.suffix in MEDIA_TYPES:
                content = path.read_bytes()
                name = f"{path.stem}.{sha256(content).hexdigest()[:16]}{path.suffix}"
                self._files[name] = content, MEDIA_TYPES[path.suffix]
                self._names[path.name] = name

    def name_of(self, file: str) -> str:
        """Return the name of *file* with its hash."""
        return self._names[file]

    async def respond(self, request: Request) -> Response:
        """Return the file; raises HTTPException when there is none of this name."""
        name = request.path_params["name"]
        if name not in self._files:
            raise HTTPException(404)
        content, media_type = self._files[name]
        etag = f'"{name}"'
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=HEADERS | {"etag": etag})
        return Response(content, headers=HEADERS | {"etag": etag, "content-type": media_type})
