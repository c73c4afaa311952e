"""The home page, with requests to try."""

from __future__ import annotations

from html import escape

from starlette.requests import Request
from starlette.responses import HTMLResponse

PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>ScaleKit sample</title>
<style>
  body {{ font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }}
  pre {{ background: #f4f4f4; padding: .7rem; overflow-x: auto }}
</style>
<h1>It runs</h1>
<p>This sample service runs under ScaleKit. Try:</p>
<ul>
  <li><a href="{root}/health">{root}/health</a>: health checks, with details for clients on this machine</li>
  <li><a href="{root}/health/live">{root}/health/live</a> and
      <a href="{root}/health/ready">{root}/health/ready</a>: liveness and readiness for load balancers</li>
  <li><a href="{root}/items">{root}/items</a>: a live page of new items</li>
  <li><a href="{root}/metrics">{root}/metrics</a>: metrics for Prometheus</li>
</ul>
<p>Log in to get a token and the cookie that is bound to it:</p>
<pre>TOKEN=$(curl -s -c jar {base}{root}/auth/login -d username=testuser -d password=testpass \\
  | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')</pre>
<p>Add an item and a user, and list the newest:</p>
<pre>api() {{ curl -b jar -H "Authorization: Bearer $TOKEN" "$@"; }}
api {base}{data} -d '{{"name": "first", "value": 1}}'
api {base}{root}/api/users/import -d '[{{"email": "ada@example.org", "name": "Ada"}}]'
api {base}{data}
api {base}{root}/api/users/active
api {base}{root}/api/stats</pre>
</html>
"""


async def home(request: Request) -> HTMLResponse:
    """Return the home page."""
    root = request.scope.get("root_path", "")
    base = escape(f"{request.url.scheme}://{request.url.netloc}")
    return HTMLResponse(PAGE.format(root=escape(root), data=request.url_for("list_items").path, base=base))
