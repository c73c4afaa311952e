"""A bare callable."""

from starlette.types import Receive, Scope, Send


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    assert scope["type"] == "http"
    if scope["path"] == "/fail":
        raise ValueError("it broke")
    length = 0
    while (message := await receive())["type"] == "http.request":
        length += len(message.get("body", b""))
        if not message.get("more_body"):
            break
    body = f"{scope['method']} {scope['path']} {length}".encode()
    await send({"type": "http.response.start", "status": 200, "headers": [(b"x-twice", b"1"), (b"x-twice", b"2")]})
    await send({"type": "http.response.body", "body": body})
