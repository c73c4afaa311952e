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
  <li><a href="{root}/health">{root}/health</a> how it is, in detail from this machine</li>
  <li><a href="{root}/health/live">{root}/health/live</a> and
      <a href="{root}/health/ready">{root}/health/ready</a> for balancers and orchestrators</li>
  <li><a href="{root}/metrics">{root}/metrics</a> what it counts, for Prometheus</li>
</ul>
<p>Log in, which gives a token and a cookie that belongs to it:</p>
<pre>TOKEN=$(curl -s -c jar {base}{root}/auth/login -d username=testuser -d password=testpass \\
  | sed 's/.*"token":"\\([^"]*\\)".*/\\1/')</pre>
<p>Add an item, and users, and look at the newest:</p>
<pre>api() {{ curl -b jar -H "Authorization: Bearer $TOKEN" "$@"; }}
api {base}{data} -d '{{"name": "first", "value": 1}}'
api {base}{root}/api/users/import -d '[{{"email": "ada@example.org", "name": "Ada"}}]'
api {base}{data}
api {base}{root}/api/users/active
api {base}{root}/api/stats</pre>
</html>
"""


async def home(request: Request) -> HTMLResponse:
    """Link to what can be tried."""
    root = request.scope.get("root_path", "")
    base = escape(f"{request.url.scheme}://{request.url.netloc}")
    return HTMLResponse(PAGE.format(root=escape(root), data=request.url_for("list_items").path, base=base))
