"""A small application, with every plugin that stands in the path of its requests."""

from __future__ import annotations

from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from scalekit.contracts import TOKENS
from scalekit.errors import Unavailable

TOML = """
[server]
allowed_hosts = ["127.0.0.1"]
max_body = "1KiB"

[plugins.logging]
directory = "logs"
console = "off"

[plugins.metrics]

[plugins.ratelimit]
url = "{store}"
default = "1000/1h"
policies = [
    {{ name = "few", path = "/limited", limit = "2/1h" }},
    {{ name = "each", path = "/private/**", limit = "1000/1h", key = "subject" }},
]

[plugins.jwt]
secret = "a secret for tests that is long enough"
fingerprint = false
protected_paths = ["/private/**"]
rules = [{{ path = "/private/admin", scopes = ["admin"] }}]

[plugins.cache]
url = "{store}"

[plugins.pool]
url = "sqlite:///:memory:"

[plugins.replica]
"""
CACHED = [(b"cache-control", b"public, max-age=600"), (b"etag", b'"one"')]
PAGES = {"/cached": CACHED, "/limited": [], "/private/page": [], "/private/admin": [], "/": []}


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Respond according to the path."""
    path = scope["path"]
    if scope["type"] == "websocket":
        await converse(receive, send)
    elif path == "/fails":
        raise LookupError(path)
    elif path == "/unavailable":
        raise Unavailable("the shelf", retry_after=7)
    elif path == "/token":
        issued = await TOKENS(Request(scope)).issue("ada", scopes=["read"])
        await respond(send, issued.access.encode())
    elif path == "/upload":
        await respond(send, b"%d" % await read(receive))
    elif path == "/stream":
        await stream(send)
    elif path == "/waits":
        await wait(receive)
    elif path in PAGES:
        await respond(send, path.encode(), *PAGES[path])
    else:
        await respond(send, b"nothing here", status=404)


async def respond(send: Send, body: bytes, *headers: tuple[bytes, bytes], status: int = 200) -> None:
    """Send a response with a length."""
    fields = [(b"content-length", b"%d" % len(body)), (b"content-type", b"text/plain"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": fields})
    await send({"type": "http.response.body", "body": body})


async def stream(send: Send) -> None:
    """Send a response in parts."""
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", b"text/plain")]})
    for _ in range(3):
        await send({"type": "http.response.body", "body": b"part", "more_body": True})
    await send({"type": "http.response.body"})


async def read(receive: Receive) -> int:
    """Return the length of the body."""
    length, more = 0, True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise ConnectionError("the client left")
        length += len(message.get("body", b""))
        more = message.get("more_body", False)
    return length


async def wait(receive: Receive) -> None:
    """Wait until the client disconnects."""
    while (await receive())["type"] != "http.disconnect":
        pass


async def converse(receive: Receive, send: Send) -> None:
    """Return each message until the client closes."""
    while (message := await receive())["type"] != "websocket.disconnect":
        if message["type"] == "websocket.connect":
            await send({"type": "websocket.accept"})
        else:
            await send({"type": "websocket.send", "text": message["text"]})
