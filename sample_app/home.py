"""The home page: a tour of what the plugins do."""

from __future__ import annotations

import json
from html import escape
from pathlib import Path

from starlette.requests import Request
from starlette.responses import HTMLResponse

PAGE = Path(__file__).with_name("home.html").read_text(encoding="utf-8")


async def home(request: Request) -> HTMLResponse:
    """Return the home page."""
    root = request.scope.get("root_path", "")
    base = escape(f"{request.url.scheme}://{request.url.netloc}")
    page = PAGE.replace('"ROOT"', json.dumps(root).replace("<", "\\u003c"))
    return HTMLResponse(page.replace("ROOT", escape(root)).replace("BASE", base))
