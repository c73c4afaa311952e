"""Build the ASGI scope of a request."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from urllib.parse import unquote

from httptools import parse_url

if TYPE_CHECKING:
    from starlette.types import Scope
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol


def http_scope(connection: HttpToolsProtocol, version: str) -> Scope:
    """Return the scope of the request in HTTP *version* whose head *connection* has parsed."""
    parser: Any = connection.parser
    url = parse_url(connection.url)
    path = url.path.decode("ascii")
    return {
        "type": "http",
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "http_version": version,
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "root_path": connection.root_path,
        "headers": connection.headers,
        "state": connection.app_state.copy(),
        "method": parser.get_method().decode("ascii"),
        "path": connection.root_path + (unquote(path) if "%" in path else path),
        "raw_path": connection.root_path.encode("ascii") + url.path,
        "query_string": url.query or b"",
    }


def cached_scope(connection: HttpToolsProtocol, cached: Scope) -> Scope:
    """Return the scope of a request on *connection* from the *cached* scope of the same head."""
    return {
        **cached,
        "asgi": {"version": connection.asgi_version, "spec_version": "2.3"},
        "server": connection.server,
        "client": connection.client,
        "scheme": connection.scheme,
        "headers": cached["headers"].copy(),
        "state": connection.app_state.copy(),
    }
