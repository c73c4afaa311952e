"""The ASGI application that serves the folders of one path of ``[app] static``."""

from __future__ import annotations

import asyncio
import os
import re
from urllib.parse import quote

from starlette.exceptions import HTTPException
from starlette.responses import RedirectResponse, Response
from starlette.types import Receive, Scope, Send

from scalekit.config.tables import StaticFolders
from scalekit.http.problem import ProblemResponse, send_problem
from scalekit.http.request_line import route_path
from scalekit.http.static_files.file_lookup import FileLookup, OpenFile
from scalekit.http.static_files.file_response import UNSATISFIABLE, FileResponse, file_response
from scalekit.http.static_files.media_types import media_type
from scalekit.http.static_files.preconditions import Fields

IMMUTABLE = "max-age=31536000, immutable"
HASHED_NAME = re.compile(r".*[.-](?=[0-9a-f]*[a-f])(?=[0-9a-f]*[0-9])[0-9a-f]{8,64}\.[^/]+")
"""A name with a hash of the content, as Django's ManifestStaticFilesStorage and webpack write it."""


class StaticFileHandler:
    """Serves the files of *lookup* below *path*."""

    def __init__(self, path: str, lookup: FileLookup, config: StaticFolders) -> None:
        self._path = path
        self._lookup = lookup
        self._config = config
        self._is_private = any(word in config.cache_control.lower() for word in ("private", "no-store"))

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send the file, a part of it, or why not; a websocket is rejected."""
        if scope["type"] != "http":
            await send_problem(scope, send, 404, "no file is a websocket")
            return
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(405, headers={"Allow": "GET, HEAD"})
        response = await asyncio.to_thread(self._respond, scope)
        if isinstance(response, FileResponse):
            await response.send(receive, send)
        else:
            await response(scope, receive, send)

    def _respond(self, scope: Scope) -> FileResponse | Response:
        path, fields = self._path_below(scope), _join(scope)
        file = self._lookup.open(path, fields.get("accept-encoding", ""))
        if file is None:
            if self._lookup.has_index(path):
                return _redirect_to_index(scope)
            raise HTTPException(404)
        return self._respond_with(file, path, fields, scope["method"])

    def _path_below(self, scope: Scope) -> str:
        """Return the path below that of the handler, whether or not the path of *scope* has the prefix of a proxy."""
        outer = {"path": scope["path"], "root_path": scope.get("app_root_path", "")}
        return route_path(outer).removeprefix(self._path)

    def _respond_with(self, file: OpenFile, path: str, fields: Fields, method: str) -> FileResponse | Response:
        name = os.path.basename(path) or "index.html"
        response = file_response(
            file,
            fields,
            method=method,
            content_type=media_type(name),
            cache_control=self._cache_control(path, "authorization" in fields),
        )
        if isinstance(response, FileResponse):
            response.prepare()
            return response
        file.close()
        headers = {"content-range": f"bytes */{file.stat.st_size}"} if response == UNSATISFIABLE else None
        return ProblemResponse(response, headers=headers)

    def _cache_control(self, path: str, is_authorized: bool) -> str:
        """Return the value of Cache-Control; for a file of a user never ``public`` (RFC 9111, section 3.5)."""
        if self._is_private or not self._is_immutable(path):
            return self._config.cache_control
        return IMMUTABLE if is_authorized else f"public, {IMMUTABLE}"

    def _is_immutable(self, path: str) -> bool:
        if HASHED_NAME.fullmatch(path):
            return True
        return any(glob.matches(self._path + path) for glob in self._config.immutable)


def _join(scope: Scope) -> dict[str, str]:
    """Return the request headers by name in lower case; values of repeated ones are joined by commas."""
    fields: dict[str, str] = {}
    for name, value in scope["headers"]:
        key, text = name.decode("latin-1").lower(), value.decode("latin-1")
        fields[key] = f"{fields[key]}, {text}" if key in fields else text
    return fields


def _redirect_to_index(scope: Scope) -> Response:
    """Return a redirect to the folder, relative to the path of the request, whatever prefix proxies have removed."""
    query = scope["query_string"].decode("latin-1")
    name = quote(os.path.basename(scope["path"]), safe="")
    return RedirectResponse(f"{name}/?{query}" if query else f"{name}/", 307)
