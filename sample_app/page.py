"""The page that greets a newcomer."""

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
<p>This small service stands under ScaleKit. Try:</p>
<ul>
  <li><a href="{data}">{data}</a> the newest items</li>
  <li><a href="{root}/api/stats">{root}/api/stats</a> how many items there are, and their sum</li>
  <li><a href="{root}/api/users/active">{root}/api/users/active</a> the newest users who are active</li>
  <li><a href="{root}/health">{root}/health</a> how it is, in detail from this machine</li>
  <li><a href="{root}/health/live">{root}/health/live</a> and
      <a href="{root}/health/ready">{root}/health/ready</a> for balancers and orchestrators</li>
  <li><a href="{root}/metrics">{root}/metrics</a> what it counts, for Prometheus</li>
</ul>
<p>Add an item, and users:</p>
<pre>curl -X POST {base}{data} -d '{{"name": "first", "value": 1}}'
curl -X POST {base}{root}/api/users/import -d '[{{"email": "ada@example.org", "name": "Ada"}}]'</pre>
</html>
"""


async def home(request: Request) -> HTMLResponse:
    """Link to what can be tried."""
    root = request.scope.get("root_path", "")
    base = escape(f"{request.url.scheme}://{request.url.netloc}")
    return HTMLResponse(PAGE.format(root=escape(root), data=request.url_for("list_items").path, base=base))
