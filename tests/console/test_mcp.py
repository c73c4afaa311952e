"""Pages as tools for agents."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest

from tests.console.clients import NONE, TOKEN, Browser, Headers, console_app

pytestmark = pytest.mark.anyio

MCP = "/-/mcp"


@asynccontextmanager
async def agent(**server: Any) -> AsyncGenerator[Browser, None]:
    async with console_app({"cache": {"url": "memory:"}}, {"mcp": True}, **server) as browser:
        yield browser


async def call(browser: Browser, method: str, parameters: object = None, headers: Headers = NONE) -> dict[str, Any]:
    message = {"jsonrpc": "2.0", "id": 7, "method": method, **({} if parameters is None else {"params": parameters})}
    response = await browser.post_json(MCP, message, headers)
    assert (response.status, response.header("content-type")) == (200, "application/json")
    found: dict[str, Any] = orjson.loads(response.body)
    assert (found["jsonrpc"], found["id"]) == ("2.0", 7)
    return found


async def test_a_session_of_an_agent() -> None:
    async with agent() as browser:
        client = {"capabilities": {}, "clientInfo": {"name": "test", "version": "1"}}
        begun = await call(browser, "initialize", {"protocolVersion": "2025-06-18", **client})
        assert begun["result"]["protocolVersion"] == "2025-06-18"
        assert begun["result"]["capabilities"] == {"tools": {}}
        noted = await browser.post_json(MCP, {"jsonrpc": "2.0", "method": "notifications/initialized"})
        assert (noted.status, noted.body) == (202, b"")
        tools = {tool["name"]: tool for tool in (await call(browser, "tools/list"))["result"]["tools"]}
        assert {"index", "overview", "health", "cache"} <= set(tools)
        assert all(tool["annotations"]["readOnlyHint"] for tool in tools.values())
        page = (await call(browser, "tools/call", {"name": "cache", "arguments": {"x": "y"}}))["result"]
        assert page["isError"] is False
        shown = orjson.loads((await browser.get("/-/cache.json")).body)["blocks"]
        assert [block["type"] for block in page["structuredContent"]["blocks"]] == [block["type"] for block in shown]
        assert orjson.loads(page["content"][0]["text"]) == page["structuredContent"]
        assert (await call(browser, "ping"))["result"] == {}


async def test_the_latest_version_is_offered_when_that_of_the_client_is_unknown() -> None:
    async with agent() as browser:
        begun = await call(browser, "initialize", {"protocolVersion": "2020-01-01"})
        assert begun["result"]["protocolVersion"] == "2025-11-25"


@pytest.mark.parametrize(
    ("method", "parameters", "code"),
    [
        ("cache/purge", {}, -32601),
        ("tools/list", [], -32602),
        ("tools/call", {}, -32602),
        ("tools/call", {"name": "cache/purge"}, -32602),
        ("tools/call", {"name": ["cache"]}, -32602),
        ("tools/call", {"name": "cache", "arguments": {"x": 1}}, -32602),
        ("tools/call", {"name": "cache", "arguments": []}, -32602),
        ("tools/call", {"name": "cache", "arguments": {"x": "y" * 1001}}, -32602),
        ("tools/call", {"name": "cache", "arguments": {str(number): "" for number in range(51)}}, -32602),
    ],
)
async def test_errors_have_the_codes_of_json_rpc(method: str, parameters: object, code: int) -> None:
    async with agent() as browser:
        assert (await call(browser, method, parameters))["error"]["code"] == code


@pytest.mark.parametrize(
    ("content", "code"),
    [([], -32600), ([{"jsonrpc": "2.0", "id": 1, "method": "ping"}], -32600), ({"id": 1}, -32600), ("x", -32600)],
)
async def test_messages_that_are_none(content: object, code: int) -> None:
    async with agent() as browser:
        response = orjson.loads((await browser.post_json(MCP, content)).body)
        assert (response["error"]["code"], response["id"]) == (code, None)


async def test_malformed_json_and_bodies_that_are_too_long() -> None:
    async with agent() as browser:
        broken = await browser._send("POST", MCP, {"content-type": "application/json"}, b"{")
        assert orjson.loads(broken.body)["error"]["code"] == -32700
        assert (await browser.post_json(MCP, {"x": "y" * 20_000})).status == 413


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"origin": "https://evil.example"}, 403),
        ({"sec-fetch-site": "cross-site"}, 403),
        ({"host": "evil.example"}, 403),
        ({"content-type": "text/plain"}, 415),
        ({"mcp-protocol-version": "2020-01-01"}, 400),
        ({"mcp-protocol-version": "2025-11-25"}, 200),
    ],
)
async def test_what_is_refused(headers: dict[str, str], status: int) -> None:
    async with agent() as browser:
        response = await browser.post_json(MCP, {"jsonrpc": "2.0", "id": 1, "method": "ping"}, headers)
        assert response.status == status


async def test_agents_need_the_token_of_operators() -> None:
    async with agent(operator_networks=[], operator_token=TOKEN) as browser:
        ping = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
        assert (await browser.post_json(MCP, ping)).status == 403
        assert (await browser.post_json(MCP, ping, {"authorization": f"Bearer {TOKEN}"})).status == 200


async def test_there_are_no_tools_unless_they_are_turned_on() -> None:
    async with console_app({}) as browser:
        response = await browser.post_json(MCP, {"jsonrpc": "2.0", "id": 1, "method": "ping"})
        assert response.body == b"/-/mcp"  # of the application
    async with agent() as browser:
        assert (await browser.get(MCP)).status == 405


@pytest.mark.parametrize("identifier", ["null", "true", "1.5", "{}", f"{'9' * 30}", f"{'[' * 300}{']' * 300}"])
async def test_an_id_is_a_text_or_an_integer(identifier: str) -> None:
    body = b'{"jsonrpc": "2.0", "method": "ping", "id": %b}' % identifier.encode()
    async with agent() as browser:
        response = await browser._send("POST", MCP, {"content-type": "application/json"}, body)
    assert response.status == 200
    content = orjson.loads(response.body)
    assert (content["id"], content["error"]["code"]) == (None, -32600)


@pytest.mark.parametrize("member", ["result", "error"])
async def test_a_response_is_accepted(member: str) -> None:
    async with agent() as browser:
        response = await browser.post_json(MCP, {"jsonrpc": "2.0", "id": 1, member: {}})
    assert (response.status, response.body) == (202, b"")


async def test_arguments_may_be_null() -> None:
    message = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "health", "arguments": None}}
    async with agent() as browser:
        content = orjson.loads((await browser.post_json(MCP, message)).body)
    assert content["result"]["isError"] is False
