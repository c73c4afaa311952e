"""A live page of new items, whichever worker adds them."""

from __future__ import annotations

import structlog
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from scalekit.contracts import BROADCAST
from scalekit.errors import Unavailable
from scalekit_broadcast import server_sent_events

logger = structlog.get_logger("sample_app")

CHANNEL = "items"
PAGE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width">
<title>New items</title>
<style>body { font: 16px/1.5 system-ui, sans-serif; max-width: 40rem; margin: 3rem auto; padding: 0 1rem }</style>
<h1>New items</h1>
<p id="state">connecting</p>
<ul id="items"></ul>
<script>
const items = document.getElementById("items"), state = document.getElementById("state");
function show(text) {
  const line = document.createElement("li");
  line.textContent = text;
  items.prepend(line);
  while (items.childElementCount > 100) items.lastElementChild.remove();
}
function connect() {
  const source = new EventSource("items/live");
  source.onopen = () => { state.textContent = "connected"; };
  source.onmessage = (event) => {
    const item = JSON.parse(event.data);
    show(`${item.id}: ${item.name} (${item.value})`);
  };
  source.addEventListener("gap", (event) => show(`at least ${event.data} items are missing here`));
  source.onerror = () => {
    state.textContent = "connecting";
    if (source.readyState === EventSource.CLOSED) setTimeout(connect, 5000);  // after a response such as 503
  };
}
connect();
</script>
</html>
"""


async def show_live(request: Request) -> HTMLResponse:
    """Return the page."""
    return HTMLResponse(PAGE)


async def stream_items(request: Request) -> Response:
    """Stream new items as server-sent events."""
    return server_sent_events(request, CHANNEL)


async def publish_item(request: Request, item: dict[str, object]) -> None:
    """Show *item* on all live pages; it is stored already, so a failure is only logged."""
    try:
        await BROADCAST(request).publish(CHANNEL, item)
    except Unavailable as error:
        logger.warning("live pages do not show an item", id=item["id"], error=str(error))
