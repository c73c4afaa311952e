"""Put any ASGI application under one TOML file and its plugins."""

from starlette.middleware import Middleware

from scalekit.app import create_app
from scalekit.config import Duration, HttpUrl, Network, Networks, Port, Rate, Secret, Size, Table, Tls, Url
from scalekit.context import Context, Key
from scalekit.errors import ConfigError, PluginError, ResourceError, ScalekitError, StartError
from scalekit.health.check import Check
from scalekit.hookspecs import hookimpl
from scalekit.http.exchange import Exchange, WebSocketExchange
from scalekit.http.filter import LATER, Decision, Filter, Pending
from scalekit.http.response import LocalResponse
from scalekit.http.router import ManagementRoute
from scalekit.layers import Layer, Layered
from scalekit.lifespan import Lifespan
from scalekit.path_glob import PathGlob

__all__ = [
    "LATER",
    "Check",
    "ConfigError",
    "Context",
    "Decision",
    "Duration",
    "Exchange",
    "Filter",
    "HttpUrl",
    "Key",
    "Layer",
    "Layered",
    "Lifespan",
    "LocalResponse",
    "ManagementRoute",
    "Middleware",
    "Network",
    "Networks",
    "PathGlob",
    "Pending",
    "PluginError",
    "Port",
    "Rate",
    "ResourceError",
    "ScalekitError",
    "Secret",
    "Size",
    "StartError",
    "Table",
    "Tls",
    "Url",
    "WebSocketExchange",
    "create_app",
    "hookimpl",
]
