"""Pages as tools for agents: the Model Context Protocol over HTTP, without sessions and streams.

Each page is a tool that only reads. Source: Model Context Protocol 2025-06-18, "Transports" (Streamable HTTP), "Tools".
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

import orjson
from starlette.requests import Request
from starlette.responses import Response

from scalekit import ProblemResponse, read_body
from scalekit.pages import ConsolePage
from scalekit_console.access import foreign_origin
from scalekit_console.console import ConsoleServer, blocks_as_json
from scalekit_console.forms import MAX_BODY, MAX_FIELDS, MAX_VALUE

PROTOCOL_VERSIONS = ("2025-11-25", "2025-06-18")
"""Supported versions, the latest first."""
VERSION_HEADER = "mcp-protocol-version"
PARSE_ERROR, INVALID_REQUEST, METHOD_NOT_FOUND, INVALID_PARAMETERS = -32700, -32600, -32601, -32602
"""Codes of errors (JSON-RPC 2.0, section 5.1)."""

Parameters = Mapping[str, Any]


class McpError(Exception):
    """A request that has no result, with its *code*."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class McpServer:
    """Responds to requests of agents with the pages of *console*."""

    def __init__(self, console: ConsoleServer) -> None:
        self._console = console
        self._methods = {"initialize": _initialize, "ping": _ping, "tools/list": self._list, "tools/call": self._call}

    async def respond(self, request: Request) -> Response:
        """Return the response to one message."""
        refusal = self._refusal(request)
        if refusal is not None:
            return refusal
        identifier: Any = None
        try:
            message = _parse(await read_body(request, MAX_BODY))
            if "id" not in message or not message.keys().isdisjoint({"result", "error"}):
                return Response(status_code=202)  # a notification, or a response
            identifier = _identifier(message["id"])
            content: dict[str, Any] = {"result": await self._result(message)}
        except McpError as error:
            content = {"error": {"code": error.code, "message": str(error)}}
        body = orjson.dumps({"jsonrpc": "2.0", "id": identifier, **content})
        return Response(body, 200, {"cache-control": "no-store"}, "application/json")

    def _refusal(self, request: Request) -> Response | None:
        if self._console.access.identify(request) is None:
            return ProblemResponse(403, "operators only: send server.operator_token as bearer token")
        if reason := foreign_origin(request):
            return ProblemResponse(403, reason)
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() != "application/json":
            return ProblemResponse(415, "expected Content-Type: application/json")
        protocol = request.headers.get(VERSION_HEADER)
        if protocol is not None and protocol not in PROTOCOL_VERSIONS:
            return ProblemResponse(400, f"{VERSION_HEADER}: expected one of {', '.join(PROTOCOL_VERSIONS)}")
        return None

    async def _result(self, message: Parameters) -> Any:
        name, parameters = message.get("method"), message.get("params", {})
        method = self._methods.get(name) if isinstance(name, str) else None
        if method is None:
            raise McpError(METHOD_NOT_FOUND, f"unknown method; expected {', '.join(self._methods)}")
        if not isinstance(parameters, dict):
            raise McpError(INVALID_PARAMETERS, "params: expected an object")
        return await method(parameters)

    async def _list(self, parameters: Parameters) -> dict[str, Any]:
        return {"tools": [_describe(page) for page in self._console.pages]}

    async def _call(self, parameters: Parameters) -> dict[str, Any]:
        page = self._console.pages.pages.get(str(parameters.get("name")))
        if page is None:
            raise McpError(INVALID_PARAMETERS, f"unknown tool; expected {', '.join(self._console.pages.pages)}")
        blocks, status = await self._console.blocks(page, _query(parameters.get("arguments")))
        content = {"page": page.name, "blocks": blocks_as_json(blocks)}
        text = {"type": "text", "text": orjson.dumps(content).decode()}
        return {"content": [text], "structuredContent": content, "isError": status != 200}


async def _initialize(parameters: Parameters) -> dict[str, Any]:
    asked = parameters.get("protocolVersion")
    return {
        "protocolVersion": asked if asked in PROTOCOL_VERSIONS else PROTOCOL_VERSIONS[0],
        "capabilities": {"tools": {}},
        "serverInfo": {"name": "scalekit", "title": "ScaleKit console", "version": version("scalekit-asgi")},
    }


async def _ping(parameters: Parameters) -> dict[str, Any]:
    return {}


def _parse(body: bytes) -> dict[str, Any]:
    try:
        message = orjson.loads(body)
    except ValueError:
        raise McpError(PARSE_ERROR, "expected JSON") from None
    if not isinstance(message, dict) or message.get("jsonrpc") != "2.0":
        raise McpError(INVALID_REQUEST, 'expected one message of JSON-RPC, {"jsonrpc": "2.0", ...}')
    return message


def _identifier(value: Any) -> str | int:
    """Return the id of a request; raises McpError when it is none, as the Model Context Protocol has it."""
    if isinstance(value, str | int) and not isinstance(value, bool):
        return value
    raise McpError(INVALID_REQUEST, "id: expected a text or an integer of at most 64 bits")


def _describe(page: ConsolePage) -> dict[str, Any]:
    values = {"type": "string", "maxLength": MAX_VALUE}
    schema = {"type": "object", "additionalProperties": values, "maxProperties": MAX_FIELDS}
    description = f"{page.description} Arguments are the query of the page, as its links and query forms have it."
    hints = {"readOnlyHint": True, "openWorldHint": False}
    return {
        "name": page.name,
        "title": page.title,
        "description": description.strip(),
        "inputSchema": schema,
        "annotations": hints,
    }


def _query(arguments: Any) -> dict[str, str]:
    if arguments is None:
        return {}
    if not isinstance(arguments, dict) or not all(isinstance(value, str) for value in arguments.values()):
        raise McpError(INVALID_PARAMETERS, "arguments: expected an object of texts")
    if len(arguments) > MAX_FIELDS or any(len(value) > MAX_VALUE for value in arguments.values()):
        raise McpError(INVALID_PARAMETERS, f"arguments: expected at most {MAX_FIELDS} of {MAX_VALUE} characters")
    return arguments
