"""Write docs/runbook.md: every alert of every plugin.

``python -m tests.runbook`` after a change of an alert; a test compares the page with the code.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette

from scalekit import create_app
from scalekit.telemetry import TELEMETRY
from scalekit_metrics import alerting_rules

PAGE = Path(__file__).parent.parent / "docs" / "runbook.md"
REDIS = {"url": "redis://127.0.0.1"}
PLUGINS = {
    "metrics": {},
    "logging": {},
    "tracing": {},
    "cors": {"origins": ["https://shop.example"]},
    "headers": {},
    "compression": {},
    "broadcast": REDIS,
    "cache": REDIS,
    "cluster-cache": {"nodes": ["127.0.0.1:6379"]},
    "ratelimit": {**REDIS, "default": "100/s"},
    "queue": {"schedules": [{"name": "nightly", "cron": "0 3 * * *", "overlap": "allow"}]},
    "idempotency": {"redis_url": "redis://127.0.0.1"},
    "jwt": {"secret": "a secret of the tests, long enough to be one"},
    "discovery": {"services": {"stock": ["http://127.0.0.1:1"]}},
    "pool": {"url": "postgresql://127.0.0.1/shop"},
    "replica": {"urls": ["postgresql://127.0.0.1/shop"], "secret": "a secret of the tests, long enough to be one"},
}
"""Tables in which every plugin with metrics records all of them."""


def runbook() -> str:
    """Return the text of the page."""
    host = create_app({"plugins": PLUGINS}, app=Starlette())
    return alerting_rules.runbook(host.context.get(TELEMETRY).catalogue)


if __name__ == "__main__":
    PAGE.write_text(runbook())
