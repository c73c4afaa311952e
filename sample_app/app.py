"""The ASGI application and its routes."""

from __future__ import annotations

from starlette.applications import Starlette
from starlette.routing import Route

from sample_app.data import add_item, list_items
from sample_app.home import home
from sample_app.live import stream_items
from sample_app.login import login
from sample_app.stats import show_stats
from sample_app.stock import show_stock
from sample_app.summary import start_summary, stream_summary
from sample_app.users import import_users, list_active

app = Starlette(
    routes=[
        Route("/", home),
        Route("/auth/login", login, methods=["POST"]),
        Route("/api/data", list_items, methods=["GET"]),
        Route("/api/data", add_item, methods=["POST"]),
        Route("/api/inventory/{id:int}", show_stock, methods=["GET"]),
        Route("/api/stats", show_stats, methods=["GET"]),
        Route("/api/users/active", list_active, methods=["GET"]),
        Route("/api/summaries", start_summary, methods=["POST"]),
        Route("/summaries/{job}", stream_summary),
        Route("/items/live", stream_items),
        Route("/api/users/import", import_users, methods=["POST"]),
    ],
)
